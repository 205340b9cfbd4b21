"""A few cuts of each kind of run that no other test cuts."""

import random

import cuts
import pytest


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return cuts.make_cases(tmp_path_factory.mktemp("cuts"), epochs=1)


@pytest.mark.parametrize("name", ["train, ctc", "distill", "online", "mutual", "mean_teacher", "snapshot"])
def test_a_run_that_was_stopped_twice_ends_bit_for_bit_as_one_that_was_not(name, cases, tmp_path):
    found = cuts.compare(cases[name], tmp_path, 2, random.Random(0))
    assert found["wrong"] is None and found["steps"] > 20, found
