"""YAML from outside: plain values only, of bounded size, and one line for whatever is wrong with it."""

from collections.abc import Hashable
from typing import Any

import yaml

MAX_NODES = 100_000
"""Values in a document, counted as often as aliases repeat them."""
MAX_DEPTH = 64


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key which comes twice in a mapping: the first would be dropped."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value} comes twice", key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, where: object) -> Any:
    """The value of a YAML text: mappings, lists and scalars. ValueError, in one line, for whatever is wrong with it.

    Refused beside what is no YAML: tags of other types, a key that comes twice, values within themselves, more than
    MAX_DEPTH levels, and more than MAX_NODES values, as a few nested aliases can make.
    """
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _weigh(node, {}, MAX_DEPTH)
        return loader.construct_document(node)
    except RecursionError:
        raise ValueError(f"{where}: not valid YAML (more than {MAX_DEPTH} levels)") from None
    except yaml.MarkedYAMLError as e:
        place = f": line {e.problem_mark.line + 1}" if e.problem_mark else ""
        problem = ", ".join(" ".join(part.split()) for part in (e.context, e.problem) if part)
        raise ValueError(f"{where}: not valid YAML ({problem}{place})") from None
    except (
        yaml.YAMLError,
        ValueError,
        KeyError,
        AttributeError,
        OverflowError,
    ) as e:  # the last: of !!int "x" and such
        raise ValueError(f"{where}: not valid YAML ({' '.join(str(e).split())[:200]})") from None
    finally:
        if loader is not None:
            loader.dispose()


def _weigh(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """Values that a node expands to."""
    if depth == 0:
        raise RecursionError
    if id(node) in known:
        return known[id(node)]
    total = 1
    if isinstance(node, yaml.SequenceNode):
        total += sum(_weigh(item, known, depth - 1) for item in node.value)
    elif isinstance(node, yaml.MappingNode):
        total += sum(_weigh(item, known, depth - 1) for pair in node.value for item in pair)
    if total > MAX_NODES:
        raise ValueError(f"more than {MAX_NODES} values")
    known[id(node)] = total
    return total
