import itertools

from hypothesis import given
from hypothesis import strategies as st

from asr_kd.decode.tune import choose

ACOUSTICS, PRIORS = (0.5, 0.75, 1.0, 1.5), (0.0, 0.5, 1.0)


def grid(wer, acoustics=ACOUSTICS, priors=PRIORS):
    return [{"acoustic": a, "prior": p, "wer": wer(a, p)} for p in priors for a in acoustics]


@given(wers=st.lists(st.sampled_from([0.1, 0.2, 0.3, 1.0]), min_size=12, max_size=12), data=st.data())
def test_the_choice_is_one_of_the_trials_in_whatever_order_they_were_made(wers, data):
    values = dict(zip(itertools.product(ACOUSTICS, PRIORS), wers, strict=True))
    trials = grid(lambda a, p: values[a, p])
    best = choose(trials)
    assert best in trials
    assert choose(data.draw(st.permutations(trials))) == best


@given(wer=st.floats(0, 2), acoustics=st.sets(st.sampled_from([0.3, 0.4, 0.55, 0.7, 0.95, 1.2, 2.0]), min_size=1))
def test_ties_go_to_the_whole_prior_and_the_scale_nearest_one(wer, acoustics):
    best = choose(grid(lambda a, p: wer, sorted(acoustics)))
    assert best["prior"] == 1.0
    assert abs(best["acoustic"] - 1) == min(abs(a - 1) for a in acoustics)


def test_the_lowest_wer_wins_where_the_grid_is_smooth():
    best = choose(grid(lambda a, p: 0.2 + abs(a - 0.75) + abs(p - 0.5)))
    assert best == {"acoustic": 0.75, "prior": 0.5, "wer": 0.2}


def test_a_lucky_setting_among_bad_ones_loses_to_a_good_neighbourhood():
    lucky, valley = (0.5, 0.0), (1.5, 1.0)
    around = {valley: 0.11, (1.0, 1.0): 0.12, (1.5, 0.5): 0.12}
    best = choose(grid(lambda a, p: 0.1 if (a, p) == lucky else around.get((a, p), 0.4)))
    assert (best["acoustic"], best["prior"]) == valley


def test_one_setting_is_a_grid_as_well():
    assert choose(grid(lambda a, p: 0.3, [0.7], [0.6])) == {"acoustic": 0.7, "prior": 0.6, "wer": 0.3}
