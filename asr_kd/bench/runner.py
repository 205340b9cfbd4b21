"""What all verbs of `asr-kd bench` do around measuring: check counts, give a folder, report."""

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from asr_kd.core.files import write_json
from asr_kd.core.terminal import show


def check_counts(args: argparse.Namespace, whole: Sequence[str], above_0: Sequence[str]) -> None:
    """ValueError names an option that is given and below 1, or not above 0."""
    for name in whole:
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise ValueError(f"--{name} {getattr(args, name)}: at least 1 is needed")
    for name in above_0:
        if not getattr(args, name) > 0:
            raise ValueError(f"--{name} {getattr(args, name):g}: it must be above 0")


def report(
    args: argparse.Namespace,
    measure: Callable[[argparse.Namespace, Path], dict],
    describe: Callable[[dict], list[str]],
) -> int:
    """Measure in a folder that goes away; print lines for people (not with --json) and one of JSON; write --out."""
    with tempfile.TemporaryDirectory(prefix="asr-kd-bench-") as folder:
        result = measure(args, Path(folder))
    if not args.json:
        show(*describe(result))
    if args.out is not None:
        write_json(args.out, result)
    show(json.dumps(result))
    return 0
