import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from asr_kd.decode.tune import ACOUSTIC_SCALES, DEFAULT_SCALES, LARGEST, SMALLEST, beyond, choose

ACOUSTICS, PRIORS = (0.5, 0.75, 1.0, 1.5), (0.0, 0.5, 1.0)


def grid(wer, acoustics=ACOUSTICS, priors=PRIORS):
    return [
        {"acoustic": a, "prior": p, "word_insertion_penalty": 0.0, "wer": wer(a, p)} for p in priors for a in acoustics
    ]


@given(wers=st.lists(st.sampled_from([0.1, 0.2, 0.3, 1.2]), min_size=12, max_size=12), data=st.data())
def test_the_choice_is_one_of_the_trials_in_whatever_order_they_were_made(wers, data):
    values = dict(zip(itertools.product(ACOUSTICS, PRIORS), wers, strict=True))
    trials = grid(lambda a, p: values[a, p])
    best = choose(trials, words=100)
    assert best in trials
    assert choose(data.draw(st.permutations(trials)), words=100) == best


@given(wer=st.floats(0, 2), words=st.integers(0, 10**6))
def test_where_all_are_alike_the_usual_setting_is_taken(wer, words):
    best = choose(grid(lambda a, p: wer), words)
    assert (best["acoustic"], best["prior"]) == (DEFAULT_SCALES.acoustic, DEFAULT_SCALES.prior)


def test_few_words_do_not_outweigh_the_usual_setting_and_many_do():
    lucky = (1.5, 0.0)
    trials = grid(lambda a, p: 0.30 if (a, p) == lucky else 0.32)
    few, many = choose(trials, words=200), choose(trials, words=20_000)
    assert (few["acoustic"], few["prior"]) == (DEFAULT_SCALES.acoustic, DEFAULT_SCALES.prior)
    assert (many["acoustic"], many["prior"]) == lucky


def test_a_clearly_better_setting_wins_with_few_words_too():
    best = choose(grid(lambda a, p: 0.2 if (a, p) == (0.5, 0.5) else 0.6), words=100)
    assert best == {"acoustic": 0.5, "prior": 0.5, "word_insertion_penalty": 0.0, "wer": 0.2}


def test_one_setting_is_a_grid_as_well():
    assert choose(grid(lambda a, p: 0.3, [0.7], [0.6]), 50) == {
        "acoustic": 0.7,
        "prior": 0.6,
        "word_insertion_penalty": 0.0,
        "wer": 0.3,
    }


@given(best=st.floats(0.02, 20))
def test_scales_beyond_the_grid_are_tried_until_the_best_lies_between_others(best):
    tried = [*ACOUSTIC_SCALES]
    trials = grid(lambda a, p: abs(math.log(a / best)) + p, tried)
    while (further := beyond(trials)) is not None:
        tried.append(further)
        trials += grid(lambda a, p: abs(math.log(a / best)) + p, [further])
    nearest = min(tried, key=lambda a: abs(math.log(a / best)))
    assert min(tried) >= SMALLEST and max(tried) <= LARGEST and len(tried) <= len(ACOUSTIC_SCALES) + 4
    assert nearest not in (min(tried), max(tried)) or best < 1.3 * SMALLEST or best > LARGEST / 1.4
