"""A corpus without any text of its own: a teacher's transcripts take the place of its labels.

  asr-kd shard exp/manifests/unlabelled.jsonl --out exp/all
  asr-kd label exp/all/unlabelled --teacher whisper:small --out exp/transcripts
  asr-kd filter exp/transcripts --keep-share 0.8 --out exp/kept.jsonl
  asr-kd prepare pseudo-labels exp/manifests/unlabelled.jsonl --transcripts exp/kept.jsonl --out exp/pseudo

  labelled.jsonl    utterances with a transcript, as if it were their text
  dev.jsonl         the same, of other speakers
  unlabelled.jsonl  all that is not held out, without text: also those whose transcript was not good enough
  test.jsonl        other speakers again: with --references their text as people wrote it, else as --test-transcripts
                    or --transcripts say. A WER on those is how often the student differs from a recogniser.

Whole speakers are held out, or recordings where speakers are not known. Speakers and recordings of the references are
never trained on. `meta.text_from` of an utterance names who gave its text.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from asr_kd.core.commands import command
from asr_kd.core.options import argument, option
from asr_kd.core.storage import PathOrUrl
from asr_kd.core.terminal import say
from asr_kd.corpora.corpus import Corpus, Rejected
from asr_kd.corpora.folder import DEV_SHARE, checked_manifest
from asr_kd.corpora.manifest import Utterance
from asr_kd.corpora.prepare import PrepareOptions, prepare
from asr_kd.corpora.speakers import draw_order
from asr_kd.corpora.text import normalise
from asr_kd.transcripts.pseudo_labels import read_transcripts
from asr_kd.transcripts.recognised import RecognisedUtterance

TEXT_FROM = "text_from"
"""In `meta`: PSEUDO or REFERENCE."""
PSEUDO, REFERENCE = "pseudo-label", "reference"


@dataclass(frozen=True, kw_only=True)
class PseudoCorpusRun(PrepareOptions):
    """What `asr-kd prepare pseudo-labels` is given."""

    root: Path = argument("manifest of the audio, cut into utterances; its own text is not read", metavar="MANIFEST")
    transcripts: tuple[PathOrUrl, ...] = option(
        "pseudo-labels to train on: *.hyp.jsonl of `asr-kd label`, their folder, or a list of `asr-kd filter`",
        metavar="HYP",
    )
    min_confidence: float = option(
        "use no transcript whose confidence is lower, in [0, 1]; `asr-kd filter` knows more criteria", 0.0, metavar="X"
    )
    references: Path | None = option(
        "manifest with text that people wrote, the test: utterances of MANIFEST or of other audio", None, metavar="FILE"
    )
    test_transcripts: tuple[PathOrUrl, ...] = option(
        "without --references: pseudo-labels of a second teacher, the text of the test (default: --transcripts)",
        (),
        metavar="HYP",
    )
    dev_fraction: float = option("share of the audio with a transcript that becomes dev.jsonl", DEV_SHARE)
    test_fraction: float = option("without --references: share of the audio that becomes test.jsonl", 0.1)
    seed: int = option("random seed of the choice of speakers", 0)


@command()
def prepare_pseudo_labels(config: PseudoCorpusRun) -> None:
    """Write manifests whose text is a teacher's."""
    prepare(config, config.root, lambda: _read(config))


def _read(config: PseudoCorpusRun) -> Corpus:
    for name in ("dev_fraction", "test_fraction"):
        if not 0 <= getattr(config, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(config, name)}: it must lie in [0, 1)")
    if config.references and config.test_transcripts:
        raise ValueError("--test-transcripts: not used with --references, whose text is the test's")
    utterances, rejected = checked_manifest(config.root, config.language)
    bare = [replace(u, text=None) for u in utterances]
    text_of = _texts(read_transcripts(*config.transcripts), config.min_confidence, config.language)
    if not text_of.keys() & {u.id for u in bare}:
        raise ValueError(
            f"{config.transcripts[0]}: has a transcript of no utterance of {config.root}. "
            "Label the shards of that manifest."
        )
    if config.references is None:
        test_of = text_of
        if config.test_transcripts:
            test_of = _texts(read_transcripts(*config.test_transcripts), 0.0, config.language)
        corpus = split_pseudo_labelled(bare, text_of, test_of, config.dev_fraction, config.test_fraction, config.seed)
    else:
        test, bad = _references(config.references, config.language)
        rejected += bad
        rest, out = _without(bare, test)
        if out:
            say(f"{config.references}: {out} utterances of its speakers and recordings are not trained on")
        corpus = split_pseudo_labelled(rest, text_of, {}, config.dev_fraction, 0.0, config.seed)
        corpus.test = test
    corpus.rejected = rejected
    return corpus


def split_pseudo_labelled(
    utterances: Iterable[Utterance],
    text_of: dict[str, str],
    test_text_of: dict[str, str],
    dev_fraction: float,
    test_fraction: float,
    seed: int,
) -> Corpus:
    """Parts of audio without text: whole speakers, or recordings, are held out in a seeded order.

    text_of, test_text_of: id to pseudo-label; held out are utterances that have one.  Fractions are of their seconds.
    Those without such an utterance stay in training, as at least one other does. Of a speaker or recording that is held
    out, the utterances without a pseudo-label are in no part; how many is said.
    ValueError when there are too few to hold any out.
    """
    groups: dict[str, list[Utterance]] = {}
    for u in utterances:
        groups.setdefault(group_of(u), []).append(u)
    order = draw_order(list(groups), seed)
    corpus = Corpus()
    out: list[str] = []
    for part, share, texts in (("test", test_fraction, test_text_of), ("dev", dev_fraction, text_of)):
        wanted = share * sum(u.duration for members in groups.values() for u in members if u.id in texts)
        chosen: list[Utterance] = getattr(corpus, part)
        transcribed = iter([name for name in order if any(u.id in texts for u in groups[name])])
        while sum(u.duration for u in chosen) < wanted:
            name = next(transcribed, None)
            if name is None or len(out) + 1 >= len(groups):
                raise ValueError(
                    f"{len(groups)} speakers or recordings are too few to hold out {part}. "
                    "Give `speaker` in the manifest, or audio of more of them."
                )
            chosen += [_labelled(u, texts[u.id]) for u in groups[name] if u.id in texts]
            out.append(name)
        order = [name for name in order if name not in {*out}]
    training = [u for name, members in groups.items() if name not in {*out} for u in members]
    held_out = sum(len(groups[name]) for name in out)
    if silent := held_out - len(corpus.test) - len(corpus.dev):
        say(f"{silent} utterances without a transcript of held-out speakers or recordings are in no part")
    corpus.labelled = [_labelled(u, text_of[u.id]) for u in training if u.id in text_of]
    corpus.unlabelled = training
    return corpus


def group_of(utterance: Utterance) -> str:
    """What is held out whole: the speaker, else the recording."""
    return f"s {utterance.speaker}" if utterance.speaker is not None else f"r {utterance.audio_filepath}"


def _labelled(u: Utterance, text: str) -> Utterance:
    return replace(u, text=text, meta=u.meta | {TEXT_FROM: PSEUDO})


def _texts(lines: Iterable[RecognisedUtterance], min_confidence: float, language: str) -> dict[str, str]:
    """Id to normalised text of the transcripts that hold a word and are sure enough."""
    sure: Callable[[RecognisedUtterance], bool] = lambda line: (line.confidence or 0.0) >= min_confidence
    texts = {line.id: normalise(line.text, language) for line in lines if line.text is not None and sure(line)}
    return {name: text for name, text in texts.items() if text}


def _references(path: Path, language: str) -> tuple[list[Utterance], list[Rejected]]:
    utterances, rejected = checked_manifest(path, language)
    with_text = [replace(u, meta=u.meta | {TEXT_FROM: REFERENCE}) for u in utterances if u.text is not None]
    if not with_text:
        raise ValueError(f"{path}: no utterance has text. Give a manifest with what was said, `text`.")
    return with_text, rejected


def _without(utterances: list[Utterance], test: list[Utterance]) -> tuple[list[Utterance], int]:
    """The utterances that are not of the test's speakers, recordings or ids; and how many are."""
    speakers = {u.speaker for u in test} - {None}
    recordings, ids = {u.audio_filepath for u in test}, {u.id for u in test}
    rest = [
        u for u in utterances if u.speaker not in speakers and u.audio_filepath not in recordings and u.id not in ids
    ]
    return rest, len(utterances) - len(rest)
