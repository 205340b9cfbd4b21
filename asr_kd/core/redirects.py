"""Where a server may lead a request: every hop passes the rules for URLs."""

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from asr_kd.core.locations import LOCAL_HOSTS, BadLocation, parse_path_or_url


def check_redirect(source: str, target: str) -> None:
    """BadLocation when a server that was asked for `source` leads to what the user could not have asked for.

    The target passes the rules of `location`; beside them, it stays encrypted, and no server leads to this machine.
    """
    came, leads = urlsplit(source), urlsplit(target)
    try:
        parse_path_or_url(target)
        local = came.hostname in LOCAL_HOSTS
        if leads.scheme not in ("http", "https"):
            raise BadLocation(f"{leads.scheme}: is not HTTP")
        if not local and (leads.scheme == "http" or leads.hostname in LOCAL_HOSTS):
            raise BadLocation(f"{leads.hostname} is this machine, or not encrypted")
    except BadLocation as e:
        raise BadLocation(f"{source}: the server redirects to where this is not read from ({e})") from None


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        check_redirect(req.full_url, newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextmanager
def checked_redirects() -> Iterator[None]:
    """Redirects that urllib meets in the block, also for libraries, are checked."""
    urllib.request.install_opener(urllib.request.build_opener(_Redirects))
    try:
        yield
    finally:
        urllib.request.install_opener(None)
