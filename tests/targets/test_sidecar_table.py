"""The table of codes for posteriors: its figures are those of the bytes and targets that the codes give."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from asr_kd.corpora.manifest import Utterance
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.inventory.senones import Senones
from asr_kd.models.acoustic import build_model
from asr_kd.models.checkpoint import save_model
from asr_kd.models.config import ModelConfig
from asr_kd.shards.writer import write_shards

TOOLS = Path(__file__).resolve().parents[2] / "tools"
INVENTORY = Senones.monophone(["SIL", *"ABCDEFGHIJKLMNO"])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    torch.manual_seed(0)
    model = build_model(ModelConfig(num_layers=1, hidden_size=16, bidirectional=True), INVENTORY, FrontEndConfig())
    model.output.weight.data.mul_(20)  # an opinion on each frame
    save_model(folder / "teacher", model)
    utterances = []
    for i, seconds in enumerate([0.9, 0.4, 1.3]):
        noise = np.random.default_rng(i).normal(0, 0.1, int(16000 * seconds))
        soundfile.write(folder / f"{i}.wav", noise, 16000)
        utterances.append(Utterance(id=f"u{i}", audio_filepath=str(folder / f"{i}.wav"), duration=seconds))
    write_shards(utterances, folder / "shards")
    command = [TOOLS / "sidecar_table.py", "tiny", "--shards", folder / "shards", "--teacher", folder / "teacher"]
    options = ["--repeats", "1", "--out", folder / "out"]
    subprocess.run([sys.executable, *map(str, command + options)], check=True, capture_output=True, timeout=200)
    return json.loads((folder / "out" / "tiny.json").read_text()), (folder / "out" / "tiny.md").read_text()


def test_every_code_has_a_line_with_plausible_figures(table):
    found, text = table
    rows = {row["code"]: row for row in found["rows"]}
    assert text.count("\n|") == len(rows) + 2
    full = rows["all, float16"]
    assert full["kl_mean"] < 1e-3 and full["mass"] == pytest.approx(1) and full["classes"] == INVENTORY.num_classes
    assert full["bytes_per_frame"] == pytest.approx(2 * INVENTORY.num_classes, rel=0.1)
    assert rows["top 20, uint16 + float16"]["bytes_per_frame"] == pytest.approx(80, rel=0.05)
    for row in found["rows"]:
        assert row["kl_mean"] <= row["kl_95"] + 0.1 and row["stored_kl"] <= row["kl_mean"] + 1e-6
        assert row["mb_per_hour"] == pytest.approx(row["bytes_per_frame"] * 0.12, rel=0.1)  # 120,000 frames an hour


def test_finer_levels_cost_bytes_and_save_kl(table):
    rows = {row["code"]: row for row in table[0]["rows"]}
    few, many = (rows[f"format 2, k 40, floor 0.0006, {levels} levels"] for levels in (10, 30))
    assert few["bytes_per_frame"] < many["bytes_per_frame"] and few["stored_kl"] > many["stored_kl"]
