"""Distillation losses by their name in a config; docs/extending.md shows how to add one."""

from asr_kd.distill.losses.distillation_loss import DistillationLoss
from asr_kd.distill.losses.fsp import FSPLoss
from asr_kd.distill.losses.hidden_states import FeatureLoss
from asr_kd.distill.losses.kd import KDLoss
from asr_kd.distill.losses.rkd import RKDLoss
from asr_kd.distill.losses.self_distillation import SelfDistillationLoss
from asr_kd.distill.losses.spkd import SPKDLoss

KD_LOSSES: dict[str, type[DistillationLoss]] = {
    "kd": KDLoss,
    "hidden_states": FeatureLoss,
    "spkd": SPKDLoss,
    "rkd": RKDLoss,
    "fsp": FSPLoss,
    "self_distillation": SelfDistillationLoss,
}
