"""Files on this machine and objects in stores (s3://, gs://, https://) through the same few functions.

A Location (`asr_kd.core.locations`) is a local Path or a URL. What is written appears whole or not at all, on a disk by
rename, in a store because an upload that did not end is no object. Requests that fail in passing are made again
(`asr_kd.core.retries`). Endpoints and credentials come from the store's usual environment variables.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urljoin

import fsspec

from asr_kd.core.extras import how_to_install
from asr_kd.core.files import atomic_path, fingerprint
from asr_kd.core.locations import BadLocation, PathOrUrl, basename, dirname, join, parse_path_or_url, stem
from asr_kd.core.redirects import check_redirect
from asr_kd.core.retries import MissingError, StorageError, with_retries

__all__ = [
    "BadLocation",
    "MissingError",
    "PathOrUrl",
    "StorageError",
    "basename",
    "delete",
    "dirname",
    "download",
    "exists",
    "file_sizes",
    "join",
    "list_files",
    "output_location",
    "parallel_map",
    "parse_path_or_url",
    "read_bytes",
    "scan",
    "size",
    "stem",
    "version",
    "write_bytes",
]

PIECE_BYTES = 16 << 20
"""Large files come and go in such pieces: what a broken connection costs at most, and the memory it takes."""
CONNECT_S, READ_S = 10, 60
"""Seconds that a store may take to accept a connection, and to send the next bytes."""
REQUESTS_AT_ONCE = 16
_EXTRAS = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gs"), "https": ("aiohttp", "http"), "http": ("aiohttp", "http")}
_TRIES = {"gs": 2}
"""gcsfs makes each request 6 times itself."""
_SETTINGS = ("AWS_", "FSSPEC_", "GOOGLE_", "STORAGE_EMULATOR_")
"""Variables that say where a store is and who asks: when they change, connections are made anew."""

A = TypeVar("A")
B = TypeVar("B")
_systems: dict[Any, Any] = {}
_systems_lock = threading.Lock()
os.register_at_fork(after_in_child=lambda: globals().update(_systems_lock=threading.Lock()))


def output_location(text: str) -> PathOrUrl:
    """`location`, but of something that can be written: the `type=` of --out."""
    where = parse_path_or_url(text)
    _check_writable(where)
    return where


def exists(where: PathOrUrl) -> bool:
    """Whether there is such a file or object."""
    where = parse_path_or_url(where)
    if isinstance(where, Path):
        return where.exists()
    try:
        _info(where)
    except MissingError:
        return False
    return True


def size(where: PathOrUrl) -> int:
    """Bytes of a file. FileNotFoundError when there is none."""
    where = parse_path_or_url(where)
    if isinstance(where, Path):
        return where.stat().st_size
    found = _info(where)["size"]
    return len(read_bytes(where)) if found is None else int(found)  # an https server need not say


def version(where: PathOrUrl) -> str:
    """Changes when the file does: a digest of its place, size and the store's tag or time. 64 hex digits."""
    where = parse_path_or_url(where)
    if isinstance(where, Path):
        state = where.stat()
        return fingerprint([str(where.absolute()), state.st_size, state.st_mtime_ns])
    tags = ("size", "ETag", "etag", "generation", "LastModified", "Last-Modified")
    info = _info(where)
    return fingerprint([where, [str(info.get(tag)) for tag in tags]])


def list_files(folder: PathOrUrl, suffix: str) -> list[PathOrUrl]:
    """The files directly in a folder whose names end with `suffix`, sorted; none when there is no such folder.

    Over https the server must list its folders as HTML links.
    """
    return [join(folder, name) for name, _, _ in sorted(scan(folder, suffix))]


def file_sizes(folder: PathOrUrl, suffix: str) -> dict[PathOrUrl, int]:
    """Those files and their bytes, by one listing."""
    sizes = {join(folder, name): n for name, n, _ in sorted(scan(folder, suffix))}
    return {where: size(where) if n is None else n for where, n in sizes.items()}


def scan(folder: PathOrUrl, suffix: str, stat_every: int = 1) -> Iterator[tuple[str, int | None, int]]:
    """Name, bytes and time of change of each of those files, in no order, by one listing.

    Bytes are None where an https server does not tell them; the time is in ns, 0 in a store.
    stat_every: on a disk, which has to be asked for each file, only every so many have bytes and time.
    """
    folder = parse_path_or_url(folder)
    if isinstance(folder, Path):
        yield from _scan_disk(folder, suffix, stat_every)
        return
    asked = folder + "/" if folder.startswith("http") else folder
    try:
        listed = _ask(folder, lambda system: system.ls(asked, detail=True))
    except MissingError:
        return
    base = folder if folder.startswith("http") else folder.partition("://")[2]
    for found in listed:
        place, _, name = found["name"].rpartition("/")
        if place == base and name and name.endswith(suffix) and found["type"] == "file":
            yield name, found["size"], 0


def _scan_disk(folder: Path, suffix: str, stat_every: int) -> Iterator[tuple[str, int | None, int]]:
    try:
        entries = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    with entries:
        for number, entry in enumerate(e for e in entries if e.name.endswith(suffix) and e.is_file()):
            if number % stat_every:
                yield entry.name, None, 0
                continue
            with suppress(FileNotFoundError):  # removed meanwhile
                state = entry.stat()
                yield entry.name, state.st_size, state.st_mtime_ns


def read_bytes(where: PathOrUrl, start: int | None = None, size: int | None = None) -> bytes:
    """The bytes of a file: all, `size` of them from `start` on, or with a negative `start` the last -start of them.

    Fewer where the file ends. FileNotFoundError when there is none.
    """
    where = parse_path_or_url(where)
    assert size is None or (start is not None and start >= 0)
    if isinstance(where, str):
        return _read(where, start, size)
    with open(where, "rb") as f:
        if start is not None:
            f.seek(max(start, -f.seek(0, os.SEEK_END)), os.SEEK_END if start < 0 else os.SEEK_SET)
        return f.read(-1 if size is None else size)


def write_bytes(where: PathOrUrl, data: bytes) -> None:
    """Write a file, replacing one of that name; it appears whole or not at all."""
    where = parse_path_or_url(where)
    _check_writable(where)
    if isinstance(where, Path):
        with atomic_path(where) as temporary:
            temporary.write_bytes(data)
    else:
        _ask(where, lambda system: system.pipe_file(where, data))


def delete(where: PathOrUrl) -> None:
    """Delete a file; nothing happens when there is none."""
    where = parse_path_or_url(where)
    _check_writable(where)
    if isinstance(where, Path):
        where.unlink(missing_ok=True)
        return
    with suppress(MissingError):
        _ask(where, lambda system: system.rm_file(where))


def download(where: PathOrUrl, folder: str | os.PathLike[str], sha256: str | None = None) -> Path:
    """The file on this machine: a local one where it is, a remote one copied into `folder` under its own name.

    The copy is made in pieces under another name and appears when its size (and `sha256`, where given) are right.
    StorageError when they are not.
    """
    where = parse_path_or_url(where)
    if isinstance(where, Path):
        return where
    target = Path(folder) / basename(where)
    digest = hashlib.sha256()
    with atomic_path(target) as temporary:
        with open(temporary, "wb") as f:
            for piece in _pieces(where):
                digest.update(piece)
                f.write(piece)
        if sha256 is not None and digest.hexdigest() != sha256:
            raise StorageError(
                f"{where}: its bytes have the digest {digest.hexdigest()[:12]}…, {sha256[:12]}… was expected. "
                "Upload it again, with what was made from it."
            )
    return target


def parallel_map(function: Callable[[A], B], items: Sequence[A], remote: bool) -> Iterator[B]:
    """`function` of each item, in order; several at once when that means waiting for a store."""
    if not remote:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        yield from pool.map(function, items)


def _pieces(url: str) -> Iterator[bytes]:
    total = _info(url)["size"]
    if total is None:
        yield read_bytes(url)
        return
    for start in range(0, total, PIECE_BYTES):
        yield _read(url, start, min(PIECE_BYTES, total - start), exactly=True)


def _read(url: str, start: int | None, size: int | None, exactly: bool = False) -> bytes:
    end = None if start is None or size is None else start + size

    def read(system: Any) -> bytes:
        data = system.cat_file(url, start=start, end=end)
        if start is not None and start < 0:  # a server that knows no ranges sends everything
            data = data[start:]
        elif size is not None and len(data) > size:
            data = data[start:end]
        if exactly and len(data) != size:
            raise ConnectionError(f"{len(data)} of {size} bytes came")
        return data

    return b"" if size == 0 else _ask(url, read)


def _info(url: str) -> dict[str, Any]:
    return _ask(url, lambda system: system.info(url))


def _check_writable(where: PathOrUrl) -> None:
    if isinstance(where, str) and where.startswith("http"):
        raise BadLocation(f"{where}: https is for reading. Write to a path on this machine, s3:// or gs://.")


def _ask(url: str, action: Callable[[Any], B]) -> B:
    """What `action` gives for the store of `url`, with retries."""
    scheme = url.partition("://")[0]
    return with_retries(url, lambda: action(_system(url, scheme)), _TRIES.get(scheme))


def _system(url: str, scheme: str) -> Any:
    """The fsspec file system, one a process for all threads (fsspec's own cache has one a thread) and environment."""
    settings = tuple(sorted(item for item in os.environ.items() if item[0].startswith(_SETTINGS)))
    key = (scheme, os.getpid(), settings)
    with _systems_lock:
        if key not in _systems:
            try:
                _systems[key] = fsspec.filesystem(scheme, skip_instance_cache=True, **_options(scheme))
            except ImportError as e:
                package, extra = _EXTRAS[scheme]
                raise ValueError(
                    f"{url}: {scheme}:// needs the package {package}, which is not installed. "
                    f"{how_to_install(extra)} ({' '.join(str(e).split())[:100]})"
                ) from None
            if scheme == "s3":
                _systems[key].retries = 1  # `retried` is the one layer that tries again
        return _systems[key]


def _options(scheme: str) -> dict[str, Any]:
    """Fresh listings always: other machines write into the same folders."""
    if scheme == "s3":
        once = {"total_max_attempts": 1, "mode": "standard"}
        config = {"retries": once, "connect_timeout": CONNECT_S, "read_timeout": READ_S}
        return {"use_listings_cache": False, "max_concurrency": 1, "config_kwargs": config}
    if scheme == "gs":
        return {"use_listings_cache": False}
    import aiohttp

    timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_S, sock_read=READ_S)
    hops = aiohttp.TraceConfig()
    hops.on_request_redirect.append(_check_hop)
    return {"use_listings_cache": False, "client_kwargs": {"timeout": timeout, "trace_configs": [hops]}}


async def _check_hop(_session: Any, _context: Any, hop: Any) -> None:
    """Called by aiohttp before it follows a redirect."""
    target = hop.response.headers.get("Location") or hop.response.headers.get("URI") or ""
    check_redirect(str(hop.response.url), urljoin(str(hop.response.url), target))
