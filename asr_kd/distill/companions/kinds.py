"""The modes of distillation by the name that a config calls them, and who listens in each."""

from asr_kd.distill.companions.average import Average
from asr_kd.distill.companions.companion import Companion
from asr_kd.distill.companions.fixed import Fixed
from asr_kd.distill.companions.peer import Peer
from asr_kd.distill.companions.snapshot import Snapshot

COMPANIONS: dict[str, type[Companion]] = {
    "offline": Fixed,
    "online": Peer,
    "average": Average,
    "snapshot": Snapshot,
}
