"""A small chain that knows the tones: senones, a model trained on them, a graph of their words."""

import pytest
import torch

from asr_kd.cli import main
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.inventory.registry import load_inventory
from asr_kd.models.acoustic import build_model
from asr_kd.models.checkpoint import save_model
from asr_kd.models.config import ModelConfig
from asr_kd.shards.reader import open_shard
from asr_kd.targets.frame_targets import AlignmentTargets
from asr_kd.teachers.inference import Inference

STEPS = 40


def run(*args):
    """Exit code of `asr-kd ARGS`."""
    return main([str(a) for a in args])


def fit(model, shards, alignments):
    """A few steps of gradient descent on all utterances at once: enough to tell tones apart."""
    torch.manual_seed(0)
    inference = Inference(model, torch.device("cpu"), "float32")
    opened = [open_shard(s) for s in shards]
    x_BTF, frames_B = inference.features([s.audio(row) for s in opened for row in range(len(s.entries))])
    targets = [t for s in opened for t in AlignmentTargets(alignments / s.path.parent.name, model.inventory).load(s)]
    ids_BT = torch.full(x_BTF.shape[:2], -1)
    for ids_T, target in zip(ids_BT, targets, strict=True):
        ids_T[: len(target.ids_TK)] = torch.from_numpy(target.ids_TK[:, 0])
    x_BTF = x_BTF.clone()
    model.set_normalisation(x_BTF[ids_BT >= 0].mean(0), x_BTF[ids_BT >= 0].std(0))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(STEPS):
        optimiser.zero_grad()
        logits_BTC = model(x_BTF, frames_B)
        torch.nn.functional.cross_entropy(logits_BTC.transpose(1, 2), ids_BT, ignore_index=-1).backward()
        optimiser.step()
    model.log_prior_C.copy_(
        (ids_BT[ids_BT >= 0].bincount(minlength=model.inventory.num_classes) + 1.0).log().log_softmax(-1)
    )


@pytest.fixture(scope="module")
def trained(tone_shards, tmp_path_factory):
    """A folder with senones (align/), a model that knows the tones (model/) and a graph of their words (graph/)."""
    root = tmp_path_factory.mktemp("trained")
    (root / "lexicon.txt").write_text("AH AH\nEE IY\nOH OW\n")
    (root / "text.txt").write_text("AH EE OH\nEE\nOH AH\n")
    small = ["flat_start.mono_iterations=8", "flat_start.mono_gaussians=160", "flat_start.triphone_iterations=0"]
    lexicon = ["--lexicon", root / "lexicon.txt"]
    assert run("align", *tone_shards, *lexicon, "--out", root / "align", "--set", *small) == 0
    assert run("graph", root / "text.txt", *lexicon, "--inventory", root / "align", "--out", root / "graph") == 0
    torch.manual_seed(0)
    model = build_model(ModelConfig(num_layers=1, hidden_size=16), load_inventory(root / "align"), FrontEndConfig())
    fit(model, tone_shards, root / "align")
    save_model(root / "model", model)
    return root
