"""Promises of core.config: what is written is what is used; anything unknown or mistyped is refused by name."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.core.config import load_config, to_dict
from asr_kd.core.locations import PathOrUrl


@dataclass(frozen=True)
class Optim:
    """A nested config."""

    lr: float = 0.001
    warmup: int = 100
    kind: Literal["adam", "sgd"] = "adam"

    def __post_init__(self):
        if self.lr <= 0:
            raise ValueError(f"optim.lr is {self.lr}; it must be positive")


@dataclass(frozen=True)
class Config:
    """One field of each type that stations use."""

    optim: Optim = field(default_factory=Optim)
    name: str = "run"
    bidirectional: bool = False
    speeds: tuple[float, ...] = (1.0,)
    snr_db: tuple[float, float] = (0.0, 20.0)
    noise_dir: str | None = None
    clip: float | None = None
    weights: dict[str, float] = field(default_factory=dict)
    out: Path | None = None


@dataclass(frozen=True)
class Needy:
    """A config with a field that has no default."""

    classes: int


def test_nothing_given_means_the_defaults():
    assert load_config(Config) == load_config(Config, {}) == Config()


def test_a_yaml_file_then_overrides_in_order(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text("name: teacher\noptim: {lr: 1e-3, warmup: 5}\nspeeds: [0.9, 1, 1.1]\n")
    config = load_config(Config, path, ["optim.lr=0.5", "optim.lr=0.25", "noise_dir=/noise", "snr_db=[5, 10]"])
    assert config == Config(
        optim=Optim(lr=0.25, warmup=5), name="teacher", speeds=(0.9, 1.0, 1.1), snr_db=(5.0, 10.0), noise_dir="/noise"
    )


def test_overrides_leave_the_given_mapping_alone():
    given_mapping = {"optim": {"lr": 0.1}}
    load_config(Config, given_mapping, ["optim.lr=0.2"])
    assert given_mapping == {"optim": {"lr": 0.1}}


@given(
    st.builds(
        Config,
        optim=st.builds(Optim, lr=st.floats(1e-6, 1), warmup=st.integers(0, 9), kind=st.sampled_from(["adam", "sgd"])),
        name=st.text(),
        bidirectional=st.booleans(),
        speeds=st.lists(st.floats(0.5, 2), max_size=3).map(tuple),
        noise_dir=st.none() | st.text(),
        clip=st.none() | st.floats(0, 10),
        weights=st.dictionaries(st.text(), st.floats(0, 1), max_size=3),
        out=st.none() | st.just(Path("exp/teacher")),
    )
)
def test_a_config_survives_its_dict_and_json(config):
    assert load_config(Config, to_dict(config)) == config
    assert load_config(Config, json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["optim.lrr=1"], r"optim\.lrr.*optim\.lr"),
        (["nam=x"], r"unknown key nam.*name"),
        (["zzz=1"], "unknown key zzz.*Known"),
        (["optim.warmup=many"], r"optim\.warmup.*whole number"),
        (["optim.warmup=1.5"], r"optim\.warmup.*whole number"),
        (["optim.warmup=true"], r"optim\.warmup.*whole number"),
        (["optim.kind=lamb"], r"optim\.kind.*adam"),
        (["bidirectional=1"], "bidirectional.*true or false"),
        (["snr_db=[1]"], "snr_db"),
        (["speeds=[1, fast]"], r"speeds\[1\].*number"),
        (["clip=loud"], "clip"),
        (["optim=3"], "optim is 3"),
        (["name.first=x", "name=y", "name.z=1"], "name"),
        (["optim.lr"], "key=value"),
        (["optim.lr=-1"], r"optim\.lr.*positive"),
    ],
)
def test_a_wrong_key_or_value_is_refused_by_name(overrides, said):
    with pytest.raises(ValueError, match=said):
        load_config(Config, None, overrides)


def test_errors_name_the_file(tmp_path):
    path = tmp_path / "student.yaml"
    for content in ("optim: {lrr: 1}", "[1, 2]", "a: [", "optim: {warmup: many}"):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"student\.yaml"):
            load_config(Config, path)
    with pytest.raises(ValueError, match=r"missing\.yaml"):
        load_config(Config, tmp_path / "missing.yaml")


def test_a_missing_required_field_is_named():
    with pytest.raises(ValueError, match="classes"):
        load_config(Needy, {})


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("optim: &o {lr: *o}", "levels"),
        ("speeds: &s [*s]", "levels"),
        ("name: " + "[" * 3000, "levels"),
        (BOMB, "more than 100000 values"),
        ("name: !!python/object/apply:os.system [echo]", "could not determine a constructor"),
        ("optim: {warmup: !!int x}", "invalid literal"),
        ("bidirectional: !!bool x", "not valid YAML"),
        ("name: !!timestamp x", "not valid YAML"),
        ("name: 2001-99-99", "month must be"),
        ("name: !!binary '*'", "text is needed"),
        ("name: a\nname: b", "name comes twice: line 2"),
        ("optim: {lr: 1, lr: 2}", "lr comes twice"),
        ("? [a]\n: b", "unhashable"),
        ("name: a\n---\nname: b", "expected a single document in the stream, but found another"),
        ("optim: {warmup: " + "9" * 30 + "}", "whole number is needed"),
        ("optim: {lr: " + "9" * 400 + "}", "a finite number is needed"),
        ("weights: {1: 2}", "is needed"),
        ("name: [" + "long, " * 500 + "]", r"long', 'l.*\.\.\.; text is needed"),
        ("name: a\x00", "NUL|not valid YAML"),
        ("name: a\x1b[2J", "not valid YAML"),
        ("name: '\ud800'", "not UTF-8"),
    ],
)
def test_hostile_yaml_is_one_line_that_names_the_file(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match=reason) as told:
        load_config(Config, path)
    assert str(told.value).startswith(str(path)) and "\n" not in str(told.value) and len(str(told.value)) < 400


@pytest.mark.parametrize(
    "override", ["name=[1", "name=&a [*a]", "name=!!int x", "name={a: 1, a: 2}", "name=" + "[" * 99]
)
def test_an_override_that_is_no_yaml_is_one_line(override: str) -> None:
    with pytest.raises(ValueError, match="not valid YAML") as told:
        load_config(Config, None, [override])
    assert "\n" not in str(told.value)


def test_aliases_and_merge_keys_are_values_like_others(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text("weights: &w {a: 1, b: 2}\noptim: {<<: {lr: 0.5}, warmup: 3}\nname: &n run\nout: *n\n")
    assert load_config(Config, path) == Config(
        optim=Optim(lr=0.5, warmup=3), weights={"a": 1.0, "b": 2.0}, name="run", out=Path("run")
    )


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "inf", "NaN", "1e400", "[1.0, .inf]"])
def test_numbers_that_are_not_finite_are_refused_wherever_they_stand(value):
    keys = ("speeds", "snr_db") if value.startswith("[") else ("optim.lr", "clip", "weights.a")
    for key in keys:
        with pytest.raises(ValueError, match="is needed"):
            load_config(Config, overrides=[f"{key}={value}"])


@dataclass(frozen=True)
class Places:
    where: tuple[PathOrUrl, ...]


def test_urls_stay_urls_and_paths_become_paths():
    assert load_config(Places, {"where": ["s3://bucket/a/", "b"]}).where == ("s3://bucket/a", Path("b"))
    with pytest.raises(ValueError, match="commands are not run"):
        load_config(Places, {"where": ["pipe:cat x"]})
