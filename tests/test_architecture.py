"""Nothing imports from downstream, files stay small, public names are explained, data is never run as code."""

import ast
import itertools
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from asr_kd.cli import COMMANDS, all_commands, main
from asr_kd.cli.options import config_fields

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "asr_kd"
MODULES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted([*ROOT.glob("tools/*"), *ROOT.glob("recipes/*/run.sh"), *ROOT.glob(".ci/*")])
LONGEST_FILE = 400
LONGEST_RECIPE = 150


def stations() -> list[str]:
    """The order of the stations as docs/architecture.md draws it."""
    line = next(x for x in (ROOT / "docs/architecture.md").read_text().splitlines() if x.strip().startswith("core →"))
    return [name.strip() for name in line.split("→")]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> list[str]:
    """Dotted names of the modules that a file imports, also inside functions; relative ones made absolute."""
    package = ["asr_kd", *path.relative_to(PACKAGE).parts[:-1]]
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found += [f"{module}.{alias.name}" for alias in node.names]
    return found


def test_every_folder_of_the_package_is_a_station_of_the_document() -> None:
    folders = {p.name for p in PACKAGE.iterdir() if p.is_dir() and any(p.glob("*.py"))}
    assert folders <= set(stations()), f"not in docs/architecture.md: {folders - set(stations())}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_imports_from_a_station_downstream(path: Path) -> None:
    order = stations()
    station = path.relative_to(PACKAGE).parts[0]
    if station not in order:  # __init__.py stands outside the line
        return
    downstream = [
        name
        for name in imports(path)
        if (parts := name.split("."))[0] == "asr_kd"
        and len(parts) > 1
        and parts[1] in order
        and order.index(parts[1]) > order.index(station)
    ]
    assert not downstream, f"{name_of(path)} imports {downstream}, which lies downstream of {station}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "cli").glob("*.py")), ids=name_of)
def test_the_command_line_imports_stations_only_when_a_command_is_called(path: Path) -> None:
    tree = ast.parse(path.read_text())
    top = [ast.unparse(n) for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
    far = set(stations()) - {"core", "cli"}
    assert not [line for line in top if any(f"asr_kd.{station}" in line for station in far)]


@pytest.mark.parametrize("path", [*MODULES, *sorted((ROOT / "tests").rglob("*.py")), *SCRIPTS], ids=name_of)
def test_no_file_is_longer_than_a_reader_holds(path: Path) -> None:
    longest = LONGEST_RECIPE if path.name == "run.sh" else LONGEST_FILE
    assert len(path.read_text().splitlines()) <= longest


READS_TEXT_ITSELF = {
    "asr_kd/core/text_files.py": "it is the one reader",
    "asr_kd/align/flat_start.py": "what OpenFst prints",
    "asr_kd/experiments/experiment.py": "the last line that a command of ours printed",
    "asr_kd/experiments/stages.py": "recipes run it with the standard library only",
    "asr_kd/teachers/wav2vec2_files.py": "a copy of values in memory",
}


@pytest.mark.parametrize("path", [*MODULES, *sorted((ROOT / "tools").glob("*.py"))], ids=name_of)
def test_text_and_json_from_outside_are_read_in_one_place(path: Path) -> None:
    own = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and (ast.unparse(node) in ("json.loads", "json.load") or node.attr == "splitlines")
    ]
    if name_of(path) in READS_TEXT_ITSELF:
        assert own, "it is no exception any more"
    else:
        assert not own, f"{own}: read with asr_kd.core.text_files, or say in READS_TEXT_ITSELF why not"


def test_every_package_that_is_imported_is_a_declared_dependency() -> None:
    with open(ROOT / "pyproject.toml", "rb") as f:
        project = tomllib.load(f)["project"]
    declared = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    declared_names = {re.split(r"[^\w.-]", d)[0].lower().replace("_", "-") for d in declared}
    declared_names.add("markupsafe")  # the half of jinja2 that marks what is escaped
    ours = [path for path in MODULES if path.parent.name != "peers"]  # which run in an environment of their own
    used = {name.split(".")[0] for path in ours for name in imports(path)} - {"asr_kd", *sys.stdlib_module_names}
    distributions = packages_distributions()
    undeclared = {
        name
        for name in used
        if not {d.lower().replace("_", "-") for d in distributions.get(name, [name])} & declared_names
    }
    assert not undeclared, f"imported, but not among the dependencies of pyproject.toml: {undeclared}"


def test_files_that_are_no_code_are_installed_too() -> None:
    with open(ROOT / "pyproject.toml", "rb") as f:
        patterns = tomllib.load(f)["tool"]["setuptools"]["package-data"]["asr_kd"]
    packed = {file for pattern in patterns for file in PACKAGE.glob(pattern)}
    other = {f for f in PACKAGE.rglob("*") if f.is_file() and f.suffix != ".py" and f.parent.name != "__pycache__"}
    assert other <= packed


def public_without_docstring(path: Path) -> list[str]:
    """Modules, classes and functions (methods of public classes too, save overrides of the obvious) without one."""
    tree = ast.parse(path.read_text())
    missing = [] if ast.get_docstring(tree) else ["the module"]
    for node in tree.body:
        if (
            isinstance(node, (ast.FunctionDef, ast.ClassDef))
            and not node.name.startswith("_")
            and "overload" not in map(ast.unparse, node.decorator_list)  # the types of what is explained below them
            and not ast.get_docstring(node)
        ):
            missing.append(node.name)
    return missing


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_public_name_is_explained(path: Path) -> None:
    assert not public_without_docstring(path)


def unsafe(path: Path) -> list[str]:
    """What runs data as code or a string as a shell command."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
            found += [n for n in names if n.split(".")[0] in ("cPickle", "dill", "marshal", "shelve")]
        if isinstance(node, ast.ImportFrom) and node.module == "pickle":
            found.append("from pickle import")
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("pickle."):
            # torch.load raises this error, also with weights_only=True
            found += [ast.unparse(node)] if node.attr != "UnpicklingError" else []
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
        if called in ("eval", "exec", "compile", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"):
            found.append(called)
        if called == "torch.load" and keywords.get("weights_only") != "True":
            found.append("torch.load without weights_only=True")
        if keywords.get("allow_pickle", "False") != "False":
            found.append(f"{called}(allow_pickle=...)")
        if keywords.get("shell", "False") != "False":
            found.append(f"{called}(shell=...)")
        if called.endswith(".extractall") and keywords.get("filter") != "'data'":
            found.append(f"{called} without filter='data'")
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_data_is_run_as_code(path: Path) -> None:
    assert not unsafe(path)


@pytest.mark.parametrize("command", all_commands())
def test_every_command_explains_itself_and_each_of_its_options(command: str, capsys) -> None:
    entry = all_commands()[command]
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0 and " ".join(entry.purpose.split()) in shown
    config, function, about = entry.load()
    assert " ".join(about.split()) in shown and function.__doc__
    for field in config_fields(config):
        if field.option is not None:
            assert field.option.help, f"{field.path} has no help"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_command_line_knows_argparse(path: Path) -> None:
    assert path.is_relative_to(PACKAGE / "cli") or "argparse" not in imports(path)


def test_the_installed_command_lists_its_commands() -> None:
    shown = subprocess.run([sys.executable, "-m", "asr_kd.cli", "--help"], capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in COMMANDS)


@pytest.mark.parametrize("path", [s for s in SCRIPTS if s.suffix == ".sh" or s.parent.name == ".ci"], ids=name_of)
def test_every_script_is_bash_that_parses(path: Path) -> None:
    checked = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("path", sorted(ROOT.glob("recipes/*/run.sh")), ids=name_of)
def test_every_recipe_prints_its_stages_and_its_commands_without_running_them(path: Path, tmp_path: Path) -> None:
    exp = tmp_path / "exp"
    data = [str(tmp_path)] if "\ntakes=" in path.read_text() else []
    command = ["bash", str(path), *data, "--dry-run", "--exp", str(exp)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0, shown.stderr
    assert not exp.exists()
    assert shown.stdout.startswith("stage 0")
    used = set(re.findall(r"asr-kd (\w+)", shown.stdout))
    assert used <= set(COMMANDS), f"commands that do not exist: {used - set(COMMANDS)}"
    configs = re.findall(r"recipes/\w+/conf/[\w.-]+", shown.stdout)
    assert not [c for c in configs if not (ROOT / c).exists()]
