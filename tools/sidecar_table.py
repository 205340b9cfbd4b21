#!/usr/bin/env python3
"""What should a teacher's posteriors be stored as? Size, loss and speed of several codes on the same posteriors.

    .venv/bin/python tools/sidecar_table.py an4 --shards exp/an4/shards/unlabelled --teacher exp/an4/teacher --out table

The teacher runs once; every code then encodes and decodes each shard. Writes OUT/NAME.json and OUT/NAME.md:

  MB/h, bytes/frame   of the whole file of a shard (raw codes: of their bytes), per hour of speech and per frame
  classes             kept a frame
  mass                of the full posterior on the classes that are kept, mean over the frames
  KL                  of the full posterior and what is read back, its tail spread evenly over the classes not kept
                      (nats a frame: mean, 95th percentile, largest); `stored KL` takes the tail as one class, as the
                      loss does: what the code itself costs
  encode, decode      seconds of speech per second of one core's time; from log-posteriors to bytes, and from bytes to
                      the FrameTargets of all rows; the best of --repeats

With --graph the posteriors go through the lattices of a search first, as `asr-kd label --graph` does.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sidecar_codes import Code, Mvq, candidates

from asr_kd.core.files import write_json
from asr_kd.core.runtime import set_threads
from asr_kd.graph.graph import load_graph
from asr_kd.graph.scales import DecodingScales
from asr_kd.label.lattices import LatticeConfig, LatticePosteriors
from asr_kd.shards.reader import find_shards, open_shard
from asr_kd.targets.frame_targets import FrameTargets
from asr_kd.teachers.inference import Inference, pad_waves
from asr_kd.teachers.registry import load_models

UTTERANCES_PER_BATCH = 16
LEAST = 1e-12
"""Read-back probabilities are taken as no smaller, where a code gives a class none."""


@dataclass
class ShardPosteriors:
    """A shard's log-posteriors, and the hidden layers that they were made from."""

    seconds: float
    log_p: list[np.ndarray]
    hidden: list[np.ndarray]


@dataclass
class Sums:
    """What is added up over the shards for one code."""

    seconds: float = 0.0
    bytes: int = 0
    classes: int = 0
    mass: float = 0.0
    encode_s: float = 0.0
    decode_s: float = 0.0
    kl: list[np.ndarray] = field(default_factory=list)
    stored_kl: list[np.ndarray] = field(default_factory=list)

    def row(self, name: str) -> dict[str, Any]:
        """A line of the table."""
        kl_N = np.concatenate(self.kl)
        frames = len(kl_N)
        return {
            "code": name,
            "mb_per_hour": self.bytes / 1e6 / (self.seconds / 3600),
            "bytes_per_frame": self.bytes / frames,
            "classes": self.classes / frames,
            "mass": self.mass / frames,
            "kl_mean": float(kl_N.mean()),
            "kl_95": float(np.percentile(kl_N, 95)),
            "kl_max": float(kl_N.max()),
            "stored_kl": float(np.concatenate(self.stored_kl).mean()),
            "encode_x": self.seconds / self.encode_s,
            "decode_x": self.seconds / self.decode_s,
        }


class Asker:
    """Asks a teacher, alone or an ensemble, for posteriors and hidden layers."""

    def __init__(self, teachers: Sequence[Path], lattices: Callable[[Inference], LatticePosteriors] | None) -> None:
        self.inference = Inference(load_models(teachers), torch.device("cpu"), "float32")
        model: Any = self.inference.model
        self.members = list(model.members) if hasattr(model, "members") else [model]
        self._lattices = lattices(self.inference) if lattices else None
        self._hidden: list[np.ndarray] = []
        for member in self.members:
            member.output.register_forward_pre_hook(lambda _, given: self._hidden.append(given[0].detach().numpy()))

    def ask(self, tar: Path) -> ShardPosteriors:
        """Log-posteriors and hidden layers of every utterance of a shard that can be read."""
        shard = open_shard(tar)
        log_p, hidden = [], []
        for start in range(0, len(shard.entries), UTTERANCES_PER_BATCH):
            waves = [shard.audio(r) for r in range(start, min(start + UTTERANCES_PER_BATCH, len(shard.entries)))]
            self._hidden.clear()
            with torch.inference_mode():
                x_BTF, frames_B = self.inference.frontend(*pad_waves(waves))
                log_p_BTC = self.inference.log_posteriors(x_BTF, frames_B).numpy()
            for i, n in enumerate(frames_B.tolist()):
                log_p.append(log_p_BTC[i, :n] if self._lattices is None else self._lattices(log_p_BTC[i, :n]))
                hidden.append(np.concatenate([h_BTH[i, :n] for h_BTH in self._hidden], axis=1))
        return ShardPosteriors(shard.seconds, log_p, hidden)

    def posteriors(self, hidden_TH: np.ndarray) -> np.ndarray:
        """Log-posteriors (T, C) that hidden layers lead to."""
        parts, first = [], 0
        with torch.inference_mode():
            for member in self.members:
                width = member.output.in_features
                h_TH = torch.from_numpy(np.ascontiguousarray(hidden_TH[:, first : first + width], np.float32))
                parts.append(member.output(h_TH).log_softmax(-1))
                first += width
            return (torch.stack(parts).logsumexp(0) - np.log(len(parts))).numpy()


def measure(code: Code, shard: ShardPosteriors, repeats: int, sums: Sums) -> None:
    """Encode and decode a shard, and add what came of it to `sums`."""
    given = shard.hidden if code.of_hidden else shard.log_p
    encode_s, data = best_of(repeats, lambda: code.encode(given))
    decode_s, rows = best_of(repeats, lambda: list(code.decode(data)))
    sums.seconds += shard.seconds
    sums.bytes += len(data)
    sums.encode_s += encode_s
    sums.decode_s += decode_s
    for log_p_TC, row in zip(shard.log_p, rows, strict=True):
        kl_T, stored_kl_T, mass_T = compare(np.exp(log_p_TC.astype(np.float64)), row)
        sums.kl.append(kl_T)
        sums.stored_kl.append(stored_kl_T)
        sums.mass += float(mass_T.sum())
        sums.classes += int((row.ids_TK >= 0).sum())


def best_of(repeats: int, work: Callable[[], Any]) -> tuple[float, Any]:
    """The least processor time of one core that `work` took, and its result. Once more at first, for the compiler."""
    result = work()
    times = []
    for _ in range(repeats):
        began = time.process_time()
        result = work()
        times.append(time.process_time() - began)
    return min(times), result


def compare(p_TC: np.ndarray, row: FrameTargets) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """KL with the tail spread evenly, KL with the tail as one class, and the mass on kept classes; each (T,)."""
    frames, classes = p_TC.shape
    filled_TK = row.ids_TK >= 0
    ids_TK = np.where(filled_TK, row.ids_TK, classes)
    kept_TC, q_TC = np.zeros((frames, classes + 1), bool), np.zeros((frames, classes + 1))
    np.put_along_axis(kept_TC, ids_TK, True, 1)
    np.put_along_axis(q_TC, ids_TK, np.exp(row.log_p_TK.astype(np.float64)), 1)
    kept_TC, q_TC, tail_T = kept_TC[:, :-1], q_TC[:, :-1], np.exp(row.log_tail_T.astype(np.float64))
    even_T = tail_T / np.maximum((~kept_TC).sum(1), 1)
    mass_T = np.where(kept_TC, p_TC, 0).sum(1)
    terms_TC = p_TC * np.log(np.maximum(p_TC, 1e-300) / np.maximum(np.where(kept_TC, q_TC, even_T[:, None]), LEAST))
    rest_T = np.where(kept_TC, 0, p_TC).sum(1)
    rest_kl_T = rest_T * np.log(np.maximum(rest_T, 1e-300) / np.maximum(tail_T, LEAST))
    return terms_TC.sum(1), np.where(kept_TC, terms_TC, 0).sum(1) + rest_kl_T, mass_T


def markdown(name: str, about: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The table as text."""
    lines = [
        f"{name}: {about['hours']:.2f} h, {about['frames']} frames, {about['classes']} classes, entropy of the "
        f"posteriors {about['entropy']:.2f} nats, {about['posteriors']}.",
        "",
        "| code | MB/h | bytes/frame | classes | mass | KL mean | KL 95% | KL max | stored KL | encode x | decode x |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for r in rows:
        lines.append(
            f"| {r['code']} | {r['mb_per_hour']:.3g} | {r['bytes_per_frame']:.3g} | {r['classes']:.1f} "
            f"| {r['mass']:.4f} | {r['kl_mean']:.4f} | {r['kl_95']:.4f} | {r['kl_max']:.2f} | {r['stored_kl']:.4f} "
            f"| {r['encode_x']:,.0f} | {r['decode_x']:,.0f} |"
        )
    return "\n".join(lines) + "\n"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the table")
    parser.add_argument("--shards", nargs="+", type=Path, required=True)
    parser.add_argument("--teacher", nargs="+", type=Path, required=True, help="several answer with their mean")
    parser.add_argument("--graph", type=Path, help="put the posteriors through the lattices of its search")
    parser.add_argument("--decoding-scales", type=Path, help="with --graph: what `asr-kd tune` wrote")
    parser.add_argument("--lattice-weight", type=float, default=LatticeConfig.weight, help="default: %(default)s")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the posteriors, before all else")
    parser.add_argument("--most-shards", type=int, default=2, help="measured on so many (default: %(default)s)")
    parser.add_argument("--codebook-shards", type=int, default=1, help="MVQ learns on so many others; 0 leaves it out")
    parser.add_argument("--repeats", type=int, default=5, help="of which the quickest counts (default: %(default)s)")
    parser.add_argument(
        "--only", nargs="*", default=[], metavar="WORD", help="only codes whose names hold one of these"
    )
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, print."""
    args = parse(arguments)
    set_threads(1)

    def lattices(teacher: Inference) -> LatticePosteriors:
        graph = load_graph(args.graph)
        graph.check(teacher.model.inventory, str(args.teacher[0]))
        config = LatticeConfig(DecodingScales.load(args.scales) if args.scales else DecodingScales(), args.graph_weight)
        return LatticePosteriors(graph, teacher.model.log_prior_C.numpy(), config)

    asker = Asker(args.teacher, lattices if args.graph else None)
    tars = find_shards(*args.shards)
    measured = tars[: args.most_shards]
    codes = candidates()
    others = tars[args.most_shards : args.most_shards + args.codebook_shards]
    if others and not args.graph and args.temperature == 1:  # hidden layers know nothing of lattices
        print(f"codebooks: learning on {len(others)} other shards", file=sys.stderr, flush=True)
        codes.append(Mvq(np.concatenate([h for tar in others for h in asker.ask(tar).hidden]), asker.posteriors))
    codes = [code for code in codes if not args.only or any(word in code.name for word in args.only)]
    sums = {code.name: Sums() for code in codes}
    entropy = frames = 0.0
    for tar in measured:
        shard = asker.ask(tar)
        if args.temperature != 1:
            shard.log_p = [torch.from_numpy(x / args.temperature).log_softmax(-1).numpy() for x in shard.log_p]
        for log_p_TC in shard.log_p:
            entropy -= float((np.exp(log_p_TC) * np.maximum(log_p_TC, -100)).sum())
            frames += len(log_p_TC)
        for code in codes:
            measure(code, shard, args.repeats, sums[code.name])
            print(f"{tar.name}: {code.name}", file=sys.stderr, flush=True)
    made = f"temperature {args.temperature:g}, " if args.temperature != 1 else ""
    about = {
        "hours": sums[codes[0].name].seconds / 3600,
        "frames": int(frames),
        "classes": asker.inference.model.inventory.num_classes,
        "entropy": entropy / frames,
        "posteriors": made + ("through lattices" if args.graph else "the model's own"),
        "teacher": [str(path) for path in args.teacher],
        "shards": [str(path) for path in measured],
    }
    rows = [sums[code.name].row(code.name) for code in codes]
    table = markdown(args.name, about, rows)
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / f"{args.name}.json", {"name": args.name, **about, "rows": rows})
    (args.out / f"{args.name}.md").write_text(table)
    print(table)
    print(json.dumps({"name": args.name, "rows": len(rows)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
