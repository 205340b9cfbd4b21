"""A server cannot lead a request to where the user could not have asked for."""

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from stores import serving

from asr_kd.core import storage
from asr_kd.core.locations import BadLocation
from asr_kd.core.redirects import check_redirect
from asr_kd.corpora.download import fetch_archive

DATA = b"bytes of a tar"
REFUSED = (
    "http://example.org/a.tar",
    "https://user:secret@example.org/a.tar",
    "file:///etc/hostname",
    "ftp://example.org/a.tar",
    "//example.org/a.tar",
    "https://example.org/a.tar?token=x",
    "https://example.org/x/%2e%2e/a.tar",
)


@contextmanager
def redirecting(target: str, data: bytes = DATA, header: str = "Location") -> Iterator[str]:
    """A server of which /moved leads to `target` ({url} is itself), and every other path holds the data."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/moved":
                self.send_response(302)
                self.send_header(header, target.format(url=f"http://127.0.0.1:{self.server.server_port}"))
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        do_HEAD = do_GET

        def log_message(self, *args: object) -> None:
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url


@pytest.mark.parametrize("target", REFUSED)
def test_no_hop_of_a_store_breaks_the_rules(target: str, tmp_path: Path) -> None:
    with redirecting(target) as url:
        for ask in (storage.read_bytes, storage.exists, storage.size, storage.version):
            with pytest.raises(BadLocation, match="the server redirects") as told:
                ask(f"{url}/moved")
            assert str(told.value).startswith(f"{url}/moved: ") and "secret" not in str(told.value)
        with pytest.raises(BadLocation, match="the server redirects"):
            storage.download(f"{url}/moved", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("header", ["Location", "URI"])
@pytest.mark.parametrize("target", ["/a.tar", "{url}/a.tar", "a.tar"])
def test_a_hop_within_the_rules_is_followed(target: str, header: str) -> None:
    with redirecting(target, header=header) as url:
        assert storage.read_bytes(f"{url}/moved") == DATA


def test_a_hop_by_an_old_header_obeys_the_rules_too() -> None:
    with (
        redirecting("http://example.org/a.tar", header="URI") as url,
        pytest.raises(BadLocation, match=r"the server redirects .*http://example\.org"),
    ):
        storage.read_bytes(f"{url}/moved")


@pytest.mark.parametrize("target", REFUSED)
def test_no_hop_of_a_download_breaks_the_rules(target: str, tmp_path: Path) -> None:
    with redirecting(target) as url, pytest.raises(ValueError, match="cannot be fetched"):
        fetch_archive(f"{url}/moved", tmp_path / "corpus")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(tarfile, "data_filter"), reason="archives are unpacked from Python 3.11.4 on")
def test_a_download_follows_a_hop_within_the_rules(tmp_path: Path) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("top/README")
        member.size = 2
        tar.addfile(member, io.BytesIO(b"ok"))
    with redirecting("/corpus.tar", archive.getvalue()) as url:
        fetch_archive(f"{url}/moved", tmp_path / "corpus")
    assert (tmp_path / "corpus" / "README").read_text() == "ok"


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("https://cdn.example.net/a.tar", True),
        ("http://example.org/a.tar", False),
        ("http://localhost/a.tar", False),
        ("https://127.0.0.1/a.tar", False),
        ("s3://bucket/a.tar", False),
        ("https://example.org/a.tar#x", False),
    ],
)
def test_https_stays_encrypted_and_leads_to_no_service_of_this_machine(target: str, allowed: bool) -> None:
    if allowed:
        check_redirect("https://example.org/a.tar", target)
    else:
        with pytest.raises(BadLocation, match=r"^https://example\.org/a\.tar: the server redirects"):
            check_redirect("https://example.org/a.tar", target)
