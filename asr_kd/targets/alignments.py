"""Finding alignments: which of several folders holds the sidecar of a shard, and the inventory beside them."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from asr_kd.core.storage import basename, dirname
from asr_kd.inventory.inventory import Inventory
from asr_kd.inventory.registry import load_inventory
from asr_kd.shards.catalogue import Catalogue
from asr_kd.shards.reader import Shard, ShardKey
from asr_kd.targets.frame_targets import SHARDS_KEPT_OPEN, AlignmentTargets, FrameTargets
from asr_kd.targets.sidecar import read_description, sidecar_path, sidecars_in

INVENTORY_FILE = "inventory.json"


class AlignmentFolders:
    """Alignments in the folders that `asr-kd align` wrote (one folder a data set inside), or in those inside.

    Data sets may use the same shard names: a sidecar belongs to the shard whose digest it carries.
    """

    def __init__(self, folders: Sequence[Path], inventory: Inventory) -> None:
        self.folders, self.inventory = list(folders), inventory
        self._targets: dict[Path, AlignmentTargets] = {}
        self._found: OrderedDict[str, AlignmentTargets] = OrderedDict()
        """By the digest of the shards loaded last: looking for one again reads a file."""

    def check(self, shards: Catalogue) -> None:
        """ValueError when a shard has no alignment, or one of those of `spread` has one over another inventory."""
        there: dict[str, set[str]] = {}
        for number, (home, name) in enumerate(shards.stems()):
            if home not in there:
                places = [place for given in self.folders for place in (given, given / home)]
                there[home] = set().union(*(sidecars_in(place) or () for place in places))
            if name not in there[home]:
                self._folder(shards.key(number))  # which says where it was looked for
        for shard in map(shards.key, shards.spread()):
            file = sidecar_path(self._folder(shard), shard)
            found = read_description(file).get("inventory")
            if found != self.inventory.fingerprint:
                raise ValueError(
                    f"{file}: aligned to inventory {str(found)[:12]}…, "
                    f"the model's is {self.inventory.fingerprint[:12]}…. "
                    "Align all data with one inventory (`asr-kd align --model`)."
                )

    def load(self, shard: Shard) -> Sequence[FrameTargets | None]:
        """Targets of a shard's rows, as TargetSource says."""
        if shard.digest not in self._found:
            while len(self._found) >= SHARDS_KEPT_OPEN:
                self._found.popitem(last=False)
            self._found[shard.digest] = self._in_folder(shard)
        return self._found[shard.digest].load(shard)

    def digest(self, shard: ShardKey) -> str:
        """As TargetSource says."""
        return self._in_folder(shard).digest(shard)

    def _in_folder(self, shard: ShardKey) -> AlignmentTargets:
        folder = self._folder(shard)
        if folder not in self._targets:
            self._targets[folder] = AlignmentTargets(folder, self.inventory)
        return self._targets[folder]

    def _folder(self, shard: ShardKey) -> Path:
        stale = None
        for folder in (f for given in self.folders for f in (given, given / basename(dirname(shard.path)))):
            path = sidecar_path(folder, shard)
            if path.is_file():
                if read_description(path)["shard"] == shard.digest:
                    return folder
                stale = path
        searched = ", ".join(map(str, self.folders))
        if stale is not None:
            raise ValueError(f"{shard.path}: {stale} is of another shard of that name, or an older one. Align again.")
        raise ValueError(f"{shard.path}: no alignment in {searched}. `asr-kd align` makes one.")


def find_inventory(folders: Sequence[Path]) -> Inventory:
    """The inventory in, or one above, the first folder of alignments. ValueError when there is none."""
    for path in (folders[0] / INVENTORY_FILE, folders[0].parent / INVENTORY_FILE):
        if path.is_file():
            return load_inventory(path)
    raise ValueError(
        f"{folders[0]}: neither it nor the folder above holds {INVENTORY_FILE}. Give a folder of `asr-kd align`."
    )
