"""onnxruntime-web: three files of its npm package, given or fetched once with npm."""

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

from asr_kd.core.files import remove_abandoned, temporary_path
from asr_kd.core.terminal import say

VERSION = "1.30.0"
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""SHA-512 of the package of this version."""
RUNTIME_FILES = (
    "dist/ort.wasm.min.mjs",
    "dist/ort-wasm-simd-threaded.mjs",
    "dist/ort-wasm-simd-threaded.wasm",
)
"""Within the package: what runs on the processor."""
FETCH_S = 600


def runtime_folder(given: Path | None) -> Path:
    """The unpacked package: what is given, or version `VERSION` from the user's cache, fetched if it is not there.

    ValueError in one line when it lacks a file or cannot be fetched.
    """
    folder = given or _cache() / f"onnxruntime-web-{VERSION}"
    if given is None and not folder.is_dir():
        _fetch(folder)
    missing = [file for file in RUNTIME_FILES if not (folder / file).is_file()]
    if missing:
        raise ValueError(
            f"{folder}: has no {missing[0]}. Give --onnxruntime-web the folder package/ of the unpacked npm package "
            f"onnxruntime-web {VERSION}."
        )
    return folder


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "asr_kd"


def _fetch(folder: Path) -> None:
    package = f"onnxruntime-web@{VERSION}"
    by_hand = f"Run `npm pack {package}`, unpack the file and give its folder package/ with --onnxruntime-web."
    say(f"fetching {package} with npm")
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(folder.parent)
    temporary = temporary_path(folder)
    temporary.mkdir()
    try:
        command = ["npm", "pack", package, "--silent", "--pack-destination", str(temporary)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_S, stdin=subprocess.DEVNULL)
        archives = list(temporary.glob("*.tgz"))
        if ran.returncode or len(archives) != 1:
            reason = (ran.stderr.strip() or "no reason given").split("\n")[-1]
            raise ValueError(f"{package}: npm cannot fetch it ({reason[:200]}). {by_hand}")
        unpack(archives[0], temporary)
        (temporary / "package").rename(folder)
    except FileNotFoundError:
        raise ValueError(
            f"{package}: npm, which fetches it, is not installed. Install it; or elsewhere: {by_hand}"
        ) from None
    except subprocess.TimeoutExpired:
        raise ValueError(f"{package}: npm did not answer in {FETCH_S} s. {by_hand}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def unpack(archive: Path, folder: Path) -> None:
    """The needed files of the package, into folder/package. ValueError when it is not the pinned one."""
    found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != INTEGRITY:
        raise ValueError(
            f"onnxruntime-web {VERSION}: SHA-512 of what came is {found[:12]}..., not {INTEGRITY[:12]}...: it was "
            "changed on its way. Do not use it."
        )
    with tarfile.open(archive) as tar:
        for file in RUNTIME_FILES:
            inside, outside = tar.extractfile(f"package/{file}"), folder / "package" / file
            assert inside is not None, "the digest is that of a package that has it"
            outside.parent.mkdir(parents=True, exist_ok=True)
            with inside, open(outside, "wb") as copy:
                shutil.copyfileobj(inside, copy)
