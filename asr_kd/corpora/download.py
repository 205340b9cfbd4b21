"""Fetching a corpus from its public home: an archive to a folder, whole or not at all."""

import shutil
import tarfile
import urllib.request
from pathlib import Path

from asr_kd.core.files import atomic_path, remove_abandoned, temporary_path
from asr_kd.core.redirects import checked_redirects
from asr_kd.core.terminal import say

TIMEOUT_S = 60


def fetch_archive(url: str, root: Path) -> None:
    """Download a tar archive and unpack it as `root`, which must not exist; a single top folder becomes `root` itself.

    Members that would leave the folder are refused (tarfile's `data` filter). ValueError in one line when the archive
    cannot be fetched or unpacked; nothing is left behind then.
    """
    assert not root.exists()
    root.parent.mkdir(parents=True, exist_ok=True)
    say(f"fetching {url}")
    remove_abandoned(root.parent)
    folder = temporary_path(root)
    folder.mkdir()
    try:
        archive, unpacked = folder / "archive", folder / "unpacked"
        try:
            with (
                checked_redirects(),
                urllib.request.urlopen(url, timeout=TIMEOUT_S) as response,
                atomic_path(archive) as temporary,
                open(temporary, "wb") as f,
            ):
                shutil.copyfileobj(response, f)
        except (OSError, ValueError) as e:
            reason = getattr(e, "reason", e)
            raise ValueError(
                f"{url}: cannot be fetched ({reason}). Fetch and unpack it by hand, then give its folder as ROOT."
            ) from None
        if not hasattr(tarfile, "data_filter"):
            raise ValueError(
                f"{url}: this Python cannot unpack archives safely; 3.11.4 and later can. "
                "Unpack it by hand, then give its folder as ROOT."
            )
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(unpacked, filter="data")
        except (tarfile.TarError, OSError, EOFError) as e:
            raise ValueError(f"{url}: not a tar archive that can be unpacked safely ({e})") from None
        inside = list(unpacked.iterdir())
        (inside[0] if len(inside) == 1 and inside[0].is_dir() else unpacked).rename(root)
    finally:
        shutil.rmtree(folder)
