"""Who is labelled: lists, and the rule that draws them."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.corpora.speakers import draw_by_seconds, draw_by_share, draw_order, read_speaker_list, require_known

names = st.lists(st.text("abcdefghij", min_size=1, max_size=4), min_size=2, max_size=30, unique=True)


def test_a_list_has_roles_and_comments(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("# who\nanna\nbert dev  # held out\n\ncarl test\n")
    assert read_speaker_list(path) == {"anna": "labelled", "bert": "dev", "carl": "test"}


@pytest.mark.parametrize("line", ["anna", "bert train", "bert dev test"])
def test_a_wrong_line_is_named(tmp_path, line):
    path = tmp_path / "list.txt"
    path.write_text(f"anna\n{line}\n")
    with pytest.raises(ValueError, match=r"list\.txt: line 2: "):
        read_speaker_list(path)


def test_a_list_of_another_corpus_is_refused():
    with pytest.raises(ValueError, match=r"list.txt: the corpus has no speaker zoe"):
        require_known({"zoe": "dev"}, {"anna"}, "list.txt")


@given(names, st.integers(0, 5))
def test_the_order_of_the_others_does_not_depend_on_who_else_is_there(speakers, seed):
    order = draw_order(speakers, seed)
    assert sorted(order) == sorted(speakers)
    assert draw_order(speakers[1:], seed) == [name for name in order if name != speakers[0]]


def test_the_order_is_drawn_from_seed_and_name_and_from_nothing_else():
    speakers = ["anna", "bert", "carl", "dora", "emil"]
    order = sorted(speakers, key=lambda name: hashlib.sha256(f"3:{name}".encode()).digest())
    assert order not in (speakers, speakers[::-1])
    assert draw_order(speakers, 3) == draw_order(speakers[::-1], 3) == order
    assert len({tuple(draw_order(speakers, seed)) for seed in range(5)}) == 5
    assert draw_by_share({"all": speakers}, 2, 3) == {"all": order[:2]}
    assert draw_by_seconds({"all": speakers}, dict.fromkeys(speakers, 60.0), 120.0, 3) == {"all": order[:2]}


@given(names, st.data())
def test_each_stratum_gets_its_share(speakers, data):
    cut = data.draw(st.integers(1, len(speakers) - 1))
    count = data.draw(st.integers(1, len(speakers)))
    drawn = draw_by_share({"f": speakers[:cut], "m": speakers[cut:]}, count, seed=0)
    assert sum(map(len, drawn.values())) == count
    assert abs(len(drawn["f"]) - count * cut / len(speakers)) < 1


def test_strata_get_equal_time_until_enough_is_drawn():
    strata = {"a": [f"a{i}" for i in range(9)], "b": [f"b{i}" for i in range(9)], "c": ["c0"]}
    seconds = {name: 60.0 for members in strata.values() for name in members}
    drawn = draw_by_seconds(strata, seconds, wanted=420.0, seed=0)
    assert {stratum: len(members) for stratum, members in drawn.items()} == {"a": 3, "b": 3, "c": 1}
