"""Each measures one station on this machine and ends with one line of JSON on stdout; --json leaves the rest out.

asr-kd bench label --preset teacher-paper --minutes 10
asr-kd bench label exp/shards/unlabelled --teacher exp/teacher --out bench.json
asr-kd bench model exp/student --teacher exp/teacher
"""

import argparse

from asr_kd.bench import label, model
from asr_kd.bench.gpu import gpu

SUB_VERBS = {
    "label": (label, "the labelling job against the teacher's bare forward pass, and a plain loop"),
    "model": (model, "the bare forward pass of models against each other: size, real-time factor, ratios"),
    "gpu": (gpu, "everything on one GPU: agreement with a CPU, labelling and training against their ceilings"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-verb for each station that can be measured."""
    stations = parser.add_subparsers(dest="station", metavar="STATION", required=True)
    for name, (module, purpose) in SUB_VERBS.items():
        sub = stations.add_parser(
            name,
            help=purpose,
            description=f"{purpose}\n\n{(module.__doc__ or '').strip()}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(sub)


def run(args: argparse.Namespace) -> int:
    """The sub-verb."""
    module, _ = SUB_VERBS[args.station]
    return module.run(args)
