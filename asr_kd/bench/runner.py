"""What all verbs of `asr-kd bench` do around measuring: check counts, give a folder, report."""

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from asr_kd.core.files import write_json
from asr_kd.core.terminal import show


def check_counts(config: Any, whole: Sequence[str], above_0: Sequence[str]) -> None:
    """ValueError names an option that is given and below 1, or not above 0."""
    for name in whole:
        if getattr(config, name) is not None and getattr(config, name) < 1:
            raise ValueError(f"--{name} {getattr(config, name)}: at least 1 is needed")
    for name in above_0:
        if not getattr(config, name) > 0:
            raise ValueError(f"--{name} {getattr(config, name):g}: it must be above 0")


def report(
    config: Any,
    measure: Callable[[Any, Path], dict[str, Any]],
    describe: Callable[[dict[str, Any]], list[str]],
) -> None:
    """Measure in a folder that goes away; print lines for people (not with --json) and one of JSON; write --out."""
    with tempfile.TemporaryDirectory(prefix="asr-kd-bench-") as folder:
        result = measure(config, Path(folder))
    if not config.json:
        show(*describe(result))
    if config.out is not None:
        write_json(config.out, result)
    show(json.dumps(result))
