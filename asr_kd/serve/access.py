"""Who may use the server: those with its token; without one, programs of this machine and the server's own page."""

import hmac
import ipaddress
from urllib.parse import urlsplit

from aiohttp import web

from asr_kd.serve.protocol import Refusal

BEARER = "Bearer "


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_origin(request: web.Request, has_token: bool) -> None:
    """Refusal where a browser asks for the page of another site. Without a token, names that lead here by DNS are no
    names of this server either: another site may have made them."""
    try:
        host = urlsplit(f"//{request.headers.get('Host', '')}").hostname or ""
        origin = urlsplit(request.headers.get("Origin", "")).netloc
    except ValueError:
        raise Refusal(403, "Host and Origin are no addresses") from None
    if not has_token and not is_loopback(host):
        raise Refusal(403, f"host {host!r:.60} is not this machine. Ask for localhost, or give the server a --token.")
    if "Origin" in request.headers and origin.lower() != request.headers.get("Host", "").lower():
        raise Refusal(403, "pages of other sites may not use this server")


def check_token(token: str | None, request: web.Request, given: str | None = None) -> None:
    """Refusal where the server has a token, and neither the header nor the message holds it. Takes the same time for
    every wrong one."""
    if token is None:
        return
    header = request.headers.get("Authorization", "")
    for found in (header.removeprefix(BEARER) if header.startswith(BEARER) else "", given or ""):
        if hmac.compare_digest(found.encode(errors="surrogatepass"), token.encode()):
            return
    raise Refusal(401, "the token is missing or wrong. Send the one that the server was started with.")
