"""A real browser for tests: Debian's Chromium, driven by Playwright for Python."""

import functools
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import scipy.signal


@contextmanager
def open_page(microphone: Path | None = None, expected_errors: Sequence[str] = (), **context):
    """A page of headless Chromium. microphone: a WAV file that it hears once; context: options of the page's context.

    Skips where the browser or Playwright is missing. Errors of the page's scripts fail the test, save those with one
    of `expected_errors` in them.
    """
    program = shutil.which("chromium")
    if not program:
        pytest.skip("no chromium on the PATH (Debian's package chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    arguments = ["--no-sandbox"]  # which refuses root, as whom CI runs
    if microphone:
        arguments += [
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
            f"--use-file-for-fake-audio-capture={microphone}%noloop",
        ]
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=program, args=arguments)
        try:
            page = browser.new_context(**context).new_page()
            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
            yield page
            assert not [error for error in errors if not any(part in error for part in expected_errors)]
        finally:
            browser.close()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The URL of a plain web server for the files of a folder."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def likeness(given_N: np.ndarray, wave_N: np.ndarray, part: int = 1600) -> float:
    """How like what a page got from its microphone is to the file that the microphone heard, at most 1.

    Median over the louder half of the parts of `given_N`: largest correlation with a part of `wave_N`. Not of the whole
    at once: a busy browser drops samples of its microphone.
    """
    parts_KN = given_N[: len(given_N) // part * part].reshape(-1, part).astype(np.float64)
    loudness_K = np.linalg.norm(parts_KN, axis=1)
    energy_N = scipy.signal.fftconvolve(wave_N**2, np.ones(part), "valid")
    return float(
        np.median(
            [
                (scipy.signal.correlate(wave_N, part_N, "valid") / np.sqrt(energy_N)).max() / loudness
                for part_N, loudness in zip(parts_KN, loudness_K, strict=True)
                if loudness > np.median(loudness_K)
            ]
        )
    )
