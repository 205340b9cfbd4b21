"""The page of `asr-kd export --web` in Chromium against `asr-kd transcribe` of the export:

    python tests/stress/web.py EXPORT_DIR PAGE_DIR AUDIO... [--microphone]

Each file is given to the page as if it were dropped there; with --microphone, it is heard through a microphone instead,
preceded by half a second of its own first 0.1 s and followed by two. Prints one line of JSON: words, how many of them
are others than those of transcribe, files whose words are all the same, and the page's real-time factor (of all files).
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import jiwer
import numpy as np
import soundfile
from playwright.sync_api import Page, expect

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "helpers"))
from browser import open_page, served

import asr_kd
from asr_kd.corpora.audio import SAMPLE_RATE, read_audio

SLOW_MS = 600_000


def ready(page: Page, url: str) -> None:
    """Load the page and its model."""
    page.goto(url)
    expect(page.locator("#file")).to_be_enabled(timeout=SLOW_MS)


def shown(page: Page) -> tuple[str, float, float]:
    """Words, seconds of audio and of work."""
    expect(page.locator("#status")).to_contain_text("Done", timeout=SLOW_MS)
    words = [word.get_attribute("data-word") or "" for word in page.locator(".utterance .word").all()]
    seconds, factor = (float(page.locator(f"#{name}").inner_text().split()[0]) for name in ("seconds", "speed"))
    return " ".join(words), seconds, seconds * factor


def heard(url: str, file: Path) -> tuple[str, float, float]:
    """The same through the microphone of a browser of its own."""
    wave_N = read_audio(file)
    noise_N = np.concatenate([wave_N[:1600], wave_N[:1600][::-1]])
    around = [np.resize(noise_N, seconds * SAMPLE_RATE // 2) for seconds in (1, 4)]
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "microphone.wav"
        soundfile.write(sound, np.concatenate([around[0], wave_N, around[1]]), SAMPLE_RATE)
        with open_page(microphone=sound) as page:
            ready(page, url)
            page.click("#microphone")
            page.wait_for_timeout(1000 * soundfile.info(sound).duration)
            page.click("#microphone")
            return shown(page)


def main() -> int:
    """Compare; exit code 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path)
    parser.add_argument("page", type=Path)
    parser.add_argument("audio", type=Path, nargs="+")
    parser.add_argument("--microphone", action="store_true")
    args = parser.parse_args()
    transcriber = asr_kd.load(args.export)
    expected = []
    for file in args.audio:
        stream = transcriber.stream()
        ended = [*stream.accept(read_audio(file)), *stream.finish()]
        expected.append(" ".join(transcript.text for transcript in ended))
    with served(args.page) as url:
        if args.microphone:
            found = [heard(url, file) for file in args.audio]
        else:
            with open_page() as page:
                ready(page, url)
                found = [(page.set_input_files("#file", file), shown(page))[1] for file in args.audio]
    compared = jiwer.process_words(expected, [words for words, _, _ in found])
    result = {
        "files": len(found),
        "files_with_the_same_words": sum(e == words for e, (words, _, _) in zip(expected, found, strict=True)),
        "words": sum(len(text.split()) for text in expected),
        "words_that_differ": compared.substitutions + compared.deletions + compared.insertions,
        "real_time_factor": round(sum(work for _, _, work in found) / sum(s for _, s, _ in found), 4),
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
