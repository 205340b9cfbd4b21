"""What tests of distillation share: a small teacher with soft targets and alignments, and the command."""

import json

import pyarrow as pa
import pytest
import torch

from asr_kd.cli import main
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.inventory.senones import Senones
from asr_kd.models.acoustic import build_model
from asr_kd.models.checkpoint import load_model, save_model
from asr_kd.models.config import ModelConfig
from asr_kd.shards.reader import open_shard
from asr_kd.targets.sidecar import sidecar_path, write_sidecar
from asr_kd.teachers.inference import Inference

INVENTORY = Senones.monophone(["SIL", "AH", "EE", "OH"])
SETTINGS = [
    "model={num_layers: 1, hidden_size: 24, lookahead: 1, dropout: 0}",
    "schedule={epochs: 4, unlabelled_sub_epochs: 2, labelled_every: 2, final_labelled_epochs: 0}",
    "train={max_frames_per_batch: 100, ema_decay: 0, num_workers: 0, precision: float32, optim: {lr: 0.01}}",
    "augment={}",
    "labelled_augment={}",
]


def posteriors(model, tar):
    """A model's log-posteriors of each utterance of a tar, (T, C)."""
    inference, shard = Inference(load_model(model), torch.device("cpu"), "float32"), open_shard(tar)
    return [inference.log_posteriors(*inference.features([shard.audio(r)]))[0] for r in range(len(shard.entries))]


def write_alignments(folder, tars, teacher, inventory=INVENTORY):
    """Alignments that agree with the teacher's arg-max."""
    inventory.save(folder / "inventory.json")
    for tar in tars:
        shard = open_shard(tar)
        states = [log_p_TC.argmax(-1).short().numpy() for log_p_TC in posteriors(teacher, tar)]
        table = pa.table({"id": [e.id for e in shard.entries], "states": pa.array(states, pa.list_(pa.int16()))})
        description = {"kind": "alignment", "inventory": inventory.fingerprint, "shard": shard.digest}
        write_sidecar(sidecar_path(folder, shard), table, description)
    return folder


def write_teacher(folder, seed):
    torch.manual_seed(seed)
    model = build_model(ModelConfig(num_layers=1, hidden_size=8, bidirectional=True), INVENTORY, FrontEndConfig())
    model.output.weight.data.mul_(10)
    save_model(folder, model)
    return folder


@pytest.fixture(scope="module")
def given(tone_shards, tmp_path_factory):
    """A teacher, its soft targets of the first two tars, alignments of all."""
    root = tmp_path_factory.mktemp("given")
    teacher = write_teacher(root / "teacher", seed=0)
    main(
        ["label", *map(str, tone_shards[:2]), "--teacher", str(teacher), "--out", str(root / "targets"), "--top-k", "4"]
    )
    write_alignments(root / "aligned", tone_shards, teacher)
    return root


def distill(given, tars, out, *more, settings=(), **other):
    folders = {"targets": given / "targets", "alignments": given / "aligned"} | other
    arguments = ["distill", "--unlabelled", *tars[:2], "--labelled", tars[2], "--dev", tars[2], "--out", out]
    for name, folder in folders.items():
        arguments += [] if folder is None else [f"--{name}", folder]
    return main([*map(str, arguments), "--threads", "1", *more, "--set", *SETTINGS, *settings])


def metrics(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
