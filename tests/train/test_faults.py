"""Promises of training on a machine or data that fail: told in one line, never passed over."""

import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from tones import FRONTEND, INVENTORY, align_tones, fit

from asr_kd.data.loader import TrainingSet, batches
from asr_kd.data.sampler import BatchSampler
from asr_kd.frontend.augment import AugmentConfig
from asr_kd.models.acoustic import build_model
from asr_kd.models.config import ModelConfig
from asr_kd.shards.catalogue import open_catalogue
from asr_kd.shards.reader import open_shard
from asr_kd.targets.alignments import AlignmentFolders
from asr_kd.train.config import OptimConfig, TrainConfig
from asr_kd.train.metrics import METRICS_FILE, Metrics

pytestmark = pytest.mark.slow

CONFIG = TrainConfig(max_frames_per_batch=150, num_workers=0, device="cpu", optim=OptimConfig(lr=0.01))


def new_model():
    torch.manual_seed(0)
    return build_model(ModelConfig(num_layers=1, hidden_size=8), INVENTORY, FRONTEND)


def streams(shards, folder, set_aside=()):
    targets = AlignmentFolders([align_tones(shards, folder, set_aside)], INVENTORY)
    labelled, dev = open_catalogue(*shards[:2]), open_catalogue(*shards[2:])
    return TrainingSet("labelled", labelled, targets), TrainingSet("dev", dev, targets)


@pytest.fixture
def damaged(tone_shards, tmp_path):
    """Copies of the shards; call it with ids whose audio is then damaged (the alignment is of the same tar)."""

    def damage(ids):
        shards = [tmp_path / "tones" / path.name for path in tone_shards]
        shards[0].parent.mkdir()
        for path, copy in zip(tone_shards, shards, strict=True):
            shutil.copy(path, copy)
            shutil.copy(path.with_suffix(".index.json"), copy.with_suffix(".index.json"))
        given = streams(shards, tmp_path / "aligned")
        for path in shards:
            with open(path, "r+b") as f:
                for entry in open_shard(path).entries:
                    if entry.id in ids:
                        f.seek(entry.audio_offset)
                        f.write(bytes(entry.audio_size))
        return given

    return damage


def ids_of(paths):
    return [entry.id for path in paths for entry in open_shard(path).entries]


def test_what_is_skipped_is_told_at_the_end_in_metrics_and_in_a_file(tone_shards, tmp_path, damaged, capsys):
    first, *_ = ids_of(tone_shards[:2])
    labelled, dev = damaged({first})
    fit(new_model(), [(labelled, 1.0)] * 2, dev, CONFIG, tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out/skipped-labelled.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [first] and "damaged audio" in rows[0]["reason"]
    said = capsys.readouterr().err
    assert f"1 of {len(ids_of(tone_shards[:2]))} labelled utterances skipped (1 x damaged audio" in said
    lines = [json.loads(line) for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    assert [line["skipped"] for line in lines] == [1, 1]
    assert not (tmp_path / "out/skipped-dev.jsonl").exists()


@pytest.mark.parametrize("of", ["labelled", "dev"])
def test_more_than_a_share_skipped_is_an_error_until_it_is_accepted(tone_shards, tmp_path, damaged, of):
    half = set(ids_of(tone_shards[:2] if of == "labelled" else tone_shards[2:])[::2])
    labelled, dev = damaged(half)
    whole = fit(new_model(), [(labelled, 1.0)] * 2, dev, replace(CONFIG, max_skipped=1.0), tmp_path / "whole")
    for _ in range(2):
        with pytest.raises(ValueError, match=rf"{len(half)} of \d+ {of} utterances skipped .*--max-skipped 0\.\d+"):
            fit(new_model(), [(labelled, 1.0)] * 2, dev, CONFIG, tmp_path / "out")
    assert fit(new_model(), [(labelled, 1.0)] * 2, dev, replace(CONFIG, max_skipped=1.0), tmp_path / "out").steps
    assert (tmp_path / "out/model.safetensors").read_bytes() == (tmp_path / "whole/model.safetensors").read_bytes()
    assert whole.steps


def test_targets_that_are_all_null_are_an_error(tone_shards, tmp_path):
    everything = {entry.id for path in tone_shards[:2] for entry in open_shard(path).entries}
    labelled, dev = streams(tone_shards, tmp_path, everything)
    with pytest.raises(ValueError, match=r"sub-epoch 1 \(labelled\): all of its utterances were skipped; the first, "):
        fit(new_model(), [(labelled, 1.0)], dev, CONFIG, tmp_path / "out")
    assert not (tmp_path / "out/model.safetensors").exists()


def test_a_sub_epoch_without_data_is_an_error(tone_shards, tmp_path):
    labelled, dev = streams(tone_shards, tmp_path)
    one_batch = replace(CONFIG, max_frames_per_batch=100_000)
    with pytest.raises(ValueError, match=r"sub-epoch 2 \(labelled\): no data is left .* longest utterance has \d+ s"):
        fit(new_model(), [(labelled, 0.25)] * 4, dev, one_batch, tmp_path / "out")


def test_workers_give_the_same_bits_which_can_be_written_to(tone_shards, tmp_path):
    labelled, _ = streams(tone_shards, tmp_path)
    labelled.augment = AugmentConfig(speed_perturb=(0.9, 1.1))
    here, there = (list(batches(BatchSampler(labelled, 150, 0), FRONTEND, workers=n, endless=False)) for n in (0, 2))
    assert len(here) == len(there) > 1
    for a, b in zip(here, there, strict=True):
        assert vars(a).keys() == vars(b).keys()
        ours, theirs = ({**vars(x), "targets": None} | x.targets.frames._asdict() for x in (a, b))
        for name, value in ours.items():
            same = torch.equal if isinstance(value, torch.Tensor) else lambda one, other: one == other
            assert same(value, theirs[name]), name
        b.x_BTF.add_(1)


@pytest.mark.parametrize("which", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_that_is_killed_is_one_clear_line(tone_shards, tmp_path, which):
    labelled, dev = streams(tone_shards, tmp_path)
    model, steps = new_model(), []

    def kill(module, arguments):
        if module.training and not steps:
            steps.append(1)
            for child in multiprocessing.active_children():
                os.kill(child.pid, which)

    model.register_forward_pre_hook(kill)
    with pytest.raises(OSError, match=r"a process that prepares batches .* was killed"):
        fit(model, [(labelled, 1.0)] * 60, dev, replace(CONFIG, num_workers=1), tmp_path / "out")


KILLED = """
import os, signal, sys, time
from pathlib import Path
sys.path[:0] = ["tests/helpers", "tests/train"]
from test_faults import FRONTEND, BatchSampler, batches, streams
labelled, _ = streams(sorted(Path(sys.argv[1]).glob("*.tar")), Path(sys.argv[2]))
made = iter(batches(BatchSampler(labelled, 2000, 0), FRONTEND, workers=1))
assert next(made).x_BTF.nbytes > 1 << 16  # more than a pipe takes: the worker waits to hand over the next ones
time.sleep(1)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_with_a_main_process_that_is_killed(tone_shards, tmp_path):
    command = [sys.executable, "-c", KILLED, str(tone_shards[0].parent), str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)  # its worker holds the same streams
    assert (ended.returncode, ended.stderr) == (-signal.SIGKILL, "")


FEW_FILES = """
import os, resource, sys
from pathlib import Path
sys.path[:0] = ["tests/helpers", "tests/train"]
from test_faults import CONFIG, fit, new_model, replace, streams
shards, out = sorted(Path(sys.argv[1]).glob("*.tar")), Path(sys.argv[2])
labelled, dev = streams(shards, out / "aligned")
import torch.utils.tensorboard
for files in (16, 20, 24, 32):
    if not (child := os.fork()):
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
        try:
            fit(new_model(), [(labelled, 1.0)] * 3, dev, replace(CONFIG, num_workers=1), out / str(files))
        except OSError as e:
            print("OSError", e)
        sys.stdout.flush()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, files
"""


def test_few_open_files_never_hang_training(tone_shards, tmp_path):
    command = [sys.executable, "-c", FEW_FILES, str(tone_shards[0].parent), str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr
    finished = list(tmp_path.glob("*/model.safetensors"))
    assert ended.stdout.count("Too many open files") + len(finished) == 4, (ended.stdout, finished)


def test_a_full_disk_is_told_with_its_file(tone_shards, tmp_path):
    labelled, dev = streams(tone_shards, tmp_path / "aligned")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"state\.pt|model\.safetensors"):
            fit(new_model(), [(labelled, 1.0)], dev, replace(CONFIG, checkpoint_every_minutes=0), tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "out").glob("*.tmp")) + list((tmp_path / "out").glob(".*.tmp"))
    assert np.isfinite(fit(new_model(), [(labelled, 1.0)], dev, CONFIG, tmp_path / "out").dev_loss)


@pytest.mark.parametrize("line", [b"null", b"{}", b'{"sub_epoch": "x"}', b"[" * 100_000, b'{"sub_epoch": 4}'])
def test_odd_lines_of_metrics_are_dropped_and_whole_ones_stay_byte_for_byte(line: bytes, tmp_path):
    good = '{"sub_epoch": 3, "dev_loss": NaN, "stream": "a\u2028b"}\n'.encode()
    (tmp_path / METRICS_FILE).write_bytes(good + line + b"\n" + good[:9])
    Metrics(tmp_path, 3, 9).close()
    assert (tmp_path / METRICS_FILE).read_bytes() == good
