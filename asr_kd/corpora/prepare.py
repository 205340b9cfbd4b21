"""What every `asr-kd prepare CORPUS` does: find or fetch the corpus, read it, write its manifests."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from asr_kd.core.options import option
from asr_kd.core.skipped import Skipped, SkippedOptions
from asr_kd.corpora.corpus import Corpus, check_rejected, leave_out_held_speakers, print_summary, write_corpus
from asr_kd.corpora.download import fetch_archive

DOWNLOADS = Path("data")
"""Where a corpus is looked for, or fetched to, when no ROOT is given: `data/CORPUS`."""


@dataclass(frozen=True, kw_only=True)
class PrepareOptions(SkippedOptions):
    """Of all readers of corpora."""

    out: Path = option("output folder: the manifests")
    dry_run: bool = option("print counts and hours; write nothing", False)


def prepare(
    config: PrepareOptions, root: Path, read: Callable[[], Corpus], download: bool | None = None, url: str | None = None
) -> None:
    """Read the corpus, write its manifests, print what they hold.

    download: whether a corpus that is not at `root` is fetched; None where it cannot be. url: an archive of it; without
    one, `read` fetches it.  ValueError when the corpus is not there, is empty, or has too many recordings to skip.
    """
    skipped = Skipped(f"recordings of {root}", config.max_skipped)
    if not root.exists():
        if not download:
            way_out = " Give the corpus's folder, or --download to fetch it there." if download is not None else ""
            raise ValueError(f"{root}: no such file or folder.{way_out}")
        if url is not None:
            fetch_archive(url, root)
    corpus = read()
    leave_out_held_speakers(corpus)
    if not any(corpus.parts().values()):
        check_rejected(corpus, None, skipped)
        raise ValueError(f"{root}: holds no recording")
    if not config.dry_run:
        write_corpus(corpus, config.out)
    print_summary(corpus)
    check_rejected(corpus, None if config.dry_run else config.out, skipped)
