"""Each manifest becomes a folder of shards: DIR/<manifest stem>/shard-000000.tar, with an index beside every tar.

Run it again to go on where it stopped: finished shards stay. Utterances whose audio cannot be read are set aside,
listed in DIR/<manifest stem>/set_aside.jsonl, and do not stop the run; they are tried again when their file changed.
A failing disk, mount or memory stops the run: run it again when it is back.
"""

import argparse
import json
from pathlib import Path

from asr_kd.core.files import atomic_path
from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.core.terminal import say, show
from asr_kd.corpora.corpus import SET_ASIDE, warn_of_long
from asr_kd.corpora.manifest import read_manifest
from asr_kd.shards.index import read_index
from asr_kd.shards.writer import SHARD_SECONDS, write_shards

SECONDS_PER_MINUTE = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `asr-kd shard`."""
    parser.add_argument(
        "manifests", nargs="+", type=Path, metavar="MANIFEST", help=".jsonl files, as prepare writes them"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets one folder of shards per manifest")
    parser.add_argument(
        "--minutes",
        type=float,
        default=SHARD_SECONDS / SECONDS_PER_MINUTE,
        help="audio per shard, at most (default: %(default)g)",
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="shards written at the same time (default: 1)")
    parser.add_argument("--strip-text", action="store_true", help="leave the transcripts out of the shards")


def run(args: argparse.Namespace) -> int:
    """Write the shards of every manifest; 0 when every manifest gave some."""
    if args.jobs < 1:
        raise ValueError(f"--jobs {args.jobs}: at least one job is needed")
    manifests = [path for path in args.manifests if path.name != SET_ASIDE]  # it lies beside them and shells glob it
    stems = [path.stem for path in manifests]
    twice = {stem for stem in stems if stems.count(stem) > 1}
    if twice:
        raise ValueError(f"two manifests are called {min(twice)}; their shards would share a folder. Shard them apart.")
    if not manifests:
        raise ValueError(f"{SET_ASIDE} lists what was left out; give manifests")
    for manifest in manifests:
        shard_manifest(
            manifest, args.out / manifest.stem, args.minutes * SECONDS_PER_MINUTE, args.strip_text, args.jobs
        )
    return 0


def shard_manifest(
    manifest: Path, out: Path, shard_seconds: float, strip_text: bool = False, jobs: int = 1
) -> list[Path]:
    """Write one manifest's shards and say what became of it. ValueError when none of its audio could be read."""
    utterances = list(read_manifest(manifest))
    if not utterances:
        raise ValueError(f"{manifest}: holds no utterance; leave it out")
    tars = write_shards(utterances, out, shard_seconds, strip_text=strip_text, jobs=jobs)
    indexes = [read_index(tar) for tar in tars]
    aside = [item for index in indexes for item in index.set_aside]
    count, hours = sum(index.count for index in indexes), sum(index.seconds for index in indexes) / SECONDS_PER_HOUR
    show(f"{out}: {len(tars)} shards, {count} utterances, {hours:.3f} h")
    warn_of_long((entry.seconds for index in indexes for entry in index.entries), str(out))
    _list_set_aside(out / SET_ASIDE, aside)
    if count == 0:
        raise ValueError(f"{manifest}: none of its audio could be read; the first: {aside[0]['error']}")
    return tars


def _list_set_aside(path: Path, aside: list[dict[str, str]]) -> None:
    if not aside:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary:
        temporary.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in aside), encoding="utf-8")
    say(f"{len(aside)} utterances set aside, listed in {path}; the first: {aside[0]['error']}")
