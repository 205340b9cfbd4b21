"""Shards for `tools/gpu.sh`, small enough to carry: Opus, of AN4 where it is at hand, and synthetic.

    python tools/gpu_audio.py OUT [AN4_ROOT] [--minutes M]

Writes OUT/an4-NNN.tar and OUT/synthetic-NNN.tar, each about two minutes of audio, and their indexes.
"""

import argparse
import io
import json
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from asr_kd.bench.synthetic import synthetic_shards
from asr_kd.core.text_files import read_lines
from asr_kd.corpora.audio import SAMPLE_RATE
from asr_kd.shards.reader import open_shard

SHARD_SECONDS = 120.0
Sample = tuple[str, np.ndarray, str | None]


def an4(root: Path) -> Iterator[Sample]:
    """Id, samples and text of AN4's training utterances."""
    lines = read_lines(root / "etc/an4_train.transcription")
    texts = {line.rpartition("(")[2].rstrip(")"): line.rpartition("(")[0] for line in lines}
    for line in (root / "etc/an4_train.fileids").read_text(encoding="utf-8").split():
        wave_N, _ = soundfile.read(root / "wav" / f"{line}.flac", dtype="float32")
        name = Path(line).name
        yield name, wave_N, texts[name].replace("<s>", "").replace("</s>", "").strip()


def synthetic(minutes: float) -> Iterator[Sample]:
    """Buzzing syllables with the lengths of speechocean762."""
    with tempfile.TemporaryDirectory() as folder:
        for path in synthetic_shards(Path(folder), minutes):
            shard = open_shard(path)
            for row, entry in enumerate(shard.entries):
                yield entry.id, shard.audio(row), None


def write(samples: Iterator[Sample], out: Path, name: str) -> None:
    """Tars OUT/NAME-NNN.tar of Opus files, with their indexes."""
    shards: list[list[Sample]] = []
    held_s = SHARD_SECONDS
    for sample in samples:
        if held_s >= SHARD_SECONDS:
            shards.append([])
            held_s = 0.0
        shards[-1].append(sample)
        held_s += len(sample[1]) / SAMPLE_RATE
    for number, shard in enumerate(shards):
        path = out / f"{name}-{number:03d}.tar"
        with tarfile.open(path, "w") as tar:
            for key, wave_N, text in shard:
                audio = io.BytesIO()
                soundfile.write(audio, wave_N, SAMPLE_RATE, format="OGG", subtype="OPUS")
                meta = json.dumps({"duration": len(wave_N) / SAMPLE_RATE} | ({"text": text} if text else {}))
                for suffix, data in (("opus", audio.getvalue()), ("json", meta.encode())):
                    member = tarfile.TarInfo(f"{key}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        open_shard(path)  # writes the index


def main() -> None:
    """See the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("an4", type=Path, nargs="?")
    parser.add_argument("--minutes", type=float, default=30.0, help="synthetic audio (default: %(default)g)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.an4 is not None:
        write(an4(args.an4), args.out, "an4")
    write(synthetic(args.minutes), args.out, "synthetic")


if __name__ == "__main__":
    main()
