"""Mixtures of diagonal Gaussians, one per class: trained and evaluated by `kaldi-hmm-gmm`, fed in blocks."""

from collections.abc import Sequence
from typing import Any

import kaldi_hmm_gmm as khg
import numpy as np
import torch
from scipy.special import logsumexp

FRAMES_PER_STEP = 3
"""10 ms feature frames in one 30 ms frame of an alignment; all three are scored and counted."""
_PARAMETERS = ("weights", "inv_vars", "means_invvars")
"""Of a class's Gaussians, in the order of DiagGmm's own state."""


class Gaussians:
    """Diagonal Gaussian mixtures of the classes of an inventory, over features of 10 ms frames."""

    def __init__(self, classes: int, mean_F: np.ndarray, variance_F: np.ndarray) -> None:
        """Every class starts from the same Gaussian."""
        self._all = khg.AmDiagGmm()
        proto = khg.DiagGmm(1, len(mean_F))
        proto.set_weights(np.ones(1, dtype=np.float32))
        proto.set_invvars_and_means(
            (1 / variance_F)[None].astype(np.float32), np.asarray(mean_F, dtype=np.float32)[None]
        )
        proto.compute_gconsts()
        self._all.init(proto, classes)
        self.classes = classes
        self._stacked: tuple[torch.Tensor, torch.Tensor, np.ndarray, np.ndarray] | None = None
        self._random = np.random.default_rng(0)

    def to_arrays(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """All parameters, and the state of the random numbers as JSON values."""
        pdfs = [self._all.get_pdf(c) for c in range(self.classes)]
        arrays = {
            "sizes": np.array([pdf.num_gauss for pdf in pdfs]),
            **{name: np.concatenate([getattr(pdf, name) for pdf in pdfs]) for name in _PARAMETERS},
        }
        return arrays, dict(self._random.bit_generator.state)

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], random: dict[str, Any]) -> "Gaussians":
        """What `to_arrays` was asked of, to the bit."""
        self = cls.__new__(cls)
        self._all, self._stacked, self._random = khg.AmDiagGmm(), None, np.random.default_rng()
        self._random.bit_generator.state = random
        self.classes = len(arrays["sizes"])
        ends = np.cumsum(arrays["sizes"])[:-1]
        for parameters in zip(*(np.split(arrays[n], ends) for n in _PARAMETERS), strict=True):
            pdf = khg.DiagGmm.__new__(khg.DiagGmm)
            pdf.__setstate__(parameters)  # its setters would round means
            self._all.add_pdf(pdf)
        return self

    @property
    def components(self) -> int:
        return self._all.num_gauss

    def scores(self, features_NF: np.ndarray, classes: np.ndarray | None = None) -> np.ndarray:
        """Log-likelihoods of whole 30 ms frames, (N // 3, classes): the mean over their three 10 ms frames.

        classes: only these are evaluated, the others are -inf.
        """
        if self._stacked is None:
            self._stacked = self._stack()
        rows_GF, constant_G1, size_C, first_C = self._stacked
        wanted = np.arange(self.classes) if classes is None else classes
        steps = len(features_NF) // FRAMES_PER_STEP
        score_TC = np.full((steps, self.classes), -np.inf, dtype=np.float32)
        if not score_TC.size or not len(wanted):
            return score_TC
        wanted = wanted[np.argsort(size_C[wanted], kind="stable")]  # equal sizes together: no gaps to be padded
        size_W = size_C[wanted]
        end_W = np.cumsum(size_W)
        rows = torch.from_numpy(np.arange(size_W.sum()) + np.repeat(first_C[wanted] - end_W + size_W, size_W))
        x_NF = torch.from_numpy(np.ascontiguousarray(features_NF[: steps * FRAMES_PER_STEP], dtype=np.float32))
        score_GN = torch.addmm(constant_G1[rows], rows_GF[rows], torch.cat([x_NF, x_NF.square()], 1).T)
        score_WN = torch.empty(len(wanted), len(x_NF))
        begins = np.flatnonzero(np.diff(size_W, prepend=0))
        for begin, end in zip(begins, [*begins[1:], len(wanted)], strict=True):
            same_GN = score_GN[end_W[begin] - size_W[begin] : end_W[end - 1]]
            torch.logsumexp(same_GN.view(end - begin, -1, len(x_NF)), 1, out=score_WN[begin:end])
        score_TC[:, wanted] = score_WN.view(-1, steps, FRAMES_PER_STEP).mean(2).numpy().T
        return score_TC

    def _stack(self) -> tuple[torch.Tensor, torch.Tensor, np.ndarray, np.ndarray]:
        """A row a Gaussian for products with [x, x * x], its constant; each class's number of rows and its first."""
        pdfs = [self._all.get_pdf(c) for c in range(self.classes)]
        rows_GF = np.concatenate([np.concatenate([pdf.means_invvars, -0.5 * pdf.inv_vars], 1) for pdf in pdfs])
        constant_G1 = np.concatenate([pdf.gconsts for pdf in pdfs])[:, None]
        size_C = np.array([pdf.num_gauss for pdf in pdfs])
        return torch.from_numpy(rows_GF), torch.from_numpy(constant_G1), size_C, np.cumsum(size_C) - size_C

    def update(self, features_NF: np.ndarray, classes_N: np.ndarray, components: int) -> float:
        """One step of expectation-maximisation on frames with known classes, then split towards `components` Gaussians.

        Classes without frames keep their Gaussians.  Returns the mean log-likelihood of the frames before the step.
        """
        accumulator = khg.AccumAmDiagGmm()
        flags = int(khg.GmmUpdateFlags.kGmmAll.value)
        accumulator.init(self._all, flags)
        occupancy_C = np.bincount(classes_N, minlength=self.classes).astype(np.float32)
        order = np.argsort(classes_N, kind="stable")
        starts = np.concatenate([[0], np.cumsum(occupancy_C)]).astype(int)
        total = 0.0
        for cls in np.flatnonzero(occupancy_C):
            x_NF = np.ascontiguousarray(features_NF[order[starts[cls] : starts[cls + 1]]], dtype=np.float32)
            score_NG = self._all.get_pdf(cls).log_likelihoods_matrix(x_NF)
            frame_N1 = logsumexp(score_NG, axis=1, keepdims=True)
            total += float(frame_N1.sum())
            share_NG = np.exp(score_NG - frame_N1)
            for x_F, share_G in zip(x_NF, share_NG, strict=True):  # bound for single frames only: 2 us each
                accumulator.accumulate_from_posteriors(self._all, x_F, cls, share_G)
        options = khg.MleDiagGmmOptions(min_gaussian_occupancy=5.0, min_variance=0.01)
        khg.mle_am_diag_gmm_update(options, accumulator, flags, self._all)
        if components > self.components:
            self._split(occupancy_C, components)
        self._stacked = None
        return total / max(len(classes_N), 1)

    def _split(self, occupancy_C: np.ndarray, components: int) -> None:
        """Split towards `components`, the heaviest first, and move the halves apart by a tenth of a standard deviation.

        kaldi-hmm-gmm would move them by random numbers that cannot be seeded: no two runs gave the same senones.
        """
        before = [self._all.num_gauss_in_pdf(c) for c in range(self.classes)]
        self._all.split_by_count(occupancy_C, components, perturb_factor=0.0, power=0.25, min_count=20.0)
        for cls in range(self.classes):
            if self._all.num_gauss_in_pdf(cls) > before[cls]:
                pdf = self._all.get_pdf(cls)
                mean_GF, std_GF = np.array(pdf.means), np.sqrt(pdf.vars)
                _, group_G, size = np.unique(mean_GF, axis=0, return_inverse=True, return_counts=True)
                twins_G1 = (size[group_G.ravel()] > 1)[:, None]
                mean_GF += np.where(twins_G1, 0.1 * std_GF * self._random.standard_normal(mean_GF.shape), 0)
                pdf.set_means(mean_GF.astype(np.float32))
                pdf.compute_gconsts()


def pooled_mean_variance(features: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance per dimension over all frames of all utterances."""
    count = sum(len(x) for x in features)
    mean_F = sum(x.sum(0, dtype=np.float64) for x in features) / count
    square_F = sum((x.astype(np.float64) ** 2).sum(0) for x in features) / count
    return mean_F, np.maximum(square_F - mean_F**2, 1e-4)
