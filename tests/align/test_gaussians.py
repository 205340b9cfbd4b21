import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from asr_kd.align.gaussians import FRAMES_PER_STEP, Gaussians, pooled_mean_variance


def per_step(score_NC):
    return score_NC.reshape(-1, FRAMES_PER_STEP, score_NC.shape[1]).mean(1)


def drawn(seed, classes=3, frames=300, dim=5):
    rng = np.random.default_rng(seed)
    classes_N = np.arange(frames) % classes
    x_NF = rng.normal(size=(classes, dim))[classes_N] * 3 + rng.normal(size=(frames, dim)) * rng.uniform(0.5, 2, dim)
    return x_NF.astype(np.float32), classes_N


def test_every_class_starts_from_the_same_gaussian():
    x_NF, _ = drawn(0)
    mean_F, variance_F = pooled_mean_variance([x_NF[:100], x_NF[100:]])
    np.testing.assert_allclose(mean_F, x_NF.mean(0), atol=1e-5)
    np.testing.assert_allclose(variance_F, x_NF.var(0), rtol=1e-4)
    expected_N = norm.logpdf(x_NF, mean_F, np.sqrt(variance_F)).sum(1)
    np.testing.assert_allclose(
        Gaussians(3, mean_F, variance_F).scores(x_NF), per_step(np.tile(expected_N[:, None], 3)), rtol=1e-4, atol=1e-4
    )


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), classes=st.integers(1, 4))
def test_one_gaussian_a_class_is_the_maximum_likelihood_one(seed, classes):
    x_NF, classes_N = drawn(seed, classes)
    gaussians = Gaussians(classes, *pooled_mean_variance([x_NF]))
    gaussians.update(x_NF, classes_N, classes)
    expected_NC = np.stack(
        [norm.logpdf(x_NF, x_NF[classes_N == c].mean(0), x_NF[classes_N == c].std(0)).sum(1) for c in range(classes)],
        axis=1,
    )
    np.testing.assert_allclose(gaussians.scores(x_NF), per_step(expected_NC), rtol=1e-3, atol=1e-3)
    assert gaussians.components == classes


def test_mixtures_are_densities_that_find_the_modes():
    rng = np.random.default_rng(0)
    x_NF = np.concatenate([rng.normal(-4, 1, (300, 1)), rng.normal(5, 0.5, (600, 1)), rng.normal(0, 1, (300, 1))])
    classes_N = np.repeat([0, 1], [900, 300])
    gaussians = Gaussians(2, *pooled_mean_variance([x_NF]))
    likelihoods = [gaussians.update(x_NF, classes_N, 6) for _ in range(25)]
    assert (np.diff(likelihoods) > -1e-4).all(), "no round makes the frames less likely"
    assert 3 <= gaussians.components <= 6
    grid_N = np.linspace(-20, 20, 4001)
    density_NC = np.exp(gaussians.scores(np.repeat(grid_N, FRAMES_PER_STEP)[:, None]))
    np.testing.assert_allclose(density_NC.sum(0) * (grid_N[1] - grid_N[0]), 1, atol=1e-3)
    truth_N = norm.pdf(grid_N, -4, 1) / 3 + norm.pdf(grid_N, 5, 0.5) * 2 / 3
    assert np.abs(density_NC[:, 0] - truth_N).sum() * (grid_N[1] - grid_N[0]) < 0.1


def test_classes_without_frames_keep_their_gaussian_and_harm_no_other():
    x_NF, classes_N = drawn(0, classes=2)
    start = pooled_mean_variance([x_NF])
    with_gap, without = Gaussians(3, *start), Gaussians(2, *start)
    untouched = with_gap.scores(x_NF)[:, 1]
    for _ in range(2):
        with_gap.update(x_NF, classes_N * 2, 3)
        without.update(x_NF, classes_N, 2)
    np.testing.assert_allclose(with_gap.scores(x_NF)[:, 1], untouched, rtol=1e-5)
    np.testing.assert_allclose(with_gap.scores(x_NF)[:, [0, 2]], without.scores(x_NF), rtol=1e-4)


@pytest.mark.parametrize("frames", [0, 1, 2, 3, 8])
def test_only_whole_steps_are_scored(frames):
    x_NF, _ = drawn(0)
    gaussians = Gaussians(3, *pooled_mean_variance([x_NF]))
    part = gaussians.scores(x_NF[:frames])
    assert part.shape == (frames // FRAMES_PER_STEP, 3)
    np.testing.assert_allclose(part, gaussians.scores(x_NF)[: len(part)], rtol=1e-5)


def test_a_class_of_a_few_equal_frames_stays_finite():
    x_NF, classes_N = drawn(0, classes=2)
    x_NF[-2:], classes_N[-2:] = 7.0, 2
    gaussians = Gaussians(3, *pooled_mean_variance([x_NF]))
    for _ in range(5):
        gaussians.update(x_NF, classes_N, 10)
    assert np.isfinite(gaussians.scores(x_NF)).all()


def test_asking_for_some_classes_gives_them_the_same_scores():
    x_NF, classes_N = drawn(1, classes=4, frames=600)
    gaussians = Gaussians(4, *pooled_mean_variance([x_NF]))
    for _ in range(4):
        gaussians.update(x_NF, classes_N, 11)
    all_TC, some_TC = gaussians.scores(x_NF), gaussians.scores(x_NF, np.array([0, 3]))
    np.testing.assert_allclose(some_TC[:, [0, 3]], all_TC[:, [0, 3]], rtol=1e-5)
    assert np.isneginf(some_TC[:, [1, 2]]).all()
    assert gaussians.scores(x_NF[:2], np.array([0])).shape == (0, 4)


def test_parameters_and_random_numbers_survive_being_saved():
    x_NF, classes_N = drawn(2)
    gaussians = Gaussians(3, *pooled_mean_variance([x_NF]))
    gaussians.update(x_NF, classes_N, 5)
    copy = Gaussians.from_arrays(*gaussians.to_arrays())
    assert np.array_equal(copy.scores(x_NF), gaussians.scores(x_NF))
    for one in (gaussians, copy):  # splitting draws random numbers
        one.update(x_NF, classes_N, 12)
    assert copy.components == gaussians.components > 5
    assert np.array_equal(copy.scores(x_NF), gaussians.scores(x_NF))
