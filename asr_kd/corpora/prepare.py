"""What every `asr-kd prepare CORPUS` does: find or fetch the corpus, read it, write its manifests."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from asr_kd.core.files import refuse_to_replace
from asr_kd.core.options import option
from asr_kd.core.skipped import Skipped, SkippedOptions
from asr_kd.corpora.corpus import (
    WRITTEN,
    Corpus,
    check_rejected,
    leave_out_held_speakers,
    print_summary,
    write_corpus,
)
from asr_kd.corpora.corpus_name import corpus_name
from asr_kd.corpora.download import fetch_archive
from asr_kd.corpora.languages import ENGLISH, language_code, language_name, with_language
from asr_kd.corpora.spoken_numbers import spelling_numbers

DOWNLOADS = Path("data")
"""Where a corpus is looked for, or fetched to, when no ROOT is given: `data/CORPUS`."""


@dataclass(frozen=True, kw_only=True)
class PrepareOptions(SkippedOptions):
    """Of all readers of corpora."""

    out: Path = option("output folder: the manifests")
    language: str = option(
        "language of the texts, as a code such as de or pt-BR; a manifest's line may name another as `lang`",
        ENGLISH,
        metavar="CODE",
        parse=language_code,
    )
    name: str | None = option(
        "name of the corpus, which begins the ids of its utterances: several corpora go together where ids differ "
        "(default: ids as the corpus has them)",
        None,
        parse=corpus_name,
    )
    spell_numbers: bool = option(
        "write numbers of the texts as words (num2words, extra `languages`), as cardinal numbers", False
    )
    dry_run: bool = option("print counts and hours; write nothing", False)


def prepare(
    config: PrepareOptions,
    root: Path,
    read: Callable[[], Corpus],
    download: bool | None = None,
    url: str | None = None,
    language: str | None = None,
) -> None:
    """Read the corpus, write its manifests, print what they hold.

    download: whether a corpus that is not at `root` is fetched; None where it cannot be. url: an archive of it; without
    one, `read` fetches it.  language: the only one that the corpus has.  ValueError when the corpus is not
    there, is empty, has too many recordings to skip, is in another language than the config's, or when a manifest would
    replace a file that the config names.
    """
    if language is not None and config.language not in (ENGLISH, language):
        raise ValueError(
            f"--language {config.language}: the corpus is {language_name(language)}. Leave the option out."
        )
    if not config.dry_run:
        refuse_to_replace(_paths(config), [config.out / name for name in WRITTEN])
    skipped = Skipped(f"recordings of {root}", config.max_skipped)
    if not root.exists():
        if not download:
            way_out = " Give the corpus's folder, or --download to fetch it there." if download is not None else ""
            raise ValueError(f"{root}: no such file or folder.{way_out}")
        if url is not None:
            fetch_archive(url, root)
    with spelling_numbers(config.spell_numbers):
        corpus = read()
    name_language(corpus, language or config.language)
    if config.name is not None:
        begin_ids(corpus, config.name)
    leave_out_held_speakers(corpus)
    if not any(corpus.parts().values()):
        check_rejected(corpus, None, skipped)
        raise ValueError(f"{root}: holds no recording")
    if not config.dry_run:
        write_corpus(corpus, config.out)
    print_summary(corpus)
    check_rejected(corpus, None if config.dry_run else config.out, skipped)


def _paths(config: PrepareOptions) -> list[Path]:
    """All that the config names."""
    values = [value if isinstance(value, tuple) else (value,) for value in vars(config).values()]
    return [path for value in values for path in value if isinstance(path, Path)]


def begin_ids(corpus: Corpus, name: str) -> None:
    """`name-` before the id of every utterance and of what was rejected."""
    for part in (corpus.labelled, corpus.dev, corpus.unlabelled, corpus.test):
        part[:] = [replace(u, id=f"{name}-{u.id}") for u in part]
    corpus.rejected[:] = [replace(item, id=f"{name}-{item.id}") for item in corpus.rejected]


def name_language(corpus: Corpus, language: str) -> None:
    """Note the language with every utterance that names none; English need not be noted."""
    if language == ENGLISH:
        return
    for part in (corpus.labelled, corpus.dev, corpus.unlabelled, corpus.test):
        part[:] = [replace(u, meta=with_language(u.meta, language)) for u in part]
