"""Who speaks: espeak-ng's human-like variants, and the voices made from them for each part of the corpus."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np

from asr_kd.corpora.languages import ENGLISH
from asr_kd.corpora.rng import seeded_rng

ACCENTS = {
    "en-us": "en-us",
    "en-us-nyc": "en-us-nyc",
    "en-gb": "gmw/en",  # the library knows this one by its file only
    "en-gb-scotland": "en-gb-scotland",
    "en-gb-x-rp": "en-gb-x-rp",
    "en-gb-x-gbclan": "en-gb-x-gbclan",
    "en-gb-x-gbcwmd": "en-gb-x-gbcwmd",
    "en-029": "en-029",
}
"""Accent (`group` in the manifests) to espeak's name of it."""
ACCENTS_OF: dict[str, dict[str, str]] = {"en": ACCENTS, "de": {"de": "de"}}
"""The accents of each language."""

# Variants that differ little by their files are one family, and a family is in one part of the corpus only. Left out:
# whispers (whisper, whisperf, caleb), robots and echoes (robosoft*, RicishayMax*, anikaRobot, UniRobot, Demonic), those
# of which a template recogniser (30 isolated words, dry, en-us, templates of five other voices) gets more than a fifth
# wrong (kaukovalta, Alicia, Lee, Marco, zac), the default again (fast), and Reed, whose breath takes the C library's
# random numbers, which our seed does not reach.
LOW_FAMILIES: tuple[tuple[str, ...], ...] = (
    *(("m1",), ("m2",), ("m3",), ("m4",), ("m5",), ("m6",), ("m7", "Nguyen"), ("m8",)),
    ("Alex",),
    ("Andy", "AnxiousAndy"),
    ("Denis", "victor", "Storm"),
    ("Diogo", "Henrique", "Hugo", "michel", "miguel"),
    ("Gene", "Gene2"),
    ("Jacky",),
    ("Mario", "Michael"),
    ("gustave", "marcelo"),
    ("Mike", "mike2"),
    ("Mr serious", "Tweaky", "ian", "john", "norbert", "pablo"),
    ("adam", "benjamin"),
    ("announcer",),
    ("antonio",),
    ("boris", "max"),
    ("croak", "grandpa"),
    ("david",),
    ("ed",),
    ("edward", "edward2"),
    ("iven", "iven2", "iven3", "iven4"),
    ("klatt", "klatt2", "klatt3"),
    ("klatt4", "klatt5", "klatt6"),
    ("paul",),
    ("pedro",),
    ("quincy", "robert", "rob"),
    ("sandro",),
    ("travis",),
)
HIGH_FAMILIES: tuple[tuple[str, ...], ...] = (
    *(("f1",), ("f2",), ("f3",), ("f4",), ("f5",)),
    ("Andrea",),
    ("Annie",),
    ("anika",),
    ("aunty",),
    ("belinda", "linda"),
    ("grandma",),
    ("shelby",),
    ("steph", "steph2", "steph3"),
)
"""Variants with a fundamental above about 150 Hz."""
HIGH_SHARE = 0.3
"""Share of high voices in each part."""


_ESPEAK_NAMES = {accent: name for accents in ACCENTS_OF.values() for accent, name in accents.items()}


@dataclass(frozen=True)
class Voice:
    """One speaker."""

    name: str
    accent: str
    """A key of the language's ACCENTS_OF."""
    variant: str
    """espeak's voice variant."""
    rate: int
    """Words a minute."""
    pitch: int
    """espeak's scale, 0 to 99; 50 is the variant's own."""
    pitch_range: int
    """espeak's scale, 0 (monotone) to 99."""
    tract: float
    """Vocal tract length relative to the variant's: formants, pitch and rate scale by its inverse."""

    @property
    def espeak_name(self) -> str:
        """The name that espeak takes: accent plus variant."""
        return f"{_ESPEAK_NAMES[self.accent]}+{self.variant}"


def draw_voices(sizes: dict[str, int], seed: int, language: str = ENGLISH) -> dict[str, list[Voice]]:
    """Draw the voices of each part of the corpus.

    sizes: voices wanted of `labelled`, `dev`, `test` and `unlabelled`. Voices of the first three have a family each;
    `unlabelled` shares what families are left, each of its variants with several accents and settings.
    ValueError when no family would be left for `unlabelled`.
    """
    rng = seeded_rng("cast", seed)
    families = {"low": list(LOW_FAMILIES), "high": list(HIGH_FAMILIES)}
    for members in families.values():
        rng.shuffle(members)
    parts: dict[str, list[Voice]] = {}
    for part in ("labelled", "dev", "test"):
        high = round(sizes[part] * HIGH_SHARE)
        takes = {"low": sizes[part] - high, "high": high}
        for register, count in takes.items():
            if count >= len(families[register]):
                most = len(LOW_FAMILIES) + len(HIGH_FAMILIES)
                raise ValueError(
                    f"synthetic: {sizes['labelled']} labelled, {sizes['dev']} dev and {sizes['test']} test voices are"
                    f" too many for the {most} families of espeak voices, which the parts do not share. Ask for fewer."
                )
        drawn = [families[register].pop() for register, count in takes.items() for _ in range(count)]
        parts[part] = _voices(part, [family[rng.integers(len(family))] for family in drawn], rng, language)
    high = round(sizes["unlabelled"] * HIGH_SHARE)
    low_variants = islice(cycle(_by_turns(families["low"])), sizes["unlabelled"] - high)
    high_variants = islice(cycle(_by_turns(families["high"])), high)
    parts["unlabelled"] = _voices("unlabelled", [*low_variants, *high_variants], rng, language)
    return parts


def _by_turns(families: list[tuple[str, ...]]) -> list[str]:
    """The first variant of each family, then the second of each, ..."""
    longest = max(len(family) for family in families)
    return [family[i] for i in range(longest) for family in families if i < len(family)]


def _voices(part: str, variants: list[str], rng: np.random.Generator, language: str) -> list[Voice]:
    order = rng.permutation(len(variants))
    return [
        Voice(
            name=f"{part}-{number:03d}",
            accent=accent,
            variant=variants[i],
            rate=int(rng.integers(140, 200)),
            pitch=int(rng.integers(35, 66)),
            pitch_range=int(rng.integers(30, 81)),
            tract=float(rng.integers(93, 109)) / 100,
        )
        for number, (i, accent) in enumerate(zip(order, _accents(rng, ACCENTS_OF[language]), strict=False))
    ]


def _accents(rng: np.random.Generator, accents: dict[str, str]) -> Iterator[str]:
    """Endless accents, each as often as the others."""
    while True:
        yield from (str(a) for a in rng.permutation(list(accents)))
