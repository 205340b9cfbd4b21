"""Features of audio that comes in pieces are those of the whole."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.frontend.fbank import FrontEnd, FrontEndConfig
from asr_kd.frontend.streaming import StreamingFrontEnd


def whole(config, wave_N):
    x_BTF, _ = FrontEnd(config)(torch.from_numpy(wave_N)[None], torch.tensor([len(wave_N)]))
    return x_BTF[0]


@settings(max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 80_000),
    st.lists(st.integers(0, 9_000), max_size=30),
    st.sampled_from([0.03, 0.5, 3.0]),
    st.sampled_from([1, 3, 4]),
    st.sampled_from(["causal", "exponential", "none"]),
    st.booleans(),
)
def test_pieces_of_any_size_make_the_features_of_the_whole(seed, samples, pieces, window_s, stacking, cmn, snip_edges):
    config = FrontEndConfig(
        cmn=cmn,  # type: ignore[arg-type]
        cmn_window_s=window_s,
        cmn_init_s=min(0.5, window_s),
        frame_stacking=stacking,
        snip_edges=snip_edges,
    )
    wave_N = np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)
    streaming = StreamingFrontEnd(config)
    cuts = [*np.clip(np.cumsum([0, *pieces]), 0, samples).tolist(), samples]
    parts = [streaming.accept(wave_N[a:b]) for a, b in itertools.pairwise(cuts)]
    torch.testing.assert_close(torch.cat(parts), whole(config, wave_N), rtol=0, atol=2e-4)


def test_an_hour_of_frames_leaves_the_mean_exact():
    config = FrontEndConfig(mel_bins=4, cepstra=4, cmn_window_s=0.05, cmn_init_s=0.05, frame_stacking=1)
    streaming = StreamingFrontEnd(config)
    x_TF = torch.full((360_000, 4), 13.37)  # an hour
    y_TF = torch.cat([streaming._means.subtract(part_TF) for part_TF in x_TF.split(10_000)])
    assert y_TF[5:].abs().max() < 1e-5


def test_a_mean_of_the_whole_utterance_cannot_stream():
    with pytest.raises(ValueError, match=r"frontend.cmn=causal"):
        StreamingFrontEnd(FrontEndConfig(cmn="utterance"))
