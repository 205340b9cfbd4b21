"""Names of version 0.2: each is answered by one line with the new one, and listed in CHANGELOG.md."""

import importlib
import re
from pathlib import Path

import pytest

from asr_kd.align.align import AlignRun
from asr_kd.align.flat_start import FlatStartConfig
from asr_kd.cli import COMMANDS, all_commands, main
from asr_kd.cli.options import config_fields
from asr_kd.core import renames
from asr_kd.core.config import load_config, to_dict
from asr_kd.core.text_files import read_lines
from asr_kd.distill.distill import DistillRun
from asr_kd.distill.losses.registry import KD_LOSSES
from asr_kd.distill.online_teachers.registry import ONLINE_TEACHERS
from asr_kd.experiments.suite import Suite
from asr_kd.frontend.augment import AugmentConfig
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.models.config import ModelConfig
from asr_kd.train.config import OptimConfig, TrainConfig

NEEDED = {"out": "x", "unlabelled": ["x"], "labelled": ["x"], "dev": ["x"]}
CHANGES = (Path(__file__).parents[2] / "CHANGELOG.md").read_text()
CONFIGS = [FrontEndConfig, ModelConfig, OptimConfig, TrainConfig, DistillRun, Suite, AlignRun]
CONFIGS += [kind.Config for kind in (*KD_LOSSES.values(), *ONLINE_TEACHERS.values())]
CLASSES = {cls.__name__: cls for cls in CONFIGS}
CLASSES |= {"AugmentConfig": AugmentConfig, "FlatStartConfig": FlatStartConfig}


def options(command: str) -> set[str]:
    """All options of a command and of those below it."""
    return {
        "--" + field.path.rpartition(".")[2].replace("_", "-")
        for name, entry in all_commands().items()
        if name.split()[0] == command
        for field in config_fields(entry.load()[0])
        if field.option is not None
    }


@pytest.mark.parametrize("command", renames.FLAGS)
def test_an_old_option_is_answered_with_the_new_one_that_exists(command, capsys):
    known = options(command)
    for old, new in renames.FLAGS[command].items():
        assert new in known and old not in known
        with pytest.raises(SystemExit) as ended:
            main([command, "x", f"{old}=1"])
        assert ended.value.code == 2 and f"{old}: since version 0.3 it is called {new}" in capsys.readouterr().err
        assert f"| `{command}` | `{old}` | `{new}` |" in CHANGES


@pytest.mark.parametrize("name", renames.KEYS)
def test_an_old_key_is_answered_with_the_new_one_that_exists(name):
    for old, new in renames.KEYS[name].items():
        with pytest.raises(ValueError, match=f"unknown key {old}. Since version 0.3 it is called {new}"):
            load_config(CLASSES[name], {old: 1})
        assert new in CLASSES[name].__dataclass_fields__ and f"| `{name}` | `{old}` | `{new}` |" in CHANGES


def test_old_commands_and_values_are_answered_too(capsys):
    for old, new in renames.COMMANDS.items():
        assert new in COMMANDS and old not in COMMANDS and main([old]) == 2
        assert f"it is called asr-kd {new}" in capsys.readouterr().err
    for command in (["distill", "--mode", "online"], ["tokens", "--type", "pieces"], ["prepare", "voices"]):
        with pytest.raises(SystemExit):
            main(command)
        assert "Since version 0.3" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"losses: kind is flow.*is called fsp"):
        load_config(DistillRun, NEEDED | {"losses": [{"kind": "flow"}]})
    with pytest.raises(ValueError, match=r"frame_matching .*Since version 0.3 delayed is called shifted"):
        load_config(CLASSES["KDConfig"], {"frame_matching": "delayed"})


@pytest.mark.parametrize("old", renames.OLD_FILES)
def test_an_old_file_is_answered_with_the_new_one(old, tmp_path, capsys):
    new = renames.OLD_FILES[old]
    with pytest.raises(ValueError, match=f"no such file. Since version 0.3 {old} is called {new}. Make it."):
        list(read_lines(tmp_path / old, advice="Make it."))
    (tmp_path / old).write_text("{}\n")
    assert main(["shard", str(tmp_path / old), "--out", str(tmp_path / "out")]) == 2
    assert f"{old} is called {new}. Rename it, or run" in capsys.readouterr().err
    assert f"`{new}`" in CHANGES and f"`{old}`" in CHANGES


def test_a_config_that_version_02_wrote_into_a_model_is_read():
    old = {new: key for key, new in renames.KEYS["ModelConfig"].items()}
    config = ModelConfig(encoder="conformer", num_layers=3, hidden_size=12)
    written = {old.get(key, key): value for key, value in to_dict(config).items()}
    assert "layers" in written and load_config(ModelConfig, renames.current_keys("ModelConfig", written)) == config


def test_every_module_in_the_list_of_changes_exists():
    part = CHANGES.split("### Modules")[1].split("###")[0]
    named = [line.split("`")[3] for line in part.splitlines() if line.startswith("| `")]
    assert len(named) > 50
    for name in named:
        assert importlib.util.find_spec(f"asr_kd.{name}"), name


PREFIXES = {
    "ModelConfig": "model",
    "FrontEndConfig": "frontend",
    "AugmentConfig": "augment",
    "OptimConfig": "optim",
    "TrainConfig": "train",
    "FlatStartConfig": "flat_start",
}
ROOT = Path(__file__).parents[2]
TEXTS = [
    p
    for folder in ("asr_kd", "docs", "recipes", "tools")
    for p in sorted((ROOT / folder).rglob("*"))
    if p.suffix in (".py", ".md", ".sh", ".yaml") and p.name != "renames.py"
]


def test_no_message_or_page_advises_an_old_key_or_command():
    old = [rf"{prefix}\.{key}" for name, prefix in PREFIXES.items() for key in renames.KEYS[name]]
    old += [f"asr-kd {command}" for command in renames.COMMANDS] + ["prepare voices"]
    pattern = re.compile(rf"(?<![\w./])(?:train\.)?(?:{'|'.join(old)})(?=[\s,;:=`'\"]|\.\s)")
    found = [
        f"{p.relative_to(ROOT)}: {m.group()}"
        for p in [*TEXTS, ROOT / "README.md"]
        for m in pattern.finditer(p.read_text())
    ]
    assert not found
