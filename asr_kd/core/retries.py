"""Try again what may go well a moment later, and say in one line what does not."""

import errno
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from asr_kd.core.locations import BadLocation

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """How often and after which pauses a request is made again."""

    tries: int = 6
    """Requests at most, the first included."""
    first_wait_s: float = 0.5
    """Pause after the first failure, doubled after every other one."""
    longest_wait_s: float = 20.0
    jitter: float = 0.5
    """Each pause is shortened by up to this share, at random: many machines must not come back at one moment."""


RETRIES = RetryPolicy()
"""8 to 15.5 s of pauses in all."""


class StorageError(OSError):
    """A store did not do what it was asked for. One line: the URL, the reason, the remedy.

    An OSError as a failing disk is, not a ValueError: those are taken as faults of one utterance, which is set aside.
    """


class MissingError(StorageError, FileNotFoundError):
    """The store answered that there is no such object."""


_BACKENDS = ("aiohttp", "botocore", "aiobotocore", "s3fs", "gcsfs", "google", "requests", "fsspec", "urllib3")
_TRANSIENT = {
    "aiohttp.client_exceptions.ClientError",
    "botocore.exceptions.HTTPClientError",
    "botocore.exceptions.ConnectionError",
    "botocore.exceptions.IncompleteReadError",
    "botocore.exceptions.FlexibleChecksumError",
    "google.auth.exceptions.TransportError",
    "requests.exceptions.ConnectionError",
    "requests.exceptions.Timeout",
}
_PERMANENT = {"ssl.SSLCertVerificationError", "aiohttp.client_exceptions.InvalidURL"}
_TRANSIENT_ERRNO = {errno.EBUSY, errno.ETIMEDOUT, errno.EPIPE, errno.ENETUNREACH, errno.EHOSTUNREACH}
_random = random.Random()  # of its own: pauses must not move the run's random numbers


def with_retries(url: str, action: Callable[[], T], tries: int | None = None) -> T:
    """What `action` gives; it is called again after a pause when it failed in a way that passes.

    Passing: broken and refused connections, timeouts, answers cut short, HTTP 408, 429 and 5xx (501 apart).
    StorageError when it never went well, or at once when it cannot; MissingError when there is no such object.
    """
    tries = RETRIES.tries if tries is None else tries
    for attempt in range(1, tries + 1):
        try:
            return action()
        except Exception as e:
            refused = next((cause for cause in _causes(e) if isinstance(cause, BadLocation)), None)
            if refused is not None:  # a redirect, which fsspec takes for a missing file
                raise refused from None
            if not isinstance(e, OSError) and type(e).__module__.split(".")[0] not in _BACKENDS:
                raise  # a mistake of ours
            passing = is_transient(e)
            if attempt == tries or not passing:
                raise _explained(url, e, attempt if passing else 1) from e
        wait_s = min(RETRIES.first_wait_s * 2 ** (attempt - 1), RETRIES.longest_wait_s)
        time.sleep(wait_s * (1 - RETRIES.jitter * _random.random()))
    raise AssertionError("unreachable")


def is_transient(error: BaseException) -> bool:
    """Whether the same request may go well later."""
    status = _status(error)
    if status is not None:
        return status in (408, 429) or (status >= 500 and status != 501)
    types = {f"{c.__module__}.{c.__qualname__}" for e in _causes(error) for c in type(e).__mro__}
    if types & _PERMANENT:
        return False
    return bool(types & _TRANSIENT) or any(
        isinstance(e, (ConnectionError, TimeoutError)) or (isinstance(e, OSError) and e.errno in _TRANSIENT_ERRNO)
        for e in _causes(error)
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from: fsspec hides an HTTP 503 behind a FileNotFoundError."""
    seen: set[int] = set()
    e: BaseException | None = error
    while e is not None and id(e) not in seen:
        seen.add(id(e))
        yield e
        e = e.__cause__


def _status(error: BaseException) -> int | None:
    """The HTTP status that a store answered with, if it answered."""
    for e in _causes(error):
        response = getattr(e, "response", None)
        if isinstance(response, dict):  # botocore
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            status = getattr(e, "code" if type(e).__module__.startswith("gcsfs") else "status", None)
        if str(status).isdigit() and 100 <= int(str(status)) < 600:
            return int(str(status))
    return None


def _explained(url: str, error: BaseException, tries: int) -> StorageError:
    status = _status(error)
    root = list(_causes(error))[-1]
    text = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
    if status == 404 or (status is None and isinstance(root, FileNotFoundError)):
        return MissingError(f"{url}: no such object (or bucket). Check the name.")
    if status in (401, 403) or isinstance(error, PermissionError) or "Credentials" in type(root).__name__:
        return StorageError(
            f"{url}: access denied ({text}). Set credentials that may do this: AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY or AWS_PROFILE (s3), GOOGLE_APPLICATION_CREDENTIALS (gs)."
        )
    if status is not None and str(status) not in text:
        text = f"HTTP {status}: {text}"
    if tries > 1:
        return StorageError(
            f"{url}: {text}, {tries} times in a row. Is the store reachable (s3: AWS_ENDPOINT_URL)? "
            "Run the same command again to go on."
        )
    return StorageError(f"{url}: {text}. The store refuses this request; trying again would not help.")
