"""Writes labelled.jsonl, dev.jsonl, unlabelled.jsonl, hidden.jsonl (the unlabelled with their text, for scoring only),
test.jsonl and lexicon.txt, as far as the corpus has them. Recordings that cannot be used are skipped and
listed in set_aside.jsonl; when they are more than --max-skipped, the command fails after writing the rest.

Each corpus has its own options: asr-kd prepare CORPUS --help.
"""

import argparse
import importlib
from pathlib import Path

from asr_kd.core.skipped import Skipped, add_skipped_argument
from asr_kd.corpora import synthetic
from asr_kd.corpora.corpus import Corpus, check_set_aside, leave_out_held_speakers, print_summary, write_corpus
from asr_kd.corpora.download import fetch_archive

READERS = {
    "an4": ("asr_kd.corpora.an4", "CMU AN4: spelling, numbers and commands, 48 min"),
    "speechocean762": (
        "asr_kd.corpora.speechocean762",
        "non-native children and adults, 3 h (or 6 h with the test half)",
    ),
    "librispeech": ("asr_kd.corpora.librispeech", "LibriSpeech, 960 h of read English"),
    "librilight": ("asr_kd.corpora.librilight", "Libri-Light, up to 60,000 h without text"),
    "folder": ("asr_kd.corpora.folder", "a folder of audio, with NAME.txt beside NAME.flac where there is text"),
    "manifest": ("asr_kd.corpora.folder", "a NeMo-style manifest, checked and split"),
}
VOICES = "speech of many synthetic voices, made here with espeak-ng; needs no data"
DOWNLOADS = Path("data")
"""Where a corpus is looked for, or fetched to, when no ROOT is given: `data/CORPUS`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-parser a corpus."""
    corpora = parser.add_subparsers(dest="corpus", metavar="CORPUS", required=True)
    for name, (module, purpose) in READERS.items():
        reader = importlib.import_module(module)
        sub = _sub_parser(corpora, name, purpose, reader.__doc__)
        if name in ("folder", "manifest"):
            sub.add_argument("root", type=Path, metavar="ROOT", help=f"the {name}")
        else:
            root_help = "folder of the corpus (default: %(default)s)"
            sub.add_argument("root", type=Path, metavar="ROOT", nargs="?", default=DOWNLOADS / name, help=root_help)
        sub.add_argument("--dry-run", action="store_true", help="print counts and hours, write nothing")
        if hasattr(reader, "URL"):
            sub.add_argument("--download", action="store_true", help="fetch the corpus to ROOT if ROOT is not there")
            sub.add_argument("--url", default=reader.URL, help="archive that --download fetches (default: %(default)s)")
        reader.add_arguments(sub)
        add_skipped_argument(sub, "recordings")
        sub.set_defaults(from_args=reader.from_args)
    synthetic.add_arguments(_sub_parser(corpora, "synthetic", VOICES, synthetic.__doc__))


def run(args: argparse.Namespace) -> int:
    """Read (or make) the corpus, write its manifests, print what they hold."""
    if args.corpus == "synthetic":
        synthetic.prepare_voices(args.out, args)
        return 0
    skipped = Skipped(f"recordings of {args.root}", args.max_skipped)
    download = getattr(args, "download", False)
    if not args.root.exists():
        if not download:
            way_out = " Give the corpus's folder, or --download to fetch it there." if hasattr(args, "download") else ""
            raise ValueError(f"{args.root}: no such file or folder.{way_out}")
        if hasattr(args, "url"):
            fetch_archive(args.url, args.root)
    corpus: Corpus = args.from_args(args.root, args)
    leave_out_held_speakers(corpus)
    if not any(corpus.parts().values()):
        check_set_aside(corpus, None, skipped)
        raise ValueError(f"{args.root}: holds no recording")
    if not args.dry_run:
        write_corpus(corpus, args.out)
    print_summary(corpus)
    check_set_aside(corpus, None if args.dry_run else args.out, skipped)
    return 0


def _sub_parser(
    corpora: "argparse._SubParsersAction", name: str, purpose: str, doc: str | None
) -> argparse.ArgumentParser:
    sub = corpora.add_parser(
        name,
        help=purpose,
        description=f"{purpose}\n\n{(doc or '').strip()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets the manifests")
    return sub
