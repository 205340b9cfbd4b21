"""Damages tars, Parquet, Arrow and Kaldi archives of audio and reads every clip of them: the samples that were put in,
or a ValueError that names the file, never other samples and never a crash.

    python tests/stress/fuzz_containers.py --count 1000

Damage within a clip that FLAC has no checksum for, such as that of its rate, is counted apart: it is the audio's.
Prints one line of JSON, exit code 1 where anything else came out.
"""

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "helpers"))
from clips import audio_rows, clip, samples, write_parquet, write_stream, write_tar
from damage import damaged

from asr_kd.corpora.audio import opened_file, read_audio
from asr_kd.corpora.containers.tables import audio_table

CLIPS = [clip(i, 0.3) for i in range(6)]
TEXTS = [f"word {i}" for i in range(6)]


def containers(folder: Path) -> dict[str, tuple[Path, list[str]]]:
    """A file of each kind that holds the clips, and the names of the members."""
    table = audio_rows(CLIPS, {"text": TEXTS})
    parquet = write_parquet(folder / "x.parquet", table, 3)
    stream = write_stream(folder / "x.arrow", table, 3)
    with pa.ipc.new_file(folder / "y.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    tar = write_tar(folder / "x.tar", {f"{i}.flac": data for i, data in enumerate(CLIPS)})
    ark, offsets = b"", []
    for i, data in enumerate(CLIPS):
        ark += f"utt{i} ".encode()
        offsets.append(str(len(ark)))
        ark += data
    (folder / "x.ark").write_bytes(ark)
    rows = [str(i) for i in range(6)]
    found = {"parquet": (parquet, rows), "arrow stream": (stream, rows), "arrow file": (folder / "y.arrow", rows)}
    return found | {"tar": (tar, [f"{i}.flac" for i in range(6)]), "ark": (folder / "x.ark", offsets)}


def damaged_end(data: bytes, r: random.Random) -> bytes:
    """The bytes with 1 to 4 bits flipped in their last quarter, where Parquet and Arrow describe themselves."""
    changed = bytearray(data)
    for _ in range(r.randint(1, 4)):
        changed[r.randrange(len(data) * 3 // 4, len(data))] ^= 1 << r.randrange(8)
    return bytes(changed)


def outcome(path: Path, members: list[str]) -> tuple[list[str], int, int]:
    """What is wrong with what was read, how many clips were refused, and in how many FLAC did not notice damage."""
    wrong, refused, unseen = [], 0, 0
    for member, data in zip(members, CLIPS, strict=True):
        try:
            wave_N = read_audio(f"{path}::{member}")
        except ValueError as e:
            refused += 1
            if str(path) not in str(e) or "\n" in str(e):
                wrong.append(f"message: {e}")
            continue
        except Exception as e:
            wrong.append(f"{type(e).__name__}: {e}")
            continue
        if not np.array_equal(wave_N, samples(data)):
            with opened_file(Path(f"{path}::{member}")) as file:
                held = file.read()
            if held in CLIPS:
                wrong.append(f"other samples: {member}")
            unseen += 1  # in the audio itself, where FLAC has no checksum
    if path.suffix in (".parquet", ".arrow"):
        try:
            table = audio_table(path)
            for group in range(len(table.starts) - 1):
                table.read(group, [name for name in table.schema.names if name == "text"]).to_pydict()
        except ValueError:
            pass
        except Exception as e:
            wrong.append(f"columns: {type(e).__name__}: {e}")
    return wrong, refused, unseen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", help="only this kind, such as parquet")
    args = parser.parse_args()
    r = random.Random(args.seed)
    failures: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    unnoticed: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        made = containers(Path(name))
        whole = {kind: path.read_bytes() for kind, (path, _) in made.items()}
        for i in range(args.count):
            kind = args.kind or list(made)[i % len(made)]
            path, members = made[kind]
            copy = path.with_name(f"{i}{path.suffix}")
            copy.write_bytes(damaged(whole[kind], r) if i % 2 else damaged_end(whole[kind], r))
            print(f"{kind} {i}", file=sys.stderr, flush=True)  # the last line says where a crash was
            wrong, count, unseen = outcome(copy, members)
            refused[kind] += count
            unnoticed[kind] += unseen
            for reason in wrong:
                failures[f"{kind}: {reason.replace(str(copy), 'FILE')[:200]}"] += 1
            copy.unlink()
    print(json.dumps({"count": args.count, "refused": refused, "unnoticed_by_flac": unnoticed, "wrong": failures}))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
