"""A streaming LSTM as an ONNX graph that takes one window of features at a time and keeps its state outside.

A window holds `chunk` frames and the `lookahead` frames behind them; the next one begins `chunk` frames later. The
answer of a window is that of its first `chunk` frames, so frame t of the answer is frame t of the audio. No LSTM reads
a frame twice: each layer has already read the frames that its look-ahead needed, and goes on with the new ones. Only
the first window of a stream (`count` is 0) has more of them. Several streams go in one batch, each at its own place.

With J_l frames of look-ahead behind layer l and A of all layers, layer l has read A - (J_1 + ... + J_{l-1}) frames of a
window when it begins; this many of its inputs are new only in the first window.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from asr_kd.export.onnx_graph import OnnxGraph, Value
from asr_kd.frontend.fbank import FrontEndConfig, exponential_decay, exponential_weights
from asr_kd.models.acoustic import AcousticModel
from asr_kd.models.lstm import LookAhead, LstmEncoder, LstmLayer
from asr_kd.models.streaming import streams


@dataclass(frozen=True)
class StatePart:
    """One thing that a stream remembers; shape without the batch."""

    shape: tuple[int, ...]

    @property
    def values(self) -> int:
        """Numbers in it."""
        return int(np.prod(self.shape))


@dataclass(frozen=True)
class NetworkValues:
    """Names of what `StreamingNetwork.build` made."""

    log_p: Value
    """(N, chunk, C)."""
    state: Value
    """(N, state_values)."""
    count: Value
    """(N,)."""


class StreamingNetwork:
    """Builds the graph of one model. All state is 0 at the begin of a stream."""

    def __init__(self, model: AcousticModel, chunk: int) -> None:
        """chunk: frames that a window answers. The caller checks `exportable`."""
        assert streams(model) and isinstance(model.encoder, LstmEncoder)
        self.model, self.chunk = model.eval(), chunk
        self.lookahead = model.config.lookahead
        self._layers: list[tuple[LstmLayer, LookAhead | None]] = [
            (layer, lookahead if isinstance(lookahead, LookAhead) else None)  # type: ignore[misc]
            for layer, lookahead in zip(model.encoder.layers, model.encoder.lookaheads, strict=True)
        ]
        frontend = model.frontend
        self.mel_bins, self.stack = frontend.mel_bins, frontend.frame_stacking
        self.parts = self._state_parts()
        self._new: list[Value] = []

    @property
    def state_values(self) -> int:
        """Numbers that a stream remembers."""
        return sum(part.values for part in self.parts)

    @property
    def window(self) -> int:
        """Features of the front end, before stacking, in a window."""
        return (self.chunk + self.lookahead) * self.stack

    def build(self, g: OnnxGraph, x: Value, state: Value, count: Value, frames: Value | None) -> NetworkValues:
        """Add the network's nodes.

        x: log mel energies without any mean taken off, (N, window, mel_bins).  state: (N, state_values) float.
        count: (N,) int64, frames that were answered before.  frames: (N,) int64, how many stacked frames of the window
        are real, which the last ones of a stream need; None takes all for real.
        """
        self._parts = self._unpacked(g, state)
        self._new = []
        first_N = g.node("Equal", count, g.ints(0))
        x = self._new_first(g, x, g.reshape(first_N, -1, 1, 1))
        x = _MEANS[self.model.frontend.cmn](self, g, x, first_N, count)
        x_NTF = g.reshape(x, 0, -1, self.mel_bins * self.stack)
        mean_F, std_F = (v.numpy() for v in (self.model.feature_mean_F, self.model.feature_std_F))
        x_NTF = g.node("Mul", g.node("Sub", x_NTF, g.constant(mean_F)), g.constant(1 / std_F))
        h_TNH = g.node("Transpose", x_NTF, perm=[1, 0, 2])
        left = self.lookahead
        for layer, lookahead in self._layers:
            h_TNH = self._lstm(g, layer, h_TNH, first_N, left)
            if lookahead is not None:
                h_TNH = self._look_ahead(g, lookahead, h_TNH, first_N, left, frames)
                left -= len(lookahead.weight_JF)
        assert left == 0
        output = self.model.output
        logits = g.node(
            "Add", g.node("MatMul", h_TNH, g.constant(_array(output.weight).T)), g.constant(_array(output.bias))
        )
        log_p = g.node("Transpose", g.node("LogSoftmax", logits, axis=2), perm=[1, 0, 2])
        state = g.concat(*(g.reshape(new, -1, p.values) for new, p in zip(self._new, self.parts, strict=True)), axis=1)
        return NetworkValues(log_p, state, g.node("Add", count, g.ints(self.chunk)))

    def _state_parts(self) -> list[StatePart]:
        parts = _MEAN_PARTS[self.model.frontend.cmn](self.model.frontend)
        for layer, lookahead in self._layers:
            cells = layer.forwards.hidden_size
            parts += [StatePart((cells,)), StatePart((cells,))]
            if lookahead is not None:
                parts.append(StatePart(tuple(lookahead.weight_JF.shape)))
        return parts

    def _unpacked(self, g: OnnxGraph, state: Value) -> list[Value]:
        split = g.node_of_many("Split", state, g.ints(*(p.values for p in self.parts)), outputs=len(self.parts), axis=1)
        return [g.reshape(value, -1, *p.shape) for value, p in zip(split, self.parts, strict=True)]

    def _new_first(self, g: OnnxGraph, x: Value, first_N11: Value) -> Value:
        """A window whose new frames come first: all of the first one, else those behind the look-ahead of the last."""
        old = self.lookahead * self.stack
        if not old:
            return x
        shifted = g.concat(g.slice(x, old, self.window, 1), g.slice(x, 0, old, 1), axis=1)
        return g.node("Where", first_N11, x, shifted)

    def _lstm(self, g: OnnxGraph, layer: LstmLayer, x_TNF: Value, first_N: Value, left: int) -> Value:
        """(T, N, H) of an LSTM layer. left: inputs that are new only in the first window."""
        lstm, cells = layer.forwards, layer.forwards.hidden_size
        hidden, cell = (g.reshape(self._parts.pop(0), 1, -1, cells) for _ in range(2))
        w, r, bw, br = (_onnx_gates(_array(v)) for v in lstm.all_weights[0])
        steps = ""
        if left:
            steps = g.node("Where", first_N, g.int32(self.chunk + left), g.int32(self.chunk))
        y, hidden, cell = g.node_of_many(
            "LSTM",
            x_TNF,
            g.constant(w[None]),
            g.constant(r[None]),
            g.constant(np.concatenate([bw, br])[None]),
            steps,
            hidden,
            cell,
            outputs=3,
            hidden_size=cells,
        )
        self._new += [hidden, cell]
        h_TNH = g.node("Squeeze", y, g.ints(1))
        if layer.projection is not None:
            h_TNH = g.node("MatMul", h_TNH, g.constant(_array(layer.projection.weight).T))
        return h_TNH

    def _look_ahead(
        self, g: OnnxGraph, lookahead: LookAhead, h_TNH: Value, first_N: Value, left: int, frames: Value | None
    ) -> Value:
        """The outputs whose look-ahead is known, `chunk` + `left` - J of them; the last J wait for the next window."""
        length, waits, chunk = self.chunk + left, len(lookahead.weight_JF), self.chunk
        first_1N1 = g.reshape(first_N, 1, -1, 1)
        if frames is not None:
            h_TNH = self._inside(g, h_TNH, first_1N1, left, frames)
        waiting_TNH = g.node("Transpose", self._parts.pop(0), perm=[1, 0, 2])
        later = g.concat(waiting_TNH, g.slice(h_TNH, 0, length - waits, 0), axis=0)
        known = g.node("Where", first_1N1, h_TNH, later)
        mixed = g.slice(known, 0, length - waits, 0)
        for j, weight_F in enumerate(_array(lookahead.weight_JF), 1):
            mixed = g.node("Add", mixed, g.node("Mul", g.slice(known, j, j + length - waits, 0), g.constant(weight_F)))
        kept = g.node(
            "Where", first_1N1, g.slice(known, length - waits, length, 0), g.slice(known, chunk, chunk + waits, 0)
        )
        self._new.append(g.node("Transpose", kept, perm=[1, 0, 2]))
        return mixed

    def _inside(self, g: OnnxGraph, h_TNH: Value, first_1N1: Value, left: int, frames: Value) -> Value:
        """Zeros for what lies behind the end of the audio."""
        time_T11 = g.constant(np.arange(self.chunk + left, dtype=np.int64).reshape(-1, 1, 1))
        place = g.node("Where", first_1N1, time_T11, g.node("Add", time_T11, g.ints(left)))
        inside = g.node("Less", place, g.reshape(frames, 1, -1, 1))
        return g.node("Where", inside, h_TNH, g.number(0))

    def _no_mean(self, g: OnnxGraph, x: Value, first_N: Value, count: Value) -> Value:
        return x

    def _exponential_mean(self, g: OnnxGraph, x: Value, first_N: Value, count: Value) -> Value:
        """Less the exponential mean, which is remembered less `cmn_init`: a state of zeros is that of a new stream."""
        config = self.model.frontend
        weights_TT, kept_T = exponential_weights(self.window, exponential_decay(config))
        before_NF = g.node("Add", self._parts.pop(0), g.number(config.cmn_init))
        mean = g.node(
            "Add",
            g.node("MatMul", g.constant(weights_TT.float().numpy()), x, name=f"{UNROUNDED}mean"),
            g.node("Mul", g.reshape(before_NF, -1, 1, self.mel_bins), g.constant(kept_T.float().numpy()[:, None])),
        )
        last = self.chunk * self.stack
        kept = g.node(
            "Where",
            g.reshape(first_N, -1, 1, 1),
            g.slice(mean, self.window - 1, self.window, 1),
            g.slice(mean, last - 1, last, 1),
        )
        self._new.append(g.node("Sub", g.reshape(kept, -1, self.mel_bins), g.number(config.cmn_init)))
        return g.node("Sub", x, mean)

    def _causal_mean(self, g: OnnxGraph, x: Value, first_N: Value, count: Value) -> Value:
        """Less the mean of the last frames, as `FrontEnd` defines it; the frames of that time are remembered."""
        config, window = self.model.frontend, _mean_window(self.model.frontend)
        prior = min(round(config.cmn_init_s / config.frame_shift_s), window)
        frames = g.concat(self._parts.pop(0), x, axis=1)
        totals = g.node("CumSum", g.node("Cast", frames, to=DOUBLE), g.ints(1))
        sums = g.node("Sub", g.slice(totals, window, window + self.window, 1), g.slice(totals, 0, self.window, 1))
        read = g.node("Mul", g.node("Add", count, g.ints(self.lookahead)), g.ints(self.stack))
        before_N1 = g.reshape(g.node("Where", first_N, g.ints(0), read), -1, 1)
        seen = g.node("Add", before_N1, g.constant(np.arange(1, self.window + 1, dtype=np.int64)))
        seen = g.node("Min", seen, g.ints(window))
        priors = g.node("Min", g.node("Sub", g.ints(window), seen), g.ints(prior))
        weight = g.node("Cast", g.node("Add", seen, priors), to=DOUBLE)
        init = g.node("Mul", g.node("Cast", priors, to=DOUBLE), g.number(config.cmn_init, np.float64))
        mean = g.node("Div", g.node("Add", sums, g.reshape(init, 0, -1, 1)), g.reshape(weight, 0, -1, 1))
        new = self.chunk * self.stack
        kept = g.node(
            "Where",
            g.reshape(first_N, -1, 1, 1),
            g.slice(frames, self.window, self.window + window, 1),
            g.slice(frames, new, new + window, 1),
        )
        self._new.append(kept)
        return g.node("Sub", x, g.node("Cast", mean, to=FLOAT))


def _mean_window(config: FrontEndConfig) -> int:
    return max(1, round(config.cmn_window_s / config.frame_shift_s))


DOUBLE, FLOAT = 11, 1
"""Numbers of ONNX's types."""
UNROUNDED = "unrounded_"
"""Products whose names begin so stay in float32 when a model is quantised."""
_MEANS: dict[str, Callable[[StreamingNetwork, OnnxGraph, Value, Value, Value], Value]] = {
    "none": StreamingNetwork._no_mean,
    "exponential": StreamingNetwork._exponential_mean,
    "causal": StreamingNetwork._causal_mean,
}
_MEAN_PARTS: dict[str, Callable[[FrontEndConfig], list[StatePart]]] = {
    "none": lambda config: [],
    "exponential": lambda config: [StatePart((config.mel_bins,))],
    "causal": lambda config: [StatePart((_mean_window(config), config.mel_bins))],
}


def _array(value: torch.Tensor) -> np.ndarray:
    return value.detach().cpu().float().numpy()


def _onnx_gates(weight: np.ndarray) -> np.ndarray:
    """PyTorch's order of gates, input, forget, cell, output, as ONNX has it: input, output, forget, cell."""
    i, f, c, o = np.split(weight, 4)
    return np.concatenate([i, o, f, c])
