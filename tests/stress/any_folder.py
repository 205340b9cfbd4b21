"""A folder of every format and reader, in three languages, a tenth of it damaged, goes from prepare to decode.

  python tests/stress/any_folder.py --out /tmp/any --utterances 12

Makes the corpora (synthetic voices of espeak-ng), then runs the commands that docs/corpora.md names, language by
language, without a line written by hand: prepare, segment, shard, tokens, train, label, distill, decode. Prints one
line of JSON: files and rows, those used, those listed with a reason, and those of which nothing is known: `lost`.
"""

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from any_corpora import LANGUAGES, Made, make_language

TINY = ["--set", "model.num_layers=1", "model.hidden_size=48", "train.max_frames_per_batch=500"]


@dataclass
class Counts:
    """Of all corpora."""

    made: int = 0
    damaged: int = 0
    used: int = 0
    listed: int = 0
    lost: list[str] = None  # type: ignore[assignment]
    damaged_used: list[str] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.lost, self.damaged_used = [], []


def run(*words: str | Path, fails: bool = False) -> None:
    """One command, as a user would give it."""
    command = [str(word) for word in words]
    print("$ asr-kd", *command, flush=True)
    done = subprocess.run(["asr-kd", *command], capture_output=True, text=True)
    if done.returncode and not fails:
        sys.exit(f"{done.stderr[-3000:]}\nasr-kd {' '.join(command)}: exit code {done.returncode}")


def rows(path: Path) -> list[dict[str, object]]:
    """The lines of a JSON file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def account(made: Made, manifests: Path, counts: Counts) -> None:
    """Each file or row of a corpus is in a manifest, or in rejected.jsonl with a reason."""
    used = {made.key(row) for path in manifests.glob("*.jsonl") if path.name != "rejected.jsonl" for row in rows(path)}
    listed = {made.key(row) for row in rows(manifests / "rejected.jsonl")}
    counts.made += len(made.items)
    counts.damaged += len(made.damaged)
    counts.used += len(used & made.items)
    counts.listed += len(listed & made.items - used)
    counts.lost += [f"{made.reader}: {item}" for item in sorted(made.items - used - listed)]
    counts.damaged_used += [f"{made.reader}: {item}" for item in sorted(made.damaged & used)]


def chain(language: str, corpora: list[Made], out: Path, counts: Counts) -> dict[str, float]:
    """From corpora to hypotheses: how many there are, and their words, which say only that some came out."""
    for made in corpora:
        manifests = out / "manifests" / made.name
        taken = [*made.options, "--language", language, "--name", made.name, "--max-skipped", "0.6"]
        run("prepare", made.reader, made.root, *taken, "--out", manifests)
        account(made, manifests, counts)
        if made.is_long:
            run("segment", manifests / "unlabelled.jsonl", "--out", out / "segments" / made.name)
            manifests = out / "segments" / made.name
        parts = [p for part in ("labelled", "dev", "unlabelled", "test") if (p := manifests / f"{part}.jsonl").exists()]
        run("shard", *parts, "--name", made.name, "--out", out / "shards" / made.name)
    part = lambda name: sorted((out / "shards").glob(f"*/{name}"))
    text = sorted((out / "manifests").glob("*/labelled.jsonl"))
    run("tokens", *text, "--type", "characters", "--out", out / "tokens")
    both = ["--dev", *part("dev"), "--tokens", out / "tokens", *TINY]
    run("train", *part("labelled"), *both, "--set", "epochs=30", "--out", out / "teacher")
    run("graph", *text, "--inventory", out / "tokens", "--out", out / "graph")
    run("label", *part("unlabelled"), "--teacher", out / "teacher", "--out", out / "targets")
    run(
        *(
            "distill",
            "--unlabelled",
            *part("unlabelled"),
            "--targets",
            out / "targets",
            "--labelled",
            *part("labelled"),
        ),
        *(
            "--teacher",
            out / "teacher",
            *both,
            "--set",
            "schedule.epochs=8",
            "schedule.unlabelled_sub_epochs=1",
            "--out",
            out / "student",
        ),
    )
    run("decode", *part("test"), "--model", out / "student", "--graph", out / "graph", "--out", out / "decode")
    hypotheses = rows(out / "decode/hyp.jsonl")
    return {"hypotheses": len(hypotheses), "words": sum(len(str(h.get("text", "")).split()) for h in hypotheses)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="output folder; an old one is removed")
    parser.add_argument("--utterances", type=int, default=12, help="in each corpus (default: 12)")
    parser.add_argument("--languages", nargs="+", choices=LANGUAGES, default=list(LANGUAGES))
    arguments = parser.parse_args()
    shutil.rmtree(arguments.out, ignore_errors=True)
    counts = Counts()
    decoded = {}
    for language in arguments.languages:
        corpora = make_language(language, arguments.out / "data" / language, arguments.utterances)
        decoded[language] = chain(language, corpora, arguments.out / language, counts)
    print(json.dumps({"what": "any_folder", **vars(counts), "decoded": decoded}, ensure_ascii=False))
    sys.exit(bool(counts.lost or counts.damaged_used))


if __name__ == "__main__":
    main()
