"""The kinds of knowledge by the name that a config calls them; docs/extending.md adds one."""

from asr_kd.distill.losses.distillation_loss import DistillationLoss
from asr_kd.distill.losses.fsp import FSPLoss
from asr_kd.distill.losses.hidden_states import FeatureLoss
from asr_kd.distill.losses.kd import KDLoss
from asr_kd.distill.losses.rkd import RKDLoss
from asr_kd.distill.losses.self_distillation import SelfDistillationLoss
from asr_kd.distill.losses.spkd import SPKDLoss

KD_LOSSES: dict[str, type[DistillationLoss]] = {
    "response": KDLoss,
    "hidden": FeatureLoss,
    "similarity": SPKDLoss,
    "relations": RKDLoss,
    "flow": FSPLoss,
    "deeper": SelfDistillationLoss,
}
