"""Storage: the same functions for disk and store; what passes is tried again, what is unsafe is refused."""

import hashlib
import itertools
import os
import socket
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest
from stores import plain_server, serving

from asr_kd.cli import main
from asr_kd.core import storage
from asr_kd.core.retries import RETRIES, RetryPolicy
from asr_kd.core.storage import MissingError, StorageError, parse_path_or_url


def one_line(error) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("pipe:cat shard.tar", "commands are not run"),
        ("pipe:s3cmd get s3://bucket/shard.tar -", "commands are not run"),
        ("gunzip -c shard.tar.gz |", "commands are not run"),
        ("| tee out.parquet", "commands are not run"),
        ("memory://x/a.tar", "'memory:' is not a storage"),
        ("file:///etc/passwd", "'file:' is not a storage"),
        ("ssh://host/a.tar", "'ssh:' is not a storage"),
        ("github://user:repo@main/a.tar", "credentials"),
        ("s3:bucket/a.tar", "'s3:' is not a storage"),
        ("simplecache::s3://bucket/a.tar", "chains"),
        ("zip://a.tar::s3://bucket/a.zip", "chains"),
        ("s3://bucket/a::b.tar", "chains"),
        ("http://example.org/a.tar", "not encrypted"),
        ("http://localhost.example.org/a.tar", "not encrypted"),
        ("https:///a.tar", "names no host"),
        ("s3://", "names no bucket"),
        ("s3://bucket/../other/a.tar", "must not hold . or .."),
        ("https://host/a/%2e%2e/b.tar", "must not hold . or .."),
        ("s3://bucket/*.tar", "wildcard"),
        ("s3://bucket/a|b.tar", "wildcard or a character"),
        ("s3://bucket/a\nb.tar", "not allowed"),
        ("https://host/a.tar?X-Amz-Signature=SECRET", "no query"),
        ("https://user:SECRET@host/a.tar", "no credentials"),
        ("s3://KEY:SECRET@bucket/a.tar", "no credentials"),
        ("", "empty name"),
    ],
)
def test_what_is_no_file_or_object_is_refused_and_secrets_are_not_repeated(text, complaint):
    with pytest.raises(ValueError, match=complaint) as error:
        parse_path_or_url(text)
    assert "SECRET" not in one_line(error)


def test_a_verb_shows_the_whole_reason(capsys):
    with pytest.raises(SystemExit):
        main(["inspect", "pipe:cat x"])
    assert "argument PATH: pipe:cat x: commands are not run. Give a path" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "name", "stem", "parent"),
    [
        ("s3://bucket/a/shard-000001.tar", "shard-000001.tar", "shard-000001", "s3://bucket/a"),
        ("gs://bucket/a.b.tar", "a.b.tar", "a.b", "gs://bucket"),
        ("https://[::1]:80/x/y/", "y", "y", "https://[::1]:80/x"),
        ("http://localhost:9000/x/y", "y", "y", "http://localhost:9000/x"),
    ],
)
def test_urls_stay_text_and_are_taken_apart(text, name, stem, parent):
    where = parse_path_or_url(text)
    assert where == text.rstrip("/")
    assert (storage.basename(where), storage.stem(where), storage.dirname(where)) == (name, stem, parent)
    assert storage.join(storage.dirname(where), name) == where
    root = "/".join(where.split("/")[:3])
    assert storage.dirname(root) == root


def test_all_else_is_a_local_path():
    for text in ("exp/shards", "/a/b.tar", "./run:3", "~x", "a b.tar"):
        assert parse_path_or_url(text) == Path(text)
    assert storage.join(Path("a"), "b.tar") == Path("a/b.tar") == parse_path_or_url(Path("a/b.tar"))


def test_a_url_that_an_option_for_local_paths_has_swallowed_is_told():
    with pytest.raises(ValueError, match=r"s3:/bucket/a\.tar: only local paths are taken here"):
        parse_path_or_url(Path("s3://bucket/a.tar"))


def test_https_is_for_reading(tmp_path):
    for write in (lambda u: storage.write_bytes(u, b""), storage.output_location, storage.delete):
        with pytest.raises(ValueError, match=r"^https://host/a\.parquet: https is for reading\. Write to a path"):
            write("https://host/a.parquet")
    assert storage.output_location(str(tmp_path)) == tmp_path
    assert storage.output_location("s3://bucket/a") == "s3://bucket/a"


@pytest.fixture(params=["disk", "store"])
def folder(request, tmp_path):
    return tmp_path / "new" / "folder" if request.param == "disk" else request.getfixturevalue("bucket") + "/a"


def test_disk_and_store_answer_alike(folder, tmp_path):
    assert storage.list_files(folder, ".tar") == []
    names = ["b.tar", "a.tar", "c.json"]
    for name in names:
        storage.write_bytes(storage.join(folder, name), name.encode() * 2)
    storage.write_bytes(storage.join(storage.join(folder, "deeper"), "d.tar"), b"not seen from above")
    a, b, c = (storage.join(folder, name) for name in sorted(names))
    storage.write_bytes(a, b"0123456789")
    assert storage.list_files(folder, ".tar") == [a, b]
    assert storage.file_sizes(folder, "") == {a: 10, b: 10, c: 12}
    assert storage.size(a) == 10 and storage.exists(a)
    assert storage.read_bytes(a) == b"0123456789"
    assert storage.read_bytes(a, 2, 3) == b"234"
    assert storage.read_bytes(a, 8, 100) == b"89"
    assert storage.read_bytes(a, 3, 0) == b""
    assert storage.read_bytes(a, 7) == storage.read_bytes(a, -3) == b"789"
    assert storage.read_bytes(a, -100) == b"0123456789"
    before = storage.version(a)
    assert storage.version(a) == before
    storage.write_bytes(a, b"9876543210")
    assert storage.version(a) != before
    for _ in range(2):
        storage.delete(a)
    assert not storage.exists(a)
    for missing in (storage.size, storage.read_bytes):
        with pytest.raises(FileNotFoundError):
            missing(a)


def test_a_local_file_is_fetched_by_leaving_it_where_it_is(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"x")
    assert storage.download(tmp_path / "a.tar", tmp_path / "copies") == tmp_path / "a.tar"
    assert not (tmp_path / "copies").exists()


@pytest.fixture
def payload(bucket, monkeypatch):
    """An object of several pieces, its bytes and its digest."""
    monkeypatch.setattr(storage, "PIECE_BYTES", 1000)
    data = os.urandom(4321)
    storage.write_bytes(f"{bucket}/a.tar", data)
    return f"{bucket}/a.tar", data, hashlib.sha256(data).hexdigest()


def test_a_fetch_comes_in_pieces_and_is_checked(payload, tmp_path, on_the_way):
    url, data, digest = payload
    log = on_the_way()
    assert storage.download(url, tmp_path / "to", digest).read_bytes() == data
    assert len(log) == 6  # its size, five pieces
    told = (
        rf"^{url}: its bytes have the digest {digest[:12]}…, 0{{12}}… was expected\. "
        r"Upload it again, with what was made from it\.$"
    )
    with pytest.raises(StorageError, match=told):
        storage.download(url, tmp_path / "other", "0" * 64)
    assert os.listdir(tmp_path / "to") == ["a.tar"]
    assert os.listdir(tmp_path / "other") == []


@pytest.mark.parametrize("kind", ["503", "drop"])
def test_requests_that_fail_in_passing_are_made_again(payload, tmp_path, on_the_way, kind):
    url, data, digest = payload
    odd = itertools.cycle([kind, kind, None])
    log = on_the_way(lambda method, path: None if kind == "drop" and method == "HEAD" else next(odd))
    assert storage.download(url, tmp_path, digest).read_bytes() == data
    storage.write_bytes(url, data[::-1])
    assert storage.read_bytes(url) == data[::-1]
    assert sum(line.startswith("GET") for line in log) >= 3 * 5 + 2


def test_a_store_that_stays_down_is_given_up_in_one_line(payload, tmp_path, on_the_way):
    log = on_the_way(lambda method, path: "503")
    with pytest.raises(OSError, match=r"a\.tar: .*503.*6 times in a row\. Is the store reachable") as error:
        storage.download(payload[0], tmp_path)
    assert not isinstance(error.value, ValueError)
    assert one_line(error).startswith(payload[0])
    assert len(log) == RETRIES.tries and os.listdir(tmp_path) == []


def test_what_is_forbidden_is_not_tried_again(payload, on_the_way):
    log = on_the_way(lambda method, path: "403")
    with pytest.raises(StorageError, match=r"access denied .* Set credentials") as error:
        storage.read_bytes(payload[0])
    one_line(error)
    assert len(log) == 1


def test_no_server_at_all_is_told_in_one_line(payload, monkeypatch):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))  # taken, and nobody listens
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s.getsockname()[1]}")
        with pytest.raises(StorageError, match="AWS_ENDPOINT_URL") as error:
            storage.exists(payload[0])
    one_line(error)


def test_missing_is_told_apart_from_failing(bucket):
    for url in (f"{bucket}/none", "s3://no-such-bucket-anywhere/none"):
        with pytest.raises(MissingError, match="no such object"):
            storage.read_bytes(url)
        assert not storage.exists(url)


def in_bucket(bucket, endpoint):
    """Objects and unfinished uploads."""
    client, name = boto3.client("s3", endpoint_url=endpoint), bucket.removeprefix("s3://")
    objects = client.list_objects_v2(Bucket=name).get("Contents", [])
    return [o["Key"] for o in objects], client.list_multipart_uploads(Bucket=name).get("Uploads", [])


def test_an_upload_that_fails_leaves_nothing_behind(bucket, s3_endpoint, on_the_way):
    on_the_way(lambda method, path: "503" if method == "PUT" else None)
    with pytest.raises(StorageError):
        storage.write_bytes(f"{bucket}/a.parquet", b"data")
    assert in_bucket(bucket, s3_endpoint) == ([], [])


def test_folders_over_http_are_read_from_a_server_without_ranges(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "PIECE_BYTES", 1000)
    data = os.urandom(4321)
    for name in ("b.tar", "a.tar", "a.index.json"):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "deeper").mkdir()
    with plain_server(str(tmp_path)) as url:
        assert storage.list_files(url, ".tar") == [f"{url}/a.tar", f"{url}/b.tar"]
        assert storage.file_sizes(url, ".json") == {f"{url}/a.index.json": 4321}
        assert storage.list_files(f"{url}/none", ".tar") == []
        assert storage.exists(f"{url}/a.tar") and not storage.exists(f"{url}/none.tar")
        for start, size in ((10, 5), (0, 5), (1, 5), (4000, 500)):
            assert storage.read_bytes(f"{url}/a.tar", start, size) == data[start:][:size]
        assert storage.read_bytes(f"{url}/a.tar", -9999) == data
        assert storage.read_bytes(f"{url}/a.tar", -5) == data[-5:]
        assert storage.download(f"{url}/a.tar", tmp_path / "to").read_bytes() == data
        with pytest.raises(MissingError):
            storage.read_bytes(f"{url}/none.tar")


def test_a_missing_package_is_named_with_the_way_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "a-connection-of-its-own")
    with pytest.raises(
        ValueError, match=r"gs:// needs the package gcsfs.*voices,dev,gs`.*pip install -e '\.\[gs\]'"
    ) as error:
        storage.read_bytes("gs://bucket/a.tar")
    one_line(error)


def test_items_come_back_in_order_also_when_several_are_asked_for_at_once():
    for remote in (False, True):
        assert list(storage.parallel_map(lambda n: n * n, range(50), remote)) == [n * n for n in range(50)]


def test_several_are_asked_for_at_once_when_that_means_waiting():
    together = threading.Barrier(storage.REQUESTS_AT_ONCE, timeout=30)
    assert len(set(storage.parallel_map(lambda n: together.wait(), range(16), True))) == 16
    threads = set(storage.parallel_map(lambda n: threading.get_ident(), range(16), False))
    assert threads == {threading.get_ident()}


def test_what_other_machines_write_is_seen_at_once(bucket, s3_endpoint, tmp_path):
    client, name = boto3.client("s3", endpoint_url=s3_endpoint), bucket.removeprefix("s3://")
    with plain_server(str(tmp_path)) as url:
        for place in (bucket, url):
            assert storage.list_files(place, ".tar") == []
        for data in (b"x", b"xyz"):
            client.put_object(Bucket=name, Key="a.tar", Body=data)
            (tmp_path / "a.tar").write_bytes(data)
            for place in (bucket, url):
                assert storage.file_sizes(place, ".tar") == {f"{place}/a.tar": len(data)}
                assert storage.size(f"{place}/a.tar") == len(data)


def test_a_version_is_of_place_size_and_time(bucket, tmp_path):
    versions = set()
    for place in (tmp_path, bucket):
        for name, data in (("a", b"x"), ("b", b"x"), ("b", b"xy"), ("b", b"yx")):
            where = storage.join(place, name)
            storage.write_bytes(where, data)
            versions.add(storage.version(where))
    assert len(versions) == 8 and {len(version) for version in versions} == {64}
    with plain_server(str(tmp_path)) as url:
        for data, at in ((b"x", 10**9), (b"xy", 10**9), (b"xy", 10**9 + 5)):
            (tmp_path / "a").write_bytes(data)
            os.utime(tmp_path / "a", (at, at))
            versions.add(storage.version(f"{url}/a"))
    assert len(versions) == 11


@contextmanager
def telling(data, headers):
    """A server whose one file is `data`; `headers` of the answer to HEAD, and to GET."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            for name, value in headers[self.command].items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield f"{url}/a.tar"


def test_a_server_that_does_not_say_how_long_a_file_is_is_read_to_its_end(tmp_path):
    with telling(b"0123456789", {"HEAD": {}, "GET": {}}) as url:
        assert storage.size(url) == 10
        digest = hashlib.sha256(b"0123456789").hexdigest()
        assert storage.download(url, tmp_path, digest).read_bytes() == b"0123456789"


def test_fewer_bytes_than_were_promised_are_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("asr_kd.core.retries.RETRIES", RetryPolicy(tries=2, first_wait_s=0.001))
    with (
        telling(b"01234", {"HEAD": {"Content-Length": "10"}, "GET": {"Content-Length": "5"}}) as url,
        pytest.raises(StorageError, match=r"5 of 10 bytes came.*2 times in a row"),
    ):
        storage.download(url, tmp_path)
    assert os.listdir(tmp_path) == []


def test_another_tag_of_the_server_is_another_version():
    versions = set()
    for tag in ("a", "b"):
        headers = {"Content-Length": "5", "ETag": tag, "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
        with telling(b"01234", {"HEAD": headers, "GET": headers}) as url:
            versions.add(storage.version(url))
            assert storage.version(url) in versions
            headers["ETag"] = "c"
            assert storage.version(url) not in versions


@pytest.mark.parametrize("scheme", ["s3", "http"])
def test_a_server_that_never_answers_is_given_up(monkeypatch, scheme):
    monkeypatch.setattr(storage, "READ_S", 0.1)
    monkeypatch.setattr("asr_kd.core.retries.RETRIES", RetryPolicy(tries=2, first_wait_s=0.001))
    with socket.create_server(("127.0.0.1", 0)) as server:
        silent = f"http://127.0.0.1:{server.getsockname()[1]}"
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        monkeypatch.setenv("AWS_ENDPOINT_URL", silent)  # a connection of its own
        url = f"{silent}/a.tar" if scheme == "http" else "s3://bucket/a.tar"
        with pytest.raises(StorageError, match=r"2 times in a row\. Is the store reachable") as error:
            storage.read_bytes(url)
    one_line(error)


def test_connections_are_kept_while_place_and_credentials_are_the_same(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    first = storage._system("s3://bucket/a", "s3")
    assert storage._system("s3://other/b", "s3") is first
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:2")
    assert storage._system("s3://bucket/a", "s3") is not first
