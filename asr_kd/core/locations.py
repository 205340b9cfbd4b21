"""Where a file lies: a path on this machine, or the URL of an object in a store. Nothing here is read or run."""

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

PathOrUrl = str | Path
"""A local Path, or a URL as text. Text that has not been through `location()` may also be a local path."""

SCHEMES = ("s3", "gs", "https")
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
_KNOWN = "s3://BUCKET/..., gs://BUCKET/... or https://HOST/..."


class BadLocation(ValueError):
    """What was given is no place that asr_kd reads from or writes to."""


def parse_path_or_url(text: str | os.PathLike[str]) -> PathOrUrl:
    """A local path as Path; a URL as it is, without a slash at its end. The `parse=` of options that take either.

    Refused with one line (BadLocation, a ValueError): commands (`pipe:...`, `... |`), other schemes, fsspec's chains
    (`a::b`), `..`, wildcards, and queries or credentials in a URL, which would end up in logs and sidecars. Plain http
    is read from this machine only: what comes over a network unencrypted may have been changed on its way.
    """
    if not isinstance(text, str):
        path = text if isinstance(text, Path) else Path(text)
        if re.match(r"(s3|gs|https?):/", str(path)):
            raise BadLocation(f"{path}: only local paths are taken here. Copy the files to this machine first.")
        return path
    if not text.strip():
        raise BadLocation("an empty name was given for a file or folder")
    if text.startswith("pipe:") or text.strip().startswith("|") or text.strip().endswith("|"):
        raise BadLocation(f"{text}: commands are not run. Give a path on this machine, or {_KNOWN}.")
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text)
    return _url(text, scheme.group()[:-1]) if scheme else Path(text)


def _url(text: str, scheme: str) -> str:
    head = f"{scheme}:{text[len(scheme) + 1 :].split('?')[0].split('#')[0]}"
    if "@" in head.split("//")[-1].split("/")[0]:
        host = head.split("@", 1)[1]
        raise BadLocation(
            f"{scheme}://…@{host}: a URL must hold no credentials. Set them in the environment, as the store's own "
            "tools read them (AWS_ACCESS_KEY_ID, ...)."
        )
    path = re.sub(r"^[^/]*//(\[[^/]*\])?", "", text)  # without an IPv6 address
    if "::" in path or text.startswith(f"{scheme}::"):
        raise BadLocation(f"{head}: chains (::) are not followed. Give the URL of the file itself.")
    if scheme not in (*SCHEMES, "http") or not text.startswith(f"{scheme}://"):
        raise BadLocation(
            f"{head}: '{scheme}:' is not a storage of asr_kd. Give {_KNOWN}; a local name with a colon is ./{head}."
        )
    if head != text:
        raise BadLocation(
            f"{head}: a URL must hold no query (?) and no fragment (#). Signed URLs are not used: set credentials "
            "in the environment (AWS_ACCESS_KEY_ID, ...)."
        )
    try:
        parts = urlsplit(text)
    except ValueError as e:
        raise BadLocation(f"{head}: not a URL ({e})") from None
    if not parts.hostname:
        raise BadLocation(f"{head}: names no {'host' if 'http' in scheme else 'bucket'}. Give {_KNOWN}.")
    if scheme == "http" and parts.hostname not in LOCAL_HOSTS:
        raise BadLocation(f"{head}: is not encrypted. Give https://, or http:// of this machine (localhost).")
    if re.search(r"[*\[\]{}|\\\x00-\x1f\x7f]", path):
        raise BadLocation(f"{head!r}: holds a wildcard or a character that is not allowed. Name a file, or its folder.")
    if {".", ".."} & set(unquote(parts.path).split("/")):
        raise BadLocation(f"{head}: must not hold . or .. . Give the place itself.")
    return text.rstrip("/")


def join(folder: PathOrUrl, name: str) -> PathOrUrl:
    """The file `name` in a folder."""
    assert name not in ("", ".", "..") and "/" not in name, name
    where = parse_path_or_url(folder)
    return f"{where}/{name}" if isinstance(where, str) else where / name


def dirname(where: PathOrUrl) -> PathOrUrl:
    """The folder that a file lies in; of a bucket or host itself: the same."""
    where = parse_path_or_url(where)
    if isinstance(where, Path):
        return where.parent
    start = where.index("://") + 3
    return where if "/" not in where[start:] else where.rpartition("/")[0]


def basename(where: PathOrUrl) -> str:
    """The last part: `shard-000000.tar`."""
    where = parse_path_or_url(where)
    return where.name if isinstance(where, Path) else where.rpartition("/")[2]


def stem(where: PathOrUrl) -> str:
    """The last part without its ending: `shard-000000`."""
    where = parse_path_or_url(where)
    return where.stem if isinstance(where, Path) else Path(basename(where)).stem
