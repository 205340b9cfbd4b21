#!/usr/bin/env python3
"""Does NeMo itself read what `asr-kd convert --to nemo` and `--to nemo-tarred` write?

    PYTHON tests/stress/nemo_reads.py exp/an4/manifests/{test,unlabelled}.jsonl

PYTHON is that of an environment with this project and NeMo (`pip install nemo_toolkit`), which does not go with all
libraries of the tests. Each manifest is converted and read back by NeMo's own classes, with one manifest of all tars
and with one of each: number of utterances, texts and samples must be those that were given. Prints a line for each.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from nemo.collections.common.data.lhotse.nemo_adapters import LazyNeMoIterator, LazyNeMoTarredIterator

from asr_kd.cli import main as asr_kd
from asr_kd.corpora.audio import read_audio
from asr_kd.corpora.manifest import read_manifest


def contents(text: str | None, wave_N: np.ndarray) -> tuple[str, bytes]:
    return text or "", wave_N.astype(np.float32).tobytes()


def read(cuts: Iterable) -> list[tuple[str, bytes]]:
    return sorted(contents(cut.supervisions[0].text, cut.load_audio()[0]) for cut in cuts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifests", type=Path, nargs="+", metavar="MANIFEST")
    manifests = parser.parse_args().manifests
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for form in ("nemo", "nemo-tarred"):
            assert asr_kd(["convert", *map(str, manifests), "--to", form, "--out", f"{folder}/{form}"]) == 0
        for manifest in manifests:
            given = sorted(
                contents(u.text, read_audio(u.audio_filepath, u.offset, u.duration)) for u in read_manifest(manifest)
            )
            tars = Path(folder, "nemo-tarred", manifest.stem)
            numbers = f"_OP_0..{len(list(tars.glob('audio_*.tar'))) - 1}_CL_"
            of_all = tars / "tarred_audio_manifest.json"
            of_each = tars / f"sharded_manifests/manifest_{numbers}.json"
            found = {"nemo": LazyNeMoIterator(f"{folder}/nemo/{manifest.name}")}
            for name, path in (("one manifest", of_all), ("one manifest a tar", of_each)):
                found[f"nemo-tarred, {name}"] = LazyNeMoTarredIterator(str(path), str(tars / f"audio_{numbers}.tar"))
            for name, cuts in found.items():
                same = read(cuts) == given
                wrong += not same
                print(f"{manifest.name}, {name}: {len(given)} utterances, {'the same' if same else 'NOT the same'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
