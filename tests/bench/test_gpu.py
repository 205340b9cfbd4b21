"""The GPU benchmark's tiny mode on a CPU, and what must hold on a GPU (marker gpu; skipped without one)."""

import json
from pathlib import Path

import pytest
import torch

from asr_kd.bench.gpu.sections import Setup, relative_error
from asr_kd.bench.synthetic import random_teacher
from asr_kd.cli import main
from asr_kd.targets.topk import SelectionConfig, select_top_k_batch
from asr_kd.train.loss_sum import LossSum
from asr_kd.train.losses import LossConfig, frame_losses

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is visible")


def test_tiny_mode_measures_every_section_and_finds_nothing_wrong(tmp_path: Path, capsys: pytest.CaptureFixture):
    code = main(["bench", "gpu", "--tiny", "--device", "cpu", "--minutes", "60", "--out", str(tmp_path / "gpu.json")])
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    figures = json.loads((tmp_path / "gpu.json").read_text())
    assert code == 0 and summary["wrong"] == []
    assert figures["ranks"] == {"tree_bit_for_bit": True}
    assert figures["same_bytes"] == {"differing": [], "shards": 2}
    assert figures["resume"] == {"frames": {"bit_for_bit": True}, "ctc": {"bit_for_bit": True}}
    assert summary["label_ratio"] > 0 and summary["train_ratio"] > 0
    assert figures["stages"]["seconds_per_hour"].keys() >= {"read and decode", "forward", "coding"}


def test_full_run_without_a_gpu_is_refused_in_one_line(capsys: pytest.CaptureFixture):
    assert main(["bench", "gpu", "--device", "cpu"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_relative_error_of_something_not_finite_is_never_small():
    error = relative_error(torch.tensor([1.0, float("nan")]), torch.ones(2))
    assert error != error


@pytest.mark.gpu
@on_gpu
def test_frame_loss_waits_for_no_gpu():
    logits_BTC = torch.randn(2, 30, 50, device="cuda", requires_grad=True)
    p_BTK, ids_BTK = logits_BTC.detach().softmax(-1).topk(4)
    log_tail_BT = (1 - p_BTK.sum(-1)).log()
    frames_B = torch.tensor([30, 20], device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses_BT = frame_losses(logits_BTC, ids_BTK, p_BTK.log(), log_tail_BT, LossConfig(temperature=2.0))
        LossSum.over(losses_BT, torch.arange(30, device="cuda") < frames_B[:, None]).mean.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@on_gpu
def test_selection_on_a_gpu_is_that_of_the_cpu():
    log_p_BTC = torch.randn(3, 40, 200).mul(3).log_softmax(-1)
    frames_B = torch.tensor([40, 31, 5])
    for config in (SelectionConfig(), SelectionConfig(top_p=0.9)):
        here = select_top_k_batch(log_p_BTC, frames_B, config)
        there = select_top_k_batch(log_p_BTC.cuda(), frames_B, config)
        for a, b in zip(here, there, strict=True):
            assert a is not None and b is not None
            assert (a.ids_TK == b.ids_TK).all()
            assert abs(a.log_tail_T - b.log_tail_T).max() < 1e-4


@pytest.mark.gpu
@on_gpu
def test_a_student_s_step_waits_for_no_gpu():
    model = random_teacher("student-tiny", 41).cuda().train()
    x_BTF = torch.randn(2, 30, model.feature_mean_F.shape[0], device="cuda")
    frames_B = torch.tensor([30, 20], device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        model(x_BTF, frames_B).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_setup_measures_float32_alone_on_a_cpu(tmp_path: Path):
    assert Setup(torch.device("cpu"), tmp_path, [], True, 1).precisions == ("float32",)
