"""Which words of a pseudo-transcript an inventory can say."""

from collections.abc import Sequence

from asr_kd.inventory.lexicon import Lexicon


def drop_unpronounceable(lexicon: Lexicon, by_rule: Sequence[str], phones: Sequence[str]) -> tuple[Lexicon, list[str]]:
    """The lexicon less what the inventory's phones cannot say, and the words that are gone.

    by_rule: words whose pronunciations were made up or looked up; only those may go.
    """
    known, pronunciations = set(phones), dict(lexicon.pronunciations)
    for word in by_rule:
        pronunciations[word] = [pron for pron in pronunciations[word] if known.issuperset(pron)]
    gone = [word for word in by_rule if not pronunciations[word]]
    return Lexicon({word: prons for word, prons in pronunciations.items() if prons}), gone
