"""The modes of distillation by the name that a config calls them, and who listens in each."""

from asr_kd.distill.online_teachers.frozen import FrozenTeacher
from asr_kd.distill.online_teachers.mean_teacher import MeanTeacher
from asr_kd.distill.online_teachers.online_teacher import OnlineTeacher
from asr_kd.distill.online_teachers.peer import PeerTeacher
from asr_kd.distill.online_teachers.snapshot import SnapshotTeacher

ONLINE_TEACHERS: dict[str, type[OnlineTeacher]] = {
    "offline": FrozenTeacher,
    "online": PeerTeacher,
    "average": MeanTeacher,
    "snapshot": SnapshotTeacher,
}
