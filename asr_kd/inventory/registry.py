"""The kinds of inventories, and reading one of whatever kind."""

from pathlib import Path
from typing import Any

from asr_kd.core.files import read_json
from asr_kd.inventory.inventory import INVENTORY_FILE, Inventory
from asr_kd.inventory.senones import Senones
from asr_kd.inventory.tokens import Tokens

KINDS: dict[str, type[Inventory]] = {kind.kind: kind for kind in (Senones, Tokens)}
MADE_BY = "`asr-kd align` for senones, `asr-kd tokens` for CTC."


def inventory_from_dict(data: dict[str, Any]) -> Inventory:
    """The inventory that `to_dict` described. ValueError when `data` is not an inventory's description."""
    kind = data.get("kind") if isinstance(data, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(
            f"not an inventory's description (kind {kind!r}; known: {', '.join(KINDS)}). Make one: {MADE_BY}"
        )
    try:
        return KINDS[kind].from_dict(data)
    except (KeyError, TypeError, ValueError, OverflowError) as e:
        raise ValueError(f"not an inventory's description ({e!r}). Make one: {MADE_BY}") from None


def require_senones(inventory: Inventory, whose: object) -> Senones:
    """The inventory, for what only senones can do; ValueError for other kinds. whose: the file or model to name."""
    if isinstance(inventory, Senones):
        return inventory
    raise ValueError(f"{whose}: its inventory is of kind {inventory.kind}; this needs {Senones.kind} (`asr-kd align`).")


def require_tokens(inventory: Inventory, whose: object) -> Tokens:
    """The inventory, for what only tokens can do; ValueError for other kinds. whose: the file or model to name."""
    if isinstance(inventory, Tokens):
        return inventory
    raise ValueError(f"{whose}: its inventory is of kind {inventory.kind}; this needs {Tokens.kind} (`asr-kd tokens`).")


def load_inventory(path: str | Path) -> Inventory:
    """Read `inventory.json`, or the folder that holds it. ValueError names the file."""
    file = Path(path) / INVENTORY_FILE if Path(path).is_dir() else Path(path)
    data = read_json(file)
    try:
        inventory = inventory_from_dict(data)
    except ValueError as e:
        raise ValueError(f"{file}: {e}") from None
    if data.get("fingerprint") not in (None, inventory.fingerprint):
        raise ValueError(f"{file}: its fingerprint does not match what it holds. It was edited or cut; make it again.")
    return inventory
