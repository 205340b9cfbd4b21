"""`asr-kd VERB ...`: one verb a station of the data's way. Verbs are imported when they are called."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from asr_kd import __version__

VERBS = {
    "prepare": ("asr_kd.corpora.prepare", "corpus -> manifests"),
    "shard": ("asr_kd.shards.shard", "manifests -> WebDataset tars"),
    "inspect": ("asr_kd.report.inspect", "what is in a manifest, shard, sidecar or checkpoint"),
    "tokens": ("asr_kd.inventory.make_tokens", "text -> characters or pieces of words, for CTC"),
    "align": ("asr_kd.align.align", "labelled shards -> senones and frame alignments"),
    "train": ("asr_kd.train.train", "labelled shards + alignments or tokens -> teacher (or a labelled-only student)"),
    "label": ("asr_kd.label.label", "unlabelled shards + teacher -> soft-target sidecars"),
    "filter": ("asr_kd.transcripts.filter", "hypotheses -> list of the utterances to learn from"),
    "distill": ("asr_kd.distill.distill", "shards + sidecars -> student"),
    "quantise": ("asr_kd.models.quantise", "model -> the same with weights of eight bits"),
    "graph": ("asr_kd.graph.graph", "lexicon + text + senones -> decoding graph"),
    "tune": ("asr_kd.decode.tune", "labelled held-out shards + model + graph -> acoustic scale"),
    "decode": ("asr_kd.decode.decode", "shards + model + graph -> hypotheses"),
    "score": ("asr_kd.evaluation.score", "hypotheses + references -> WER with intervals"),
    "report": ("asr_kd.report.report", "scores -> results.json and report.html"),
    "results": ("asr_kd.report.results", "runs of several seeds -> RESULTS.md"),
    "bench": ("asr_kd.bench.bench", "rates of this machine, measured"),
    "experiment": ("asr_kd.experiments.experiment", "a grid of systems -> the table of what each brings"),
    "plan": ("asr_kd.bench.plan", "hours + a rate -> time, machines, bytes and cost of labelling"),
}


SHARE_THEIR_OUTPUT = ("label",)
"""Any number of runs may write into one folder: they check their settings and lease their work."""
FILE_OUTPUTS = ("filter", "results", "bench")
"""--out is a file."""


def build_parser(verb: str | None = None) -> argparse.ArgumentParser:
    """The parser; only the arguments of `verb` are filled in, so that `--help` answers at once."""
    from asr_kd.core.arguments import ArgumentParser

    parser = ArgumentParser(
        prog="asr-kd",
        description="Semi-supervised speech recognition: a teacher that labels and a student that learns from it.",
        epilog="Each verb has its own help: asr-kd VERB --help. Recipes chain them: recipes/quickstart/run.sh.",
    )
    parser.add_argument("--version", action="version", version=f"asr_kd {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, (module, purpose) in VERBS.items():
        sub = verbs.add_parser(
            name, help=purpose, description=purpose, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name == verb:
            station = importlib.import_module(module)
            sub.description = f"{purpose}\n\n{(station.__doc__ or '').strip()}"
            station.add_arguments(sub)
            sub.set_defaults(run=station.run)
    return parser


def output_lock(args: argparse.Namespace, argv: Sequence[str]) -> AbstractContextManager:
    """What keeps two commands from writing into one --out. Nothing where nothing is written."""
    from asr_kd.core.output_lock import OutputLock

    out = getattr(args, "out", None)
    if out is None or args.verb in SHARE_THEIR_OUTPUT or getattr(args, "dry_run", False):
        return nullcontext()
    is_file = args.verb in FILE_OUTPUTS or (args.verb == "quantise" and out.suffix == ".safetensors")
    return OutputLock(Path(out), ["asr-kd", *argv], is_file)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb. 0: done; 2: the user's mistake, told in one line; 130: interrupted."""
    from asr_kd.core.renames import COMMANDS
    from asr_kd.core.terminal import explain, is_memory_error, say

    argv = list(sys.argv[1:] if argv is None else argv)
    verb = next((a for a in argv if a in VERBS), None)
    if argv and argv[0] in COMMANDS:
        say(f"asr-kd {argv[0]}: since version 0.3 it is called asr-kd {COMMANDS[argv[0]]}")
        return 2
    args = build_parser(verb).parse_args(argv)
    from asr_kd.core.files import use_own_temporary_folder
    from asr_kd.core.processes import die_with_parent
    from asr_kd.core.runtime import enable_sigaltstack  # imports torch: not for --help

    die_with_parent()
    use_own_temporary_folder()
    enable_sigaltstack()
    try:
        with output_lock(args, argv):
            return args.run(args) or 0
    except (ValueError, OSError, MemoryError, RuntimeError) as e:
        if not isinstance(e, (ValueError, OSError)) and not is_memory_error(e):
            raise
        say(f"asr-kd {args.verb}: {explain(e)}")
        return 2
    except KeyboardInterrupt:
        say(f"asr-kd {args.verb}: interrupted; what was finished is kept, run the same command to go on.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
