"""Online teachers by the mode that uses them."""

from asr_kd.distill.online_teachers.frozen import FrozenTeacher
from asr_kd.distill.online_teachers.mean_teacher import MeanTeacher
from asr_kd.distill.online_teachers.online_teacher import OnlineTeacher
from asr_kd.distill.online_teachers.peer import PeerTeacher
from asr_kd.distill.online_teachers.snapshot import SnapshotTeacher

ONLINE_TEACHERS: dict[str, type[OnlineTeacher]] = {
    "offline": FrozenTeacher,
    "mutual": PeerTeacher,
    "mean_teacher": MeanTeacher,
    "snapshot": SnapshotTeacher,
}
