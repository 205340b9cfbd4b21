"""The stress run of the catalogue on a small count: it runs, and it opens what it wrote."""

import json
import subprocess
import sys
from pathlib import Path


def test_a_catalogue_of_synthetic_shards_opens() -> None:
    script = Path(__file__).resolve().parent / "scale_catalogue.py"
    command = [sys.executable, script, "--shards", "1500", "--utterances", "4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["shards"] == 1500 and found["megabytes"] < 1
