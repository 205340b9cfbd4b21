"""The shards of a corpus, from its catalogues: what a plan of batches needs to know of each, without opening any."""

import posixpath
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np

from asr_kd.core.storage import PathOrUrl, basename, dirname, exists, join, parse_path_or_url, scan
from asr_kd.core.terminal import say
from asr_kd.shards.catalogue_file import CatalogueFile, stored_path
from asr_kd.shards.catalogue_writer import CATALOGUE_NAME, HERE, CatalogueRow, catalogue_bytes
from asr_kd.shards.index import index_path, read_index
from asr_kd.shards.reader import Shard, find_shards, open_shard, shard_order

SIZES_CHECKED, DIGESTS_CHECKED = 100_000, 1000
"""Tars whose sizes, and newer tars whose digests, are compared when a catalogue is opened. `Catalogue.open` compares
those of every shard."""
LOOKED_AT = 1000
"""Of more shards, the targets of so many, evenly spread, are looked at before work begins; all when they are read."""
MANY_WITHOUT = 1000
"""Shards without a catalogue, from which on it is said that one would make starting faster."""


@dataclass(frozen=True)
class Listed:
    """A shard as its catalogue names it: a `ShardKey`."""

    path: PathOrUrl
    digest: str


class Catalogue:
    """Shards by number, in the order of `find_shards`. Small: a million of them are 150 MB."""

    def __init__(self, files: Sequence[CatalogueFile], given: Sequence[np.ndarray], paths: int) -> None:
        """files: whose shards are put together; one that is in several counts once.

        given: of each file, the number of the path by which the user gave each of its shards.  paths: given in all.
        """
        self._files = list(files)
        self.paths = paths
        """That the user gave."""
        self._file_N = np.repeat(np.arange(len(files), dtype=np.int32), [len(file) for file in files])
        self._row_N = np.concatenate([np.arange(len(file), dtype=np.int32) for file in files])
        if len(files) > 1:
            first: dict[str, int] = {}
            for n, key in enumerate(key for file in files for key in file.sort_keys()):
                first.setdefault(key, n)
            order_N = np.array([first[key] for key in sorted(first)])
            self._file_N, self._row_N = self._file_N[order_N], self._row_N[order_N]
            self.given_N = np.concatenate(given)[order_N]
        else:
            self.given_N = given[0]
        """Number of the given path that each shard was found by, int32."""
        self.seconds_N = self._column("seconds_N")
        """Audio of each shard, float64."""
        self.utterances_N = self._column("utterances_N")
        """Rows of each shard, int32."""
        self.bytes_N = self._column("bytes_N")
        """Size of each tar, int64."""

    def __len__(self) -> int:
        return len(self._row_N)

    def path(self, shard: int) -> PathOrUrl:
        """Where a shard's tar lies."""
        file, row = self._place(shard)
        return file.locate(file.paths[row].as_py())

    def digest(self, shard: int) -> str:
        """SHA-256 of a shard's tar."""
        file, row = self._place(shard)
        return file.digests[row].as_py()

    def key(self, shard: int) -> Listed:
        """A shard's name, where no utterance is asked for."""
        return Listed(self.path(shard), self.digest(shard))

    def spread(self) -> range:
        """Numbers of at most LOOKED_AT shards, evenly spread over all."""
        return range(0, len(self), max(1, -(-len(self) // LOOKED_AT)))

    def stems(self) -> Iterator[tuple[str, str]]:
        """Name of the folder, and of the tar without its suffix, of each shard in order."""
        paths = [file.paths.to_pylist() for file in self._files]
        homes = [basename(file.folder) for file in self._files]
        for n, row in zip(self._file_N.tolist(), self._row_N.tolist(), strict=True):
            folder, _, name = paths[n][row].rpartition("/")
            yield folder.rpartition("/")[2] or homes[n], name.removesuffix(".tar")

    def lengths(self, shard: int) -> np.ndarray:
        """Seconds of each utterance of a shard, in its order: (n,) float64. Neighbours are read together."""
        file, row = self._place(shard)
        return file.lengths(row)

    def open(self, shard: int) -> Shard:
        """Open a shard. ValueError when its tar is another one than the catalogue lists."""
        found = open_shard(self.path(shard))
        if found.digest != self.digest(shard):
            file, _ = self._place(shard)
            raise ValueError(
                f"{found.path}: its digest is {found.digest[:12]}…, {file.where} lists {self.digest(shard)[:12]}…. "
                f"It was written anew since; extend the catalogue: {extend_command(file)}"
            )
        return found

    @cached_property
    def fingerprint(self) -> str:
        """Of all digests in order, wherever the shards lie: 64 hex digits."""
        digest = sha256()
        digests = [file.digests.to_pylist() for file in self._files]
        for n, row in zip(self._file_N.tolist(), self._row_N.tolist(), strict=True):
            digest.update(digests[n][row].encode())
        return digest.hexdigest()

    def _place(self, shard: int) -> tuple[CatalogueFile, int]:
        return self._files[self._file_N[shard]], int(self._row_N[shard])

    def _column(self, name: str) -> np.ndarray:
        if len(self._files) == 1:
            return getattr(self._files[0], name)
        values_N = np.empty(len(self), getattr(self._files[0], name).dtype)
        for n, file in enumerate(self._files):
            mine_N = self._file_N == n
            values_N[mine_N] = getattr(file, name)[self._row_N[mine_N]]
        return values_N


def open_catalogue(*paths: PathOrUrl) -> Catalogue:
    """The shards of folders, tars and catalogues. A folder's own catalogue is used; shards without one are opened here.

    ValueError as `find_shards`, for a catalogue that is damaged, and for one that does not fit its shards: it says
    which, and the command that extends it.
    """
    files: list[CatalogueFile] = []
    given: list[np.ndarray] = []
    loose: dict[PathOrUrl, int] = {}
    for number, path in enumerate(map(parse_path_or_url, paths)):
        is_file = basename(path).endswith(".parquet")
        is_folder = path.is_dir() if isinstance(path, Path) else not path.endswith(".tar")
        if is_file or (is_folder and exists(join(path, CATALOGUE_NAME))):
            try:
                files.append(CatalogueFile(path if is_file else join(path, CATALOGUE_NAME)))
            except FileNotFoundError:
                raise ValueError(f"{path}: no such catalogue. `asr-kd catalogue` makes one.") from None
            check_fit(files[-1], [] if is_file else [HERE])
            given.append(np.full(len(files[-1]), number, np.int32))
        else:
            for tar in find_shards(path):
                loose.setdefault(tar, number)
    if not files and not loose:
        find_shards()  # which says that none are given
    if len(loose) > MANY_WITHOUT:
        say(f"{len(loose)} shards have no catalogue and are opened one by one. `asr-kd catalogue` makes one, once.")
    for folder, tars in _by_folder(loose).items():
        rows = [CatalogueRow.of(open_shard(tar), stored_path(folder, tar)) for tar in tars]
        files.append(CatalogueFile(join(folder, CATALOGUE_NAME), catalogue_bytes(rows, [])))
        given.append(np.array([loose[tar] for tar in tars], np.int32))
    return Catalogue(files, given, len(paths))


def _by_folder(tars: Iterable[PathOrUrl]) -> dict[PathOrUrl, list[PathOrUrl]]:
    """Tars in order, by where they lie."""
    found: dict[PathOrUrl, list[PathOrUrl]] = {}
    for tar in sorted(tars, key=shard_order):
        found.setdefault(dirname(tar), []).append(tar)
    return found


def check_fit(file: CatalogueFile, whole: Iterable[str] = ()) -> None:
    """ValueError when a catalogue does not fit what lies in its folders; it says which shards, and the way out.

    One listing of each folder shows tars that are new, gone, or of another size. Those that are newer than the
    catalogue (copied, perhaps) have their digests compared. Of very many, sizes and digests of evenly spread ones.
    whole: folders that it has to list wholly, beside those of which it says so.
    """
    new, changed, newer = [], [], []
    gone = {path: n for n, path in enumerate(file.paths.to_pylist())}
    stat_every = max(1, len(gone) // SIZES_CHECKED)
    listed_wholly, skipped = {*whole, *file.description["folders"]}, file.description["skipped"]
    for folder in sorted(listed_wholly | file.folders()):
        before = "" if folder == HERE else posixpath.join(folder, "")
        place = file.locate(folder)
        if isinstance(place, str) and place.startswith("http") and folder not in listed_wholly:
            gone = {path: n for path, n in gone.items() if posixpath.dirname(path) != folder}  # it need not be listed
            continue
        for name, size, changed_ns in scan(place, ".tar", stat_every):
            path = before + name
            row = gone.pop(path, None)
            if row is None:
                if folder in listed_wholly and not (path in skipped and size in (None, skipped[path])):
                    new.append(path)
            elif size is not None and size != file.bytes_N[row]:
                changed.append(path)
            elif changed_ns > file.written_ns:
                newer.append((path, row))
    spread = sorted(newer)[:: max(1, len(newer) // DIGESTS_CHECKED)]
    other = [path for path, row in spread if not _is_same(file.locate(path), file.digests[row].as_py())]
    told = [
        f"{len(found)} {what} (first {min(found)})"
        for what, found in (
            ("shards that it does not list", new),
            ("that it lists are gone", gone),
            ("are of another size", changed),
            ("of another digest", other),
        )
        if found
    ]
    if told:
        raise ValueError(f"{file.where}: does not fit its shards: {', '.join(told)}. Extend it: {extend_command(file)}")


def _is_same(tar: PathOrUrl, digest: str) -> bool:
    """Whether a local tar's index has this digest; true where there is no index to tell."""
    return not isinstance(tar, Path) or not index_path(tar).is_file() or read_index(tar).sha256 == digest


def extend_command(file: CatalogueFile) -> str:
    """The command line that makes a catalogue fit again."""
    folders = [str(file.locate(folder)) for folder in file.description["folders"]]
    if file.description["folders"] == [HERE] and basename(file.where) == CATALOGUE_NAME:
        return f"asr-kd catalogue {shlex.quote(str(file.folder))}"
    return f"asr-kd catalogue {shlex.join(folders) or 'SHARDS...'} --out {shlex.quote(str(file.where))}"
