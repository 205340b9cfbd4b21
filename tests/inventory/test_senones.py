import dataclasses
import json

import pytest

from asr_kd.inventory.registry import load_inventory
from asr_kd.inventory.senones import NO_PHONE, Senones

PHONES = ("SIL", "A", "B", "C")
MONO = Senones.monophone(PHONES, states=2, silence_states=3)
# A in the first state is told apart by a B on its left; the second state is one class for all phones.
TREES = (
    ((0, (1,), 1, 2, -1), (-1, (2,), 3, 4, -1), (0, (), -1, -1, 0), (0, (), -1, -1, 1), (0, (), -1, -1, 2)),
    ((0, (), -1, -1, 3),),
)
TIED = Senones(PHONES, TREES)


def test_without_context_every_state_of_every_phone_is_a_class_of_its_own():
    assert MONO.num_classes == 3 + 2 * 3 == len(MONO.symbols) == len(set(MONO.symbols))
    states = [MONO.senones(NO_PHONE, p, NO_PHONE) for p in range(4)]
    assert states[0] == (0, 1, 2) == tuple(MONO.silence_classes)
    assert sorted(c for s in states for c in s) == list(range(MONO.num_classes))
    assert MONO.senones(2, 1, 3) == states[1]


def test_tied_states_follow_the_trees():
    assert TIED.num_classes == 1 + 4
    assert TIED.senones(2, 1, 0) == (2, 4)
    assert TIED.senones(NO_PHONE, 1, 2) == (3, 4)
    assert TIED.senones(2, 3, NO_PHONE) == (1, 4)
    assert TIED.senones(1, 0, 2) == (0,), "silence has no context"


@pytest.mark.parametrize("inventory", [MONO, TIED], ids=["mono", "tied"])
def test_an_inventory_comes_back_from_its_file_or_folder(tmp_path, inventory):
    inventory.save(tmp_path / "inventory.json")
    for path in (tmp_path, tmp_path / "inventory.json"):
        again = load_inventory(path)
        assert again == inventory
        assert (again.fingerprint, again.symbols, again.num_classes) == (
            inventory.fingerprint,
            inventory.symbols,
            inventory.num_classes,
        )


@pytest.mark.parametrize(
    "change",
    [
        {"phones": ("SIL", "A", "C", "B")},
        {"trees": (TREES[0], ((0, (1,), 1, 2, -1), (0, (), -1, -1, 3), (0, (), -1, -1, 4)))},
        {"trees": TREES[:1], "states": 1},
        {"silence_states": 2},
        {"skip": False},
        {"frame_shift_s": 0.04},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_fingerprint_changes_with_any_field(change):
    assert dataclasses.replace(TIED, **change).fingerprint != TIED.fingerprint


def test_an_edited_file_is_refused_by_name(tmp_path):
    TIED.save(tmp_path / "inventory.json")
    data = json.loads((tmp_path / "inventory.json").read_text())
    data["skip"] = False
    (tmp_path / "inventory.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"inventory\.json: its fingerprint does not match"):
        load_inventory(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.pop("phones"),
        lambda d: d.update(kind="phones"),
        lambda d: d.update(phones=["A", "SIL"]),
        lambda d: d.update(phones=["SIL"]),
        lambda d: d.update(phones=["SIL", "A", "A"]),
        lambda d: d.update(trees=d["trees"][:1]),
        lambda d: d.update(trees=[[1, 2]]),
    ],
)
def test_what_is_no_inventory_is_refused_by_name(tmp_path, damage):
    data = TIED.to_dict()
    damage(data)
    (tmp_path / "inventory.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"inventory\.json: not an inventory's description .*asr-kd align"):
        load_inventory(tmp_path)
    (tmp_path / "inventory.json").write_text("[]")
    with pytest.raises(ValueError, match="not an inventory's description"):
        load_inventory(tmp_path)
