"""Damaged containers of audio: a short run of the fuzzer, in a process of its own as it could crash."""

import json
import subprocess
import sys
from pathlib import Path


def test_no_damage_to_a_container_gives_other_audio_or_a_crash():
    script = Path(__file__).with_name("fuzz_containers.py")
    done = subprocess.run([sys.executable, str(script), "--count", "300"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr[-500:]
    result = json.loads(done.stdout)
    assert result["wrong"] == {} and len(result["refused"]) == 5
