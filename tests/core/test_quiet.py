"""Chatter of C libraries does not reach stderr; our own messages do."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

PROGRAM = """
import os, sys, threading
from asr_kd.core.quiet import quiet_stderr
from asr_kd.core.terminal import say
inside, told = threading.Barrier(2), threading.Barrier(2)
def other():
    with quiet_stderr():
        inside.wait(); told.wait()
thread = threading.Thread(target=other); thread.start(); inside.wait()
os.write(2, b"chatter\\n"); say("ours")
child = os.fork()
if child == 0:
    os.write(2, b"child\\n"); os._exit(0)
os.waitpid(child, 0)
told.wait(); thread.join()
with quiet_stderr(), quiet_stderr():
    os.write(2, b"chatter\\n")
os.write(2, b"after\\n")
"""


def test_chatter_is_dropped_and_what_we_say_is_heard() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert ended.stderr == "ours\nchild\nafter\n"


def test_damaged_mp3_is_told_in_our_words_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(32000), 16000)
    data = bytearray(path.read_bytes())
    data[600:2000:7] = b"\xff" * len(data[600:2000:7])
    path.write_bytes(data)
    program = f"from asr_kd.corpora.audio import read_audio\ntry: read_audio({str(path)!r})\nexcept ValueError: pass"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    loud = f"import soundfile\ntry: soundfile.read({str(path)!r})\nexcept soundfile.LibsndfileError: pass"
    assert "MPEG" in subprocess.run([sys.executable, "-c", loud], capture_output=True, text=True, check=True).stderr
