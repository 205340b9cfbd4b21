"""The kinds of knowledge by the name that a config calls them; docs/extending.md adds one."""

from asr_kd.distill.knowledge.deeper import Deeper
from asr_kd.distill.knowledge.flow import Flow
from asr_kd.distill.knowledge.hidden import Hidden
from asr_kd.distill.knowledge.knowledge import Knowledge
from asr_kd.distill.knowledge.relations import Relations
from asr_kd.distill.knowledge.response import Response
from asr_kd.distill.knowledge.similarity import Similarity

KNOWLEDGE: dict[str, type[Knowledge]] = {
    "response": Response,
    "hidden": Hidden,
    "similarity": Similarity,
    "relations": Relations,
    "flow": Flow,
    "deeper": Deeper,
}
