"""Names of the code in the documents exist: files, functions with parameters, classes with members, commands, options.

The contracts of docs/architecture.md are checked against the file that each stands under."""

import ast
import builtins
import re
from functools import cache
from pathlib import Path

import pytest

from asr_kd.cli import all_commands
from asr_kd.cli.options import config_fields

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "asr_kd"
DOCUMENTS = ("docs/architecture.md", "docs/extending.md", "CONTRIBUTING.md")
NOT_OURS = {
    "ValueError",
    "OSError",
    "FileNotFoundError",
    "ASR_KD_DATA",
    "SpecAugment",
    "TLG",
    "TensorBoard",
    "WebDataset",
    "HuBERT",
}
BUILTINS = set(dir(builtins))
FENCE = re.compile(r"```\w*\n(.*?)```", re.DOTALL)
NAMES = re.compile(r"\b(?:[A-Z][a-z0-9]+(?:[A-Z][a-z0-9]*)+|[a-z][a-z0-9]*(?:_[a-zA-Z0-9]+)+)\b")
"""Words that only code has: CamelCase and snake_case."""
CALLS = re.compile(r"(?<![\w.])[A-Za-z]\w+(?=\()|(?<=-> )[A-Z]\w+")
PATHS = re.compile(r"(?<![\w/.])(?:[\w.]+/)*\w+\.(?:py|sh|md|yaml)\b|(?<![\w/.])(?:\.?\w+/)+(?![\w.])")
DEFINED = re.compile(
    r"(?P<file>\b(?:\w+/)*\w+\.py\b)|\bdef (?P<function>\w+)\((?P<given>[^)]*)\)?|\bclass (?P<name>[A-Z]\w+)"
)


@cache
def trees() -> dict[str, ast.Module]:
    """Each module of the package by its path there."""
    return {str(path.relative_to(PACKAGE)): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def names_in(tree: ast.AST) -> set[str]:
    """All names that are defined or used, and the words of strings that are no docstrings."""
    nodes = list(ast.walk(tree))
    docs = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    found = {word for n in nodes for key in ("name", "id", "attr", "arg", "module") if (word := getattr(n, key, None))}
    strings = (n.value for n in nodes if isinstance(n, ast.Constant) and id(n) not in docs)
    return found | {word for text in strings if isinstance(text, str) for word in re.findall(r"\w+", text)}


@cache
def all_names() -> set[str]:
    """Names of the whole package, its modules and rooms among them."""
    places = {part for path in trees() for part in Path(path).with_suffix("").parts}
    return places.union(*(names_in(tree) for tree in trees().values()), NOT_OURS)


@cache
def classes() -> dict[str, list[ast.ClassDef]]:
    """By name."""
    found: dict[str, list[ast.ClassDef]] = {}
    for tree in trees().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(node)
    return found


def members(name: str) -> set[str]:
    """Fields, methods, attributes and parameters of the classes of that name and of their bases here."""
    found = set()
    for node in classes().get(name, []):
        for inside in ast.walk(node):
            if isinstance(inside, (ast.FunctionDef, ast.arg)):
                found.add(inside.name if isinstance(inside, ast.FunctionDef) else inside.arg)
            elif isinstance(inside, (ast.Name, ast.Attribute)) and isinstance(inside.ctx, ast.Store):
                found.add(inside.id if isinstance(inside, ast.Name) else inside.attr)
        found.update(*(members(ast.unparse(base)) for base in node.bases))
    return found


def defined_in(module: str) -> dict[str, ast.AST]:
    """Functions and classes at the top of a module, and what stands in its classes."""
    tops = [n for n in trees()[module].body if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
    inside = [n for top in tops if isinstance(top, ast.ClassDef) for n in top.body if isinstance(n, ast.FunctionDef)]
    return {node.name: node for node in [*inside, *tops]}


def wrong_contracts(text: str) -> list[str]:
    """What the blocks of contracts say that the code does not have. `# room/file.py` begins those of a file."""
    wrong, file, owner = [], "", ""
    for line in "\n".join(FENCE.findall(text)).split("\n"):
        if not line.startswith((" ", "#")):
            owner = ""
        for found in DEFINED.finditer(line):
            if found["file"]:
                file = found["file"] if "/" in found["file"] else f"{Path(file).parent}/{found['file']}"
                if file not in trees():
                    wrong.append(f"{file}: no such file")
                continue
            name = found["function"] or found["name"]
            node = defined_in(file).get(name) if file in trees() else None
            if node is None:
                wrong.append(f"{file} has no {name}: {line[:60]}")
            elif isinstance(node, ast.FunctionDef):
                known = {n.arg for n in ast.walk(node.args) if isinstance(n, ast.arg)}
                given = re.findall(r"(?:^|,)\s*\**([a-z]\w*)", re.sub(r"\[[^]]*\]|\{[^}]*\}", "", found["given"]))
                wrong += [f"{file}: {name} has no parameter {word}" for word in given if word not in known]
            owner = found["name"] or owner
        if owner:
            code = line.partition("#")[0]
            fields = re.findall(r"(?:class \w+(?:\([^)]*\))?:|;)\s+([a-z]\w*)(?=[:=;(]| *$)", code)
            fields += re.findall(r"(?<![\w)\]\"])\.([a-z]\w*)", code)
            wrong += [f"{file}: {owner} has no {word}" for word in fields if word not in members(owner) | BUILTINS]
    return wrong + [f"nobody knows {w}" for block in FENCE.findall(text) for w in unknown_names(block)]


def unknown_names(code: str) -> list[str]:
    """Words in code that the package does not have."""
    return sorted(
        {
            word
            for word in NAMES.findall(code) + CALLS.findall(code)
            if word not in all_names() | members_of_all() | BUILTINS
        }
    )


@cache
def functions() -> set[str]:
    """Names of all functions, methods and classes."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name for tree in trees().values() for node in ast.walk(tree) if isinstance(node, kinds)}


@cache
def members_of_all() -> set[str]:
    return set().union(*(members(name) for name in classes()))


def is_there(path: str) -> bool:
    """Whether a file or folder is in the repository, named from its root, from the package or from a room."""
    pattern = re.sub(r"\b[A-Z]{4,}\b", "*", path.rstrip("/"))  # recipes/NAME/run.sh
    return any(any(top.glob(pattern)) for top in (ROOT, PACKAGE, *(p for p in PACKAGE.iterdir() if p.is_dir())))


@cache
def options() -> dict[str, set[str]]:
    """The options of each command."""
    return {
        command: {"--config", "--set"}
        | {"--" + f.path.rpartition(".")[2].replace("_", "-") for f in config_fields(entry.load()[0]) if f.option}
        for command, entry in all_commands().items()
    }


def wrong_in(span: str) -> list[str]:
    """What is wrong with a span of inline code."""
    flags = set(re.findall(r"(?<!\w)--[a-z][a-z-]*", span))
    script = re.match(r"python (\S+\.py)", span)
    if script:
        text = (ROOT / script[1]).read_text() if (ROOT / script[1]).is_file() else ""
        return [f"{script[1]} has no {flag}" for flag in flags if f'"{flag}"' not in text] + ([] if text else [span])
    if span.startswith("mypy "):
        return []
    command = re.match(r"asr-kd (\w+(?: \w+)?)", span)
    names = (
        [] if command is None else [n for n in options() if command[1] == n or command[1].split()[0] == n.split()[0]]
    )
    if command is not None and not names:
        return [f"no command {command[1]}"]
    known = set().union(*(options()[n] for n in names or options()))
    wrong = [f"no option {flag}" for flag in flags if flag not in known]
    wrong += [
        f"no file {path}"
        for path in PATHS.findall(span)
        if not path.startswith(("OUT", "config.yaml")) and not is_there(path)
    ]
    parts = re.match(r"(\w+(?:\.\w+)*)(?=\(|$)", span)
    if parts and not PATHS.match(span):
        *before, last = parts[1].split(".")
        module = "/".join(before) + ".py"
        if before and before[-1] in classes():
            wrong += [] if last in members(before[-1]) else [f"{before[-1]} has no {last}"]
        elif module in trees():
            wrong += [] if last in names_in(trees()[module]) else [f"{module} has no {last}"]
        wrong += [f"nobody knows {last}"] if last[0].isupper() and last not in all_names() else []
        wrong += [f"no function {last}"] if span.endswith(")") and last not in functions() | NOT_OURS else []
    return wrong + [f"nobody knows {word}" for word in unknown_names(PATHS.sub("", span))]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_name_of_the_code_in_backticks_exists(document):
    spans = re.findall(r"`([^`\n]+)`", FENCE.sub("", (ROOT / document).read_text()))
    assert len(spans) > 20
    assert not [f"`{span}`: {problem}" for span in spans for problem in wrong_in(span)]


@pytest.mark.parametrize(
    "span",
    [
        "LossSum.over_all(x)",
        "LossesSum",
        "forget()",
        "core/file.py",
        "asr-kd lable",
        "asr-kd label --k",
        "--mod",
        "x.core.y_z",
    ],
)
def test_a_name_that_is_gone_is_noticed(span):
    assert wrong_in(span)


@pytest.mark.parametrize(
    "line",
    [
        "# core/file.py",
        "def write_jsons(path, obj)",
        "def write_json(file, obj)",
        "class Process: .which()",
        "class Process: tagged; pid",
        "-> Lessons",
        "batch_plan",
    ],
)
def test_a_contract_that_is_gone_is_noticed(line):
    file = "core/processes.py" if "Process" in line else "core/files.py"
    assert wrong_contracts(f"```python\n# {file}\n{line}\n```")


def is_defined(place: str) -> bool:
    """Whether a dotted name is that of a module, of what it defines, or of a member of that."""
    parts = place.split(".")
    for split in range(len(parts), 0, -1):
        if (module := "/".join(parts[:split]) + ".py") in trees():
            name, *rest = [*parts[split:], ""][:2]
            return not name or (name in names_in(trees()[module]) and (rest in ([], [""]) or rest[0] in members(name)))
    return False


def test_new_names_in_the_list_of_changes_exist():
    part = (ROOT / "CHANGELOG.md").read_text().split("### Classes")[1]
    new = re.findall(r"^\| `[^`]+` \| `([^`]+)` \|", part, re.MULTILINE)
    assert len(new) > 50 and not [name for name in new if not is_defined(name)]
    assert not is_defined("core.files.nothing") and not is_defined("core.nothing")


def test_the_table_of_rooms_has_each_command_in_its_room():
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", (ROOT / DOCUMENTS[0]).read_text(), re.MULTILINE)
    table = {(room, command) for room, cell in rows for command in re.findall(r"`(\w+)`", cell)}
    assert table == {(entry.module.split(".")[1], words.split()[0]) for words, entry in all_commands().items()}


def test_the_contracts_of_the_architecture_are_those_of_the_code():
    assert not wrong_contracts((ROOT / "docs/architecture.md").read_text())
