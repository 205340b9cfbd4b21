"""The words of a text go to the segments in which they were said, or to none."""

import pytest

from asr_kd.segment.word_matching import match_words


def _cost(spoken: list[str]):
    """A model that knows what was said: nats for each word to mend."""
    from rapidfuzz.distance import Levenshtein

    calls = []

    def cost(segment: int, words) -> float:
        calls.append(segment)
        return 20.0 * Levenshtein.distance(spoken[segment].split(), list(words))

    return cost, calls


def _match(spoken: list[str], recognised: list[str], text: str | None = None, max_word_errors: float = 0.5):
    cost, calls = _cost(spoken)
    text = " ".join(spoken) if text is None else text
    found = match_words(text.split(), [h.split() for h in recognised], cost, max_word_errors)
    return [None if m.why_not else " ".join(m.words) for m in found], calls


def test_what_is_recognised_right_needs_no_alignment():
    spoken = ["A B C", "D E", "F G H"]
    assert _match(spoken, spoken) == (spoken, [])


@pytest.mark.parametrize(
    "recognised",
    [
        ["A B", "D E F", "G H I"],  # the last word of the first was not recognised
        ["A B C", "E F", "G H I"],  # the first of the second
        ["A B X", "X E F", "G H I"],  # both are wrong
        ["A X C", "D X F", "G X I"],  # within a segment
        ["A B C", "X Y Z", "G H I"],  # nothing of one
    ],
)
def test_words_that_were_not_recognised_go_where_they_fit(recognised):
    spoken = ["A B C", "D E F", "G H I"]
    found, calls = _match(spoken, recognised, max_word_errors=1.0)
    assert found == spoken and (calls or recognised[0] == "A X C")


def test_a_word_that_is_said_twice_is_not_taken_for_the_other():
    spoken = ["A ONE", "ONE TWO", "THREE"]
    assert _match(spoken, ["A", "ONE TWO", "THREE"])[0] == spoken
    assert _match(spoken, ["A ONE", "TWO", "THREE"])[0] == spoken


def test_what_the_text_does_not_have_is_not_given_text():
    spoken = ["A B C", "X Y Z", "D E F"]
    found, _ = _match(spoken, ["A B C", "A A", "D E F"], text="A B C D E F")
    assert found == ["A B C", None, "D E F"]


def test_what_was_not_said_is_in_no_segment():
    spoken = ["A B C", "D E F"]
    assert _match(spoken, spoken, text="Q Q A B C X Y Z D E F W")[0] == spoken


def test_a_segment_that_differs_too_much_says_so():
    spoken = ["A B C", "D E F G", "H I"]
    cost, _ = _cost(spoken)
    recognised = [["A", "B", "C"], ["D", "X", "Y", "G"], ["H", "I"]]
    strict = match_words(["A", "B", "C", "D", "E", "F", "G", "H", "I"], recognised, cost, 0.4)
    assert [m.why_not for m in strict] == [None, "recognised was 'D X Y G', the text has 'D E F G'", None]
    assert match_words(["A", "B", "C", "D", "E", "F", "G", "H", "I"], recognised, cost, 0.5)[1].words == [
        "D",
        "E",
        "F",
        "G",
    ]


def test_nothing_recognised_gives_no_text():
    nothing = match_words(["A", "B"], [["X"], []], lambda n, words: 0.0, 0.3)
    assert all(m.why_not == "none of the text was recognised in its recording" for m in nothing)
