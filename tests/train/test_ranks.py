"""Training on several ranks: the same steps on all, the same bits where that is promised, and going on on others."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file
from tones import align_tones

from asr_kd.corpora.manifest import Utterance
from asr_kd.shards.writer import write_shards

pytestmark = pytest.mark.slow
RATE = 16000
SETTINGS = (
    "model={num_layers: 1, hidden_size: 16, dropout: 0.1}",
    "frontend={mel_bins: 20}",
    "epochs=3",
    "train={max_frames_per_batch: 60, num_workers: 0, precision: float32, ema_decay: 0.9}",
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Shards of very different lengths, and their alignments."""
    folder = tmp_path_factory.mktemp("ranks")
    rng = np.random.default_rng(0)
    utterances = []
    for n in range(26):
        seconds = float(rng.uniform(0.4, 1.6))
        times = np.arange(int(RATE * seconds)) / RATE
        wave = 0.3 * np.sin(2 * np.pi * rng.choice([400, 900, 1600]) * times) + rng.normal(0, 0.01, len(times))
        soundfile.write(folder / f"{n}.wav", wave, RATE)
        utterances.append(Utterance(id=f"u{n}", audio_filepath=str(folder / f"{n}.wav"), duration=seconds))
    tars = write_shards(utterances, folder / "shards", shard_seconds=4.0)
    align_tones(tars, folder / "align")
    return folder


def train(corpus, out, ranks, *settings, kill_after=None):
    """`asr-kd train` on so many ranks; the ended process."""
    command = ["-m", "asr_kd.cli", "train", str(corpus / "shards"), "--alignments", str(corpus / "align")]
    command += ["--dev", str(corpus / "shards/shard-000000.tar"), "--out", str(out), "--threads", "1", "--set"]
    command += [*SETTINGS, *settings]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    return subprocess.run(
        [sys.executable, *launcher, *command],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def result(out: Path):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"], line["hours_per_second"], line["grad_norm"]
    return load_file(out / "model.safetensors"), lines


def assert_same(here, there):
    (ours, our_lines), (theirs, their_lines) = result(here), result(there)
    assert our_lines == their_lines
    for name, tensor in ours.items():
        np.testing.assert_array_equal(tensor, theirs[name], err_msg=name)


def test_a_tree_gives_the_same_bits_on_any_number_of_ranks(corpus, tmp_path):
    for ranks in (1, 2, 4):
        ended = train(corpus, tmp_path / str(ranks), ranks, "train.lanes=4", "train.strategy.kind=tree")
        assert ended.returncode == 0, ended.stderr
    assert_same(tmp_path / "1", tmp_path / "2")
    assert_same(tmp_path / "1", tmp_path / "4")
