"""What many tests need: the real corpora where they are at hand, small shards of tones, a store that speaks S3."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: the cores belong to pytest's processes

from pathlib import Path

import numpy as np
import pytest
import soundfile
from decoding import trained  # noqa: F401  (a fixture)
from distilling import given  # noqa: F401  (a fixture)
from hypothesis import settings
from stores import CREDENTIALS, faulty, s3_server

from asr_kd.core.retries import RetryPolicy
from asr_kd.corpora.manifest import Utterance
from asr_kd.shards.writer import write_shards

settings.register_profile("asr_kd", deadline=None, print_blob=True)  # a busy machine is no failure
settings.load_profile("asr_kd")

TONES = (("AH", 400.0), ("EE", 900.0), ("OH", 1600.0))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs real speech."""
    for item in items:
        if "data_root" in getattr(item, "fixturenames", ()):
            item.add_marker("corpus")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with an4/, speechocean762/, ...; skips where it is not given."""
    root = os.environ.get("ASR_KD_DATA")
    if not root:
        pytest.skip("real speech is not at hand: ASR_KD_DATA is not set")
    if not Path(root).is_dir():
        pytest.skip(f"real speech is not at hand: ASR_KD_DATA={root} is no folder")
    return Path(root)


@pytest.fixture(scope="session")
def an4_root(data_root: Path) -> Path:
    """CMU AN4; skips where it is not at hand."""
    if not (data_root / "an4").is_dir():
        pytest.skip(f"{data_root} has no an4/")
    return data_root / "an4"


@pytest.fixture(scope="session")
def tone_utterances(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    """12 labelled utterances of two speakers, 0.9 to 2 s: each word is a tone of its own, between short silences."""
    folder = tmp_path_factory.mktemp("tones")
    rng = np.random.default_rng(0)
    utterances = []
    for number in range(12):
        words = [TONES[i] for i in rng.integers(len(TONES), size=rng.integers(2, 6))]
        wave_N = np.concatenate([_silence(rng), *(_tone(hertz, rng) for _, hertz in words), _silence(rng)])
        path = folder / f"tone-{number:02d}.flac"
        soundfile.write(path, wave_N, 16000, subtype="PCM_16")
        utterances.append(
            Utterance(
                id=f"tone-{number:02d}",
                audio_filepath=str(path),
                duration=len(wave_N) / 16000,
                text=" ".join(word for word, _ in words),
                speaker=f"speaker-{number % 2}",
            )
        )
    return utterances


@pytest.fixture(scope="session")
def tone_shards(tone_utterances: list[Utterance], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """These utterances in three tars. Read only: tests that change shards copy them."""
    shards = write_shards(tone_utterances, tmp_path_factory.mktemp("tone-shards"), shard_seconds=7.0)
    assert len(shards) == 3
    return shards


def _silence(rng: np.random.Generator) -> np.ndarray:
    return 0.001 * rng.standard_normal(int(16000 * rng.uniform(0.1, 0.2)))


def _tone(hertz: float, rng: np.random.Generator) -> np.ndarray:
    n = int(16000 * rng.uniform(0.25, 0.35))
    phase_N = 2 * np.pi * hertz * np.arange(n) / 16000
    return 0.3 * np.hanning(n) * np.sin(phase_N) + 0.001 * rng.standard_normal(n)


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    """A server that speaks S3, and in the environment what leads there."""
    with s3_server() as endpoint, pytest.MonkeyPatch.context() as patch:
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint}.items():
            patch.setenv(name, value)
        patch.setattr("asr_kd.core.retries.RETRIES", RetryPolicy(first_wait_s=0.001))
        yield endpoint


@pytest.fixture
def bucket(s3_endpoint: str) -> str:
    """The URL of an empty bucket."""
    import boto3  # most tests have no use for it

    name = f"bucket-{uuid.uuid4().hex}"
    boto3.client("s3", endpoint_url=s3_endpoint).create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture
def on_the_way(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """Call it with `fault(method, path)`: from then on requests take a way where that goes wrong. Gives their log."""
    with ExitStack() as stack:

        def take(fault: Callable[[str, str], str | None] = lambda method, path: None) -> list[str]:
            log: list[str] = []

            def logged(method: str, path: str) -> str | None:
                log.append(f"{method} {path}")
                return fault(method, path)

            monkeypatch.setenv("AWS_ENDPOINT_URL", stack.enter_context(faulty(s3_endpoint, logged)))
            return log

        yield take
