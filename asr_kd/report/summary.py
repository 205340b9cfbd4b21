"""`results.json`: the figures of one run of a recipe, for machines.

`measure` is CER for languages without spaces between words, whose `wer` is the character error rate, else WER.
`systems` maps each system to wer, ci95, errors, words and params (WERs are fractions; params is null when its
`decode.json` does not say), and the top level holds werr, recovery (each with its interval) and seconds. The real-time
factor is not among them: recipes decode beside other jobs. `asr-kd bench model` measures it.
"""

from collections.abc import Mapping
from typing import Any

SYSTEM_LABELS = {
    "teacher": "Teacher",
    "student_labelled_only": "Student, labels only",
    "student_distilled": "Student, distilled",
    "student_oracle": "Student, all text (oracle)",
}
"""How the four systems of a recipe are called where people read; other names are shown as they are."""


def display_name(system: str) -> str:
    """The readable name of a system."""
    return SYSTEM_LABELS.get(system, system.replace("_", " "))


def default_student(scores: Mapping[str, Any]) -> str:
    """`student_distilled` where it was scored, else the last system that is neither baseline nor oracle, if any is."""
    systems = list(scores["systems"])
    others = [s for s in systems if s not in (scores["baseline"], scores["oracle"])]
    return "student_distilled" if "student_distilled" in systems else (others or systems)[-1]


def summarise(
    scores: Mapping[str, Any],
    student: str,
    title: str,
    seconds: float | None = None,
    seed: int | None = None,
    command: str | None = None,
    commit: str | None = None,
) -> dict[str, Any]:
    """What `results.json` holds. `student` is the system, one of those scored, whose WERR the run is about."""
    systems = scores["systems"]
    kept = ("wer", "ci95", "errors", "words", "cer", "cer_ci95", "substitutions", "deletions", "insertions", "by")
    return {
        "format": 1,
        "title": title,
        "measure": scores.get("measure", "WER"),
        "systems": {
            name: {k: s[k] for k in kept} | {"params": s["decode"].get("params")} for name, s in systems.items()
        },
        "student": student,
        "baseline": scores["baseline"],
        "oracle": scores["oracle"],
        "werr": systems[student].get("werr"),
        "werr_ci95": systems[student].get("werr_ci95"),
        "recovery": systems[student].get("recovery"),
        "recovery_ci95": systems[student].get("recovery_ci95"),
        "seconds": None if seconds is None else round(seconds, 1),
        "seed": seed,
        "utterances": scores["utterances"],
        "bootstrap": scores["bootstrap"],
        "normaliser": scores["normaliser"],
        "command": command,
        "commit": commit,
    }
