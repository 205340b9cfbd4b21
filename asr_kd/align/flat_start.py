"""From text and audio alone to tied states: flat start, monophones, decision tree, triphones.

The Viterbi training of Kaldi's `train_mono` and `train_deltas`, at the 30 ms steps of the acoustic models: the
features stay at 10 ms, three of them score one step.
"""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import kaldifst
import numpy as np

from asr_kd import __version__
from asr_kd.align.flat_start_state import FlatStartState, StateFile
from asr_kd.align.gaussians import FRAMES_PER_STEP, Gaussians, pooled_mean_variance
from asr_kd.core.files import fingerprint
from asr_kd.core.progress import Progress
from asr_kd.graph.hclg import TextGraphs
from asr_kd.graph.search import Decoder, SearchConfig
from asr_kd.inventory.lexicon import Lexicon
from asr_kd.inventory.senones import NO_PHONE, Senones
from asr_kd.inventory.tree import Stats, TreeConfig, build_trees, phone_questions

FORCED = SearchConfig(beam=1e4, max_active=1_000_000)
"""Forced alignment explores every path: graphs of one text are small.

A beam of 200, wider than Kaldi's widest, halved the time and lost best paths of AN4, so other states were tied.
"""


@dataclass(frozen=True)
class FlatStartConfig:
    """Size and length of the Gaussian stage."""

    states: int = 2
    """HMM states of a phone; with `skip` a phone lasts at least one frame (30 ms)."""
    silence_states: int = 1
    """HMM states of silence."""
    skip: bool = True
    """Whether a phone may be left before its last state."""
    mono_iterations: int = 25
    """Rounds of Viterbi training of context-independent states."""
    mono_gaussians: int = 400
    """Gaussians at the end of these rounds."""
    triphone_iterations: int = 15
    """Rounds after the states were tied; 0 keeps context-independent states."""
    triphone_gaussians: int = 1200
    """Gaussians of the tied states at the end of these rounds."""
    tree: TreeConfig = field(default_factory=TreeConfig)

    def __post_init__(self) -> None:
        if self.states < 1 or self.silence_states < 1:
            raise ValueError("states and silence_states must be at least 1")


@dataclass
class Speech:
    """One labelled utterance in memory: features of 10 ms frames and its words."""

    id: str
    features_NF: np.ndarray
    words: list[str]

    @property
    def steps(self) -> int:
        """Frames of 30 ms."""
        return len(self.features_NF) // FRAMES_PER_STEP


def flat_start(
    speech: list[Speech],
    lexicon: Lexicon,
    phones: list[str],
    config: FlatStartConfig,
    log: Callable[[str], None],
    file: Path | None = None,
) -> tuple[Senones, Gaussians]:
    """Train Gaussians from uniform alignments, tie states, train again; returns the inventory and its Gaussians.

    file: keeps the state after each round, from which the same call goes on.
    ValueError when no utterance can be aligned.
    """
    kept = StateFile(file, _run(speech, lexicon, phones, config)) if file else None
    state = (kept and kept.load()) or _begin(speech, lexicon, phones, config)
    if state.rounds or state.tied:
        log(f"goes on after round {state.rounds} of the {'second' if state.tied else 'first'} stage, kept in {file}")
    spoken_s = sum(s.steps for s in speech) * state.inventory.frame_shift_s
    with Progress("flat start, all rounds", _passes(state, config) * spoken_s) as progress:
        stage = _Stage(speech, lexicon, log, progress, kept)
        if not state.tied:
            stage.train(state, config.mono_iterations, config.mono_gaussians)
            if not config.triphone_iterations:
                return state.inventory, state.gaussians
            mono, alignments = state.inventory, stage.align(state)
            tied = tie_states(speech, alignments, mono, config.tree)
            log(f"{tied.num_classes} classes after tying")
            first = [retie(a, mono, tied) for a in alignments]
            state = FlatStartState(tied, _one_gaussian_a_class(speech, tied), first, tied=True)
        stage.train(state, config.triphone_iterations, config.triphone_gaussians)
    return state.inventory, state.gaussians


def _run(speech: list[Speech], lexicon: Lexicon, phones: list[str], config: FlatStartConfig) -> str:
    """Digest of all that the result depends on."""
    digest = hashlib.sha256()
    for s in speech:
        digest.update(np.ascontiguousarray(s.features_NF).data)
    words = [(s.id, len(s.features_NF), s.words) for s in speech]
    return fingerprint([__version__, digest.hexdigest(), words, lexicon.pronunciations, phones, asdict(config)])


def _begin(speech: list[Speech], lexicon: Lexicon, phones: list[str], config: FlatStartConfig) -> FlatStartState:
    topology = {"states": config.states, "silence_states": config.silence_states, "skip": config.skip}
    inventory = Senones.monophone(phones, **topology)
    uniform = [uniform_alignment(s, lexicon, inventory) for s in speech]
    _aligned(speech, uniform)
    return FlatStartState(inventory, _one_gaussian_a_class(speech, inventory), uniform)


def _one_gaussian_a_class(speech: list[Speech], inventory: Senones) -> Gaussians:
    return Gaussians(inventory.num_classes, *pooled_mean_variance([s.features_NF for s in speech]))


def _aligns_anew(r: int) -> bool:
    """Whether round `r` of a stage has alignments of its own: the first ten have, then every second one."""
    return r > 0 and (r <= 10 or r % 2 == 0)


def _passes(state: FlatStartState, config: FlatStartConfig) -> int:
    """How often all speech is still to be aligned."""
    begins = state.rounds if state.tied else 0
    left = sum(_aligns_anew(r) for r in range(begins, config.triphone_iterations))
    if not state.tied:
        left += sum(_aligns_anew(r) for r in range(state.rounds, config.mono_iterations)) + bool(
            config.triphone_iterations
        )
    return left


def uniform_alignment(speech: Speech, lexicon: Lexicon, inventory: Senones) -> np.ndarray | None:
    """Classes per 30 ms frame: silence where the edges are quiet, the states of the first pronunciations between.

    None when there is no text, or the utterance is too short for it.
    """
    if not speech.words or not speech.steps:
        return None
    number = {p: i for i, p in enumerate(inventory.phones)}
    phones = [number[p] for word in speech.words for p in lexicon.pronunciations[word][0]]
    states = [c for p in phones for c in inventory.senones(NO_PHONE, p, NO_PHONE)]
    energy_T = speech.features_NF[: speech.steps * FRAMES_PER_STEP, 0].reshape(speech.steps, FRAMES_PER_STEP).mean(1)
    quiet, loud = np.percentile(energy_T, [10, 90])
    active = np.flatnonzero(energy_T > quiet + 0.4 * (loud - quiet))
    first, last = (int(active[0]), int(active[-1]) + 1) if len(active) else (0, speech.steps)
    if last - first < len(phones):
        first, last = 0, speech.steps
    if last - first < len(phones):
        return None
    classes_T = np.zeros(speech.steps, dtype=np.int32)
    classes_T[first:last] = np.array(states)[np.arange(last - first) * len(states) // (last - first)]
    return classes_T


@dataclass(frozen=True)
class TextGraph:
    """What may be said in one utterance of known text, as a graph of classes."""

    fst: kaldifst.StdVectorFst
    classes: np.ndarray
    """Those that occur in it, ascending."""


def align_all(
    speech: list[Speech],
    graphs: list[TextGraph | None],
    gaussians: Gaussians,
    done: Callable[[Speech], None] = lambda s: None,
) -> list[np.ndarray | None]:
    """Forced alignment: classes per 30 ms frame of each utterance, None where its text does not fit its length.

    done: is told of each utterance.
    """
    alignments: list[np.ndarray | None] = []
    for s, graph in zip(speech, graphs, strict=True):
        alignments.append(forced(graph, gaussians.scores(s.features_NF, graph.classes)) if graph else None)
        done(s)
    return alignments


def forced(graph: TextGraph, score_TC: np.ndarray) -> np.ndarray | None:
    """Class of each frame on the best path, None where the text does not fit."""
    path = Decoder(graph.fst, FORCED).best(score_TC) if len(score_TC) else None
    return path.classes if path is not None and path.complete else None


def text_graphs(speech: list[Speech], lexicon: Lexicon, inventory: Senones) -> list[TextGraph | None]:
    """One graph an utterance; None where there is no text to align."""
    compiler = TextGraphs(inventory, lexicon)
    return [text_graph(compiler, s.words) if s.words else None for s in speech]


def text_graph(compiler: TextGraphs, words: list[str]) -> TextGraph:
    """The graph of `words` with one way to take each sequence of classes, which halves the search."""
    fst = compiler.compile(words)
    kaldifst.rmepsilon(fst)
    fst = kaldifst.determinize(fst)
    labels = {int(line.split()[2]) for line in fst.to_str().splitlines() if len(line.split()) > 3} - {0}
    return TextGraph(fst, np.array(sorted(labels), dtype=np.int64) - 1)


class _Stage:
    """Rounds of re-estimation and alignment over the same speech."""

    def __init__(
        self,
        speech: list[Speech],
        lexicon: Lexicon,
        log: Callable[[str], None],
        progress: Progress,
        kept: StateFile | None,
    ) -> None:
        self._speech, self._lexicon, self._log, self._progress, self._kept = speech, lexicon, log, progress, kept
        self._graphs: tuple[str, list[TextGraph | None]] = ("", [])

    def align(self, state: FlatStartState, **about: object) -> list[np.ndarray | None]:
        """New alignments by the Gaussians of `state`; keywords are shown with the progress."""
        inventory = state.inventory
        if self._graphs[0] != inventory.fingerprint:
            self._graphs = inventory.fingerprint, text_graphs(self._speech, self._lexicon, inventory)
        done = lambda s: self._progress.update(s.steps * inventory.frame_shift_s, **about)
        return align_all(self._speech, self._graphs[1], state.gaussians, done)

    def train(self, state: FlatStartState, rounds: int, components: int) -> None:
        """The rounds that `state` still lacks, in place: the first ten are aligned anew, then every second one."""
        start = state.inventory.num_classes
        for r in range(state.rounds, rounds):
            if _aligns_anew(r):
                state.alignments = self.align(state, round=f"{r + 1}/{rounds}")
            used = _aligned(self._speech, state.alignments)
            features_NF = np.concatenate([s.features_NF[: s.steps * FRAMES_PER_STEP] for s, _ in used])
            classes_N = np.concatenate([np.repeat(a, FRAMES_PER_STEP) for _, a in used])
            grown = min(1.0, (r + 1) / max(1, 0.75 * rounds))
            target = int(start + grown * max(0, components - start)) if r >= 3 else start
            likelihood = state.gaussians.update(features_NF, classes_N, target)
            state.rounds = r + 1
            if self._kept:
                self._kept.save(state)
            if r % 5 == 4 or r == rounds - 1:
                self._log(
                    f"round {r + 1}/{rounds}: log-likelihood {likelihood:.2f} a frame, "
                    f"{state.gaussians.components} Gaussians, {len(used)} of {len(self._speech)} utterances"
                )


def _aligned(speech: list[Speech], alignments: list[np.ndarray | None]) -> list[tuple[Speech, np.ndarray]]:
    """The utterances that have an alignment, with it. ValueError when there is none."""
    used = [(s, a) for s, a in zip(speech, alignments, strict=True) if a is not None]
    if not used:
        raise ValueError(
            "no utterance could be aligned: the audio is shorter than its text needs, or they do not match"
        )
    return used


def tie_states(
    speech: list[Speech],
    alignments: list[np.ndarray | None],
    inventory: Senones,
    config: TreeConfig,
) -> Senones:
    """Decision trees over phones in context, from alignments in the context-independent `inventory`."""
    counts: list[dict[Any, Any]] = [{} for _ in range(inventory.states)]
    for s, a in zip(speech, alignments, strict=True):
        if a is None:
            continue
        x_TSF = s.features_NF[: s.steps * FRAMES_PER_STEP].reshape(s.steps, FRAMES_PER_STEP, -1).astype(np.float64)
        for window, position, t in windows(a, inventory):
            entry = counts[position].setdefault(window, [0.0, 0.0, 0.0])
            entry[0] += 1.0
            entry[1] = entry[1] + x_TSF[t].mean(0)
            entry[2] = entry[2] + (x_TSF[t] ** 2).mean(0)
    unused = [position + 1 for position, c in enumerate(counts) if not c]
    if unused:
        raise ValueError(f"state {unused[0]} of the phones has not a single frame. Set flat_start.states lower.")
    stats = [{w: Stats(*e) for w, e in c.items()} for c in counts]
    by_phone: dict[int, Stats] = {}
    for c in stats:
        for (_, phone, _), e in c.items():
            old = by_phone.get(phone)
            by_phone[phone] = (
                e if old is None else Stats(old.count + e.count, old.sum_F + e.sum_F, old.square_F + e.square_F)
            )
    silence = (0,)
    trees = build_trees(stats, [silence, *phone_questions(by_phone)], config)
    return Senones(
        inventory.phones,
        tuple(tuple((c, tuple(p), y, n, leaf) for c, p, y, n, leaf in t.to_list()) for t in trees),
        inventory.states,
        inventory.silence_states,
        inventory.skip,
        inventory.frame_shift_s,
    )


def windows(alignment_T: np.ndarray, mono: Senones) -> list[tuple[tuple[int, int, int], int, int]]:
    """((left, phone, right), state position, frame) of every frame that is not silence.

    A context-independent alignment tells phones apart, except that with `skip` two equal phones in a row can look like
    one: those are read as a new phone when the state falls back.
    """
    spoken = len(mono.phones) - 1
    phone_T = np.where(alignment_T < mono.silence_states, 0, (alignment_T - mono.silence_states) % spoken + 1)
    position_T = np.where(alignment_T < mono.silence_states, 0, (alignment_T - mono.silence_states) // spoken)
    new_T = np.ones(len(alignment_T), dtype=bool)
    new_T[1:] = (phone_T[1:] != phone_T[:-1]) | ((position_T[1:] < position_T[:-1]) & (phone_T[1:] > 0))
    segment_T = np.cumsum(new_T) - 1
    phones = phone_T[new_T]
    padded = np.concatenate([[NO_PHONE], phones, [NO_PHONE]])
    return [
        ((int(padded[g]), int(padded[g + 1]), int(padded[g + 2])), int(position_T[t]), t)
        for t, g in enumerate(segment_T)
        if padded[g + 1] > 0
    ]


def retie(alignment_T: np.ndarray | None, mono: Senones, tied: Senones) -> np.ndarray | None:
    """A context-independent alignment in the classes of the tied inventory."""
    if alignment_T is None:
        return None
    classes_T = alignment_T.copy()  # silence has the same numbers in both
    for window, position, t in windows(alignment_T, mono):
        classes_T[t] = tied.senones(*window)[position]
    return classes_T
