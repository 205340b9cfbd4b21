"""Which speakers are labelled, held out or tested: the list file, and the rule that makes it."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from asr_kd.core.text_files import read_lines

ROLES = ("labelled", "dev", "test")


def read_speaker_list(path: str | Path, allowed: Sequence[str] = ROLES) -> dict[str, str]:
    """Speaker to role from a list: `SPEAKER` (labelled), `SPEAKER dev` or `SPEAKER test` a line, `#` comments.

    allowed: the roles that the corpus has a place for, labelled the first.  ValueError names file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(
            f"--labelled {path}: no such list of speakers. Write one name a line, or say `--labelled all`."
        )
    roles: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), start=1):
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        role = fields[1] if len(fields) > 1 else "labelled"
        if len(fields) > 2 or role not in allowed:
            forms = ["SPEAKER", *(f"SPEAKER {role}" for role in allowed[1:])]
            form = f"{', '.join(forms[:-1])} or {forms[-1]}"
            raise ValueError(f"{path}: line {number}: {line.strip()!r}; write {form}")
        if fields[0] in roles:
            raise ValueError(f"{path}: line {number}: speaker {fields[0]} is listed twice")
        roles[fields[0]] = role
    if not roles:
        raise ValueError(f"{path}: lists no speaker")
    return roles


def require_known(roles: Mapping[str, str], speakers: set[str], source: str) -> None:
    """ValueError when the list names speakers that the corpus does not have."""
    unknown = sorted(set(roles) - speakers)
    if unknown:
        raise ValueError(
            f"{source}: the corpus has no speaker {', '.join(unknown[:5])}. Is the list of another corpus?"
        )


def draw_order(speakers: Sequence[str], seed: int) -> list[str]:
    """The speakers in a seeded order that depends on their names alone: by SHA-256 of "SEED:NAME".

    Adding or losing a speaker leaves the order of the others, and no library's random generator is involved.
    """
    return sorted(speakers, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).hexdigest())


def draw_by_share(strata: Mapping[str, Sequence[str]], count: int, seed: int) -> dict[str, list[str]]:
    """Draw `count` speakers, each stratum with its share of them (largest remainders), in draw order."""
    total = sum(len(names) for names in strata.values())
    assert 0 < count <= total
    exact = {stratum: count * len(names) / total for stratum, names in strata.items()}
    quota = {stratum: int(share) for stratum, share in exact.items()}
    by_remainder = sorted(exact, key=lambda stratum: (quota[stratum] - exact[stratum], stratum))
    for stratum in by_remainder[: count - sum(quota.values())]:
        quota[stratum] += 1
    return {stratum: draw_order(names, seed)[: quota[stratum]] for stratum, names in strata.items()}


def draw_by_seconds(
    strata: Mapping[str, Sequence[str]], seconds: Mapping[str, float], wanted: float, seed: int
) -> dict[str, list[str]]:
    """Draw speakers until they hold `wanted` seconds, always from the stratum with the fewest seconds drawn so far."""
    queues = {stratum: draw_order(names, seed) for stratum, names in sorted(strata.items())}
    drawn: dict[str, list[str]] = {stratum: [] for stratum in queues}
    held = dict.fromkeys(queues, 0.0)
    while sum(held.values()) < wanted and any(queues.values()):
        stratum = min((s for s in queues if queues[s]), key=lambda s: (held[s], s))
        name = queues[stratum].pop(0)
        drawn[stratum].append(name)
        held[stratum] += seconds[name]
    return drawn
