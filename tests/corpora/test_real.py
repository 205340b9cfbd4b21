"""The corpora at hand, as recipes prepare them. Test transcripts are counted, not looked at."""

import os
from pathlib import Path

import pytest

from asr_kd.corpora.an4 import read_an4
from asr_kd.corpora.speakers import read_speaker_list
from asr_kd.corpora.speechocean762 import read_speechocean762

MANIFESTS = Path(__file__).parents[2] / "manifests"
DATA = Path(os.environ.get("ASR_KD_DATA", "/nowhere"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="ASR_KD_DATA does not name a folder of corpora")


def counts(corpus):
    return {name: (len(us), len({u.speaker for u in us})) for name, us in corpus.parts().items()}


@needs_data
def test_an4_numbers_and_the_committed_list_is_what_the_rule_draws():
    listed = read_an4(DATA / "an4", MANIFESTS / "an4_labelled.txt")
    drawn = read_an4(DATA / "an4")
    assert counts(listed) == counts(drawn)
    assert listed == drawn
    assert counts(listed) == {
        "labelled": (168, 13),
        "dev": (26, 2),
        "unlabelled": (754, 59),
        "unlabelled_references": (754, 59),
        "test": (130, 10),
    }
    everyone = read_an4(DATA / "an4", "all")
    assert len(everyone.labelled) + len(everyone.dev) == 948
    assert everyone.dev == listed.dev


def test_an4_list_is_a_fifth_of_the_speakers_with_one_dev_speaker_of_each_sex():
    roles = read_speaker_list(MANIFESTS / "an4_labelled.txt")
    assert len(roles) == 15
    assert sorted(name[0] for name, role in roles.items() if role == "dev") == ["f", "m"]


@needs_data
def test_speechocean762_numbers_and_the_committed_list_is_what_the_rule_draws():
    listed = read_speechocean762(DATA / "speechocean762", MANIFESTS / "speechocean762_labelled.txt")
    assert listed == read_speechocean762(DATA / "speechocean762")
    parts = counts(listed)
    assert parts["dev"] == (80, 4)
    assert sum(parts[name][0] for name in ("labelled", "dev", "unlabelled", "test")) == 2500
    assert 29 * 60 < sum(u.duration for u in listed.labelled + listed.dev) < 32 * 60
    assert {(u.meta["group"], u.meta["gender"]) for u in listed.dev} == {
        (group, gender) for group in ("child", "adult") for gender in "fm"
    }
