from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.data.loader import TrainingSet
from asr_kd.distill.schedule import ScheduleConfig, sub_epochs

UNLABELLED, LABELLED = TrainingSet("unlabelled", [], None), TrainingSet("labelled", [], None)


def names(config):
    return [(stream.name, fraction) for stream, fraction in sub_epochs(config, UNLABELLED, LABELLED)]


def test_labelled_data_follows_after_so_many_unlabelled_sub_epochs():
    config = ScheduleConfig(epochs=1, unlabelled_sub_epochs=4, labelled_every=2, final_labelled_epochs=3)
    quarter, labelled = ("unlabelled", 0.25), ("labelled", 1.0)
    assert names(config) == [quarter, quarter, labelled, quarter, quarter, labelled, ("labelled", 3)]


def test_the_student_can_be_kept_from_labels():
    assert {name for name, _ in names(ScheduleConfig(labelled_every=0, final_labelled_epochs=0))} == {"unlabelled"}


@given(st.integers(0, 5), st.integers(1, 30), st.integers(0, 4))
def test_the_fractions_add_up_to_the_epochs_asked_for(epochs, parts, every):
    config = ScheduleConfig(epochs, parts, every, labelled_fraction=0.5, final_labelled_epochs=2)
    total = Counter()
    for name, fraction in names(config):
        total[name] += fraction
    assert total["unlabelled"] == pytest.approx(epochs)
    assert total["labelled"] == pytest.approx(2 + (0.5 * (epochs * parts // every) if every else 0))


@pytest.mark.parametrize(
    "wrong", [{"epochs": -1}, {"unlabelled_sub_epochs": 0}, {"labelled_every": -1}, {"labelled_fraction": -0.1}]
)
def test_wrong_settings_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=rf"schedule\.{next(iter(wrong))}"):
        ScheduleConfig(**wrong)


def test_nothing_to_train_on_is_refused():
    with pytest.raises(ValueError, match="nothing to train on"):
        ScheduleConfig(epochs=0, final_labelled_epochs=0)
