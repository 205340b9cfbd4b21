"""Promises of core.runtime: options that cannot hold are refused, seeds make runs repeat."""

import random

import numpy as np
import pytest
import torch

from asr_kd.core.runtime import autocast, device, has_bf16, seed_everything, set_threads


def test_seeding_repeats_all_three_generators():
    draws = []
    for _ in range(2):
        seed_everything(7)
        draws.append((random.random(), np.random.rand(), torch.rand(1).item()))
    torch.use_deterministic_algorithms(False)
    assert draws[0] == draws[1]


def test_float32_means_float32_and_bf16_means_bf16():
    a = torch.ones(4, 4)
    with autocast(torch.device("cpu"), "float32"):
        assert (a @ a).dtype == torch.float32
    if has_bf16(torch.device("cpu")):
        with autocast(torch.device("cpu"), "bf16"):
            assert (a @ a).dtype == torch.bfloat16
    else:
        with pytest.raises(ValueError, match="precision is bf16, which this processor has no kernels for"):
            autocast(torch.device("cpu"), "bf16")


def test_what_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="precision is fp4"):
        autocast(torch.device("cpu"), "fp4")
    with pytest.raises(ValueError, match="--threads 0"):
        set_threads(0)
    assert device("cpu") == torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_gpu_that_is_not_there_is_refused_and_auto_is_the_cpu():
    with pytest.raises(ValueError, match="--device cuda"):
        device("cuda")
    assert device() == torch.device("cpu")


@pytest.mark.parametrize("name", ["evil", "cuda:x", "cuda:-1", "meta", "mps:9", "cpu\nx", "cuda:99", ""])
def test_a_device_that_is_none_is_one_line(name: str) -> None:
    with pytest.raises(ValueError, match="--device") as told:
        device(name)
    assert name == "cpu\nx" or "\n" not in str(told.value)
