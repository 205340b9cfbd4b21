#!/usr/bin/env python3
"""A teacher with many classes, from one with few: the same encoder, a new output layer over finer senones.

    .venv/bin/python tests/stress/many_senones.py --teacher exp/an4/teacher --alignments exp/an4/realigned/labelled \\
        exp/an4/reference_alignments/unlabelled_references --shards exp/an4/shards/labelled \\
        exp/an4/references/unlabelled_references --leave-out 1 --out many

For measuring how many bytes the posteriors of a large inventory take (tools/sidecar_table.py) where none was trained:
each senone is split by the senones before and after it wherever these three have --min-count frames in the alignments,
else by the one before, else not: as wider contexts split the leaves of a tree. The encoder stays as it is and only the
output layer learns, so this says something about sizes, and nothing about what such a teacher is good for. Its
inventory cannot be decoded with.
--leave-out N: nothing is learnt from the first N shards of each folder but the first, for measuring on.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from asr_kd.core.runtime import set_threads
from asr_kd.inventory.senones import Senones
from asr_kd.models.acoustic import build_model
from asr_kd.models.checkpoint import load_model, save_model
from asr_kd.shards.reader import find_shards, open_shard
from asr_kd.targets.sidecar import read_sidecar, sidecar_path
from asr_kd.teachers.inference import Inference, pad_waves

UTTERANCES_PER_BATCH = 16
FRAMES_PER_STEP = 1024
NOBODY, ANYBODY = -1, -2
HELD_OUT = 20  # of each so many frames in a row one hundred is held out, to see what was learnt


def hidden_and_states(
    model: nn.Module, tars: Sequence[Path], folder: Path
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Of each aligned utterance its hidden layer (T, H) and its senones (T,)."""
    inference, hidden, states = Inference(model, torch.device("cpu"), "float32"), [], []
    for tar in tars:
        shard = open_shard(tar)
        column = read_sidecar(sidecar_path(folder, shard), shard)[0].column("states").to_pylist()
        rows = [r for r in range(len(shard.entries)) if column[r] is not None]
        for start in range(0, len(rows), UTTERANCES_PER_BATCH):
            batch = rows[start : start + UTTERANCES_PER_BATCH]
            with torch.inference_mode():
                x_BTF, frames_B = inference.frontend(*pad_waves([shard.audio(r) for r in batch]))
                x_BTF = (x_BTF - model.feature_mean_F) / model.feature_std_F
                inside_BT1 = (torch.arange(x_BTF.shape[1]) < frames_B[:, None])[..., None]
                h_BTH = model.encoder(torch.where(inside_BT1, x_BTF, 0), frames_B).numpy()
            hidden += [h_BTH[i, :n] for i, n in enumerate(frames_B.tolist())]
            states += [np.array(column[r]) for r in batch]
        print(tar, file=sys.stderr, flush=True)
    return hidden, states


def in_context(states_T: np.ndarray) -> list[tuple[int, int, int]]:
    """Of each frame its senone and its neighbours, the next ones that differ; NOBODY at the edges."""
    states, neighbours = states_T.tolist(), []
    for run in (states, states[::-1]):
        seen, found = NOBODY, []
        for t, state in enumerate(run):
            if t and state != run[t - 1]:
                seen = run[t - 1]
            found.append(seen)
        neighbours.append(found)
    return list(zip(states, neighbours[0], neighbours[1][::-1], strict=True))


def tied(frames: list[tuple[int, int, int]], min_count: int) -> list[tuple[int, int, int]]:
    """The class of each frame: its context as far as there are enough frames of it."""
    for keep in (2, 1):
        counts = Counter(frames)
        frames = [f if counts[f] >= min_count else (*f[:keep], *[ANYBODY] * (3 - keep)) for f in frames]
    return frames


def main() -> int:
    """Split, learn, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--shards", nargs="+", type=Path, required=True, help="folders of shards")
    parser.add_argument("--alignments", nargs="+", type=Path, required=True, help="their alignments, in the same order")
    parser.add_argument("--leave-out", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--min-count", type=int, default=20, help="frames of a class (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    set_threads(1)
    torch.manual_seed(0)
    model = load_model(args.teacher).eval()
    hidden, frames = [], []
    for number, (shards, folder) in enumerate(zip(args.shards, args.alignments, strict=True)):
        tars = find_shards(shards)[args.leave_out if number else 0 :]
        h, states = hidden_and_states(model, tars, folder)
        hidden += h
        frames += [frame for s in states for frame in in_context(s)]
    frames = tied(frames, args.min_count)
    names = sorted(set(frames))
    number_of = {name: i for i, name in enumerate(names)}
    y_N = torch.tensor([number_of[frame] for frame in frames])
    x_NH = torch.from_numpy(np.concatenate(hidden))
    assert len(x_NH) == len(y_N)
    kept_N = (torch.arange(len(y_N)) // 100) % HELD_OUT != 0
    train_N, held_N = kept_N.nonzero()[:, 0], (~kept_N).nonzero()[:, 0]
    phones = ["SIL", *(f"{before}-{state}+{after}" for state, before, after in names[1:])]
    inventory = Senones.monophone(phones, states=1, frame_shift_s=model.inventory.frame_shift_s)
    wide = build_model(model.config, inventory, model.frontend)
    old = {name: value for name, value in model.state_dict().items() if not name.startswith("output.")}
    old["log_prior_C"] = (torch.bincount(y_N, minlength=len(names)).float() / len(y_N)).log()
    wide.load_state_dict(old, strict=False)
    optimiser = torch.optim.Adam(wide.output.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, args.epochs * (len(train_N) // FRAMES_PER_STEP + 1))
    for epoch in range(args.epochs):
        for index_N in train_N[torch.randperm(len(train_N))].split(FRAMES_PER_STEP):
            loss = nn.functional.cross_entropy(wide.output(x_NH[index_N]), y_N[index_N])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        with torch.inference_mode():
            logits_NC = wide.output(x_NH[held_N])
            held = nn.functional.cross_entropy(logits_NC, y_N[held_N])
            right = (logits_NC.argmax(1) == y_N[held_N]).float().mean()
        print(f"epoch {epoch}: loss {loss:.3f}, held out {held:.3f}, right {right:.3f}", file=sys.stderr, flush=True)
    save_model(args.out, wide, {"of": str(args.teacher), "what": "output layer over finer senones"})
    print(f"{args.out}: {len(names)} classes from {model.inventory.num_classes}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
