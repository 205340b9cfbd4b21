"""A unidirectional LSTM at work on features that are still coming in: states are kept from one call to the next."""

from typing import Protocol, TypeGuard

import torch
from torch import Tensor, nn

from asr_kd.core.runtime import autocast
from asr_kd.models.acoustic import AcousticModel
from asr_kd.models.lstm import LookAhead, LstmEncoder, LstmLayer
from asr_kd.models.quantisation import Int8Rows

BLOCK_FRAMES = 4
"""Frames that are worked on at once: 120 ms with frames of 30 ms."""

States = tuple[Tensor, Tensor]
"""Hidden and cell state of one LSTM layer, (1, B, H) each."""


class FrameStream(Protocol):
    """Features in, log-posteriors of the same frames out, as soon as they are known."""

    @property
    def wanted(self) -> int:
        """How many frames to hand over next; any other number does as well, a little later or with more work."""
        ...

    def accept(self, x_TF: Tensor) -> Tensor:
        """Log-posteriors (N, C) of the next N frames, none or more. x_TF: the front end's output."""
        ...

    def finish(self) -> Tensor:
        """Those of the last frames; the stream is over."""
        ...


def streams(model: object) -> TypeGuard[AcousticModel]:
    """Whether a model can answer while audio is still coming in."""
    return (
        isinstance(model, AcousticModel)
        and isinstance(model.encoder, LstmEncoder)
        and not model.config.bidirectional
        and model.frontend.cmn != "utterance"
    )


class ModelStream:
    """One stream through a model; answers are `lookahead` frames behind the input, and complete at the end."""

    def __init__(self, model: AcousticModel, precision: str = "float32") -> None:
        assert streams(model), "the caller asks first"
        assert all(m.settled for m in model.modules() if isinstance(m, Int8Rows)), "load_model rounds matrices"
        self._model = model.eval()
        self._precision = precision
        self._device = model.feature_mean_F.device
        assert isinstance(model.encoder, LstmEncoder)
        self._layers: list[tuple[LstmLayer, nn.Module]] = list(
            zip(model.encoder.layers, model.encoder.lookaheads, strict=True)  # type: ignore[arg-type]
        )
        self._states: list[States | None] = [None] * len(self._layers)
        self._waiting: list[Tensor | None] = [None] * len(self._layers)
        """Of each layer, the last outputs, (J, B, H), whose look-ahead is not there yet."""

    @property
    def wanted(self) -> int:
        """As in `FrameStream`."""
        return BLOCK_FRAMES

    def accept(self, x_TF: Tensor) -> Tensor:
        """As in `FrameStream`."""
        return self._step(x_TF, is_last=False)

    def finish(self) -> Tensor:
        """As in `FrameStream`: behind the end, as in training, are zeros."""
        return self._step(torch.zeros(0, len(self._model.feature_mean_F)), is_last=True)

    @torch.inference_mode()
    def _step(self, x_TF: Tensor, is_last: bool) -> Tensor:
        model = self._model
        with autocast(self._device, self._precision):
            h_TBH = ((x_TF.to(self._device) - model.feature_mean_F) / model.feature_std_F)[:, None]
            for number, (layer, lookahead) in enumerate(self._layers):
                if len(h_TBH):
                    h_TBH, self._states[number] = _run(layer.forwards, h_TBH, self._states[number])
                    h_TBH = h_TBH if layer.projection is None else layer.projection(h_TBH)
                else:
                    h_TBH = h_TBH.new_zeros(0, 1, layer.output_dim)
                if isinstance(lookahead, LookAhead):
                    h_TBH = self._look_ahead(number, lookahead, h_TBH, is_last)
            logits_TC = model.output(h_TBH[:, 0]).float()
        return logits_TC.log_softmax(-1).cpu()

    def _look_ahead(self, number: int, lookahead: LookAhead, h_TBH: Tensor, is_last: bool) -> Tensor:
        """The outputs whose whole look-ahead is known; the others wait."""
        before_JBH, frames = self._waiting[number], len(lookahead.weight_JF)
        known_TBH = h_TBH if before_JBH is None else torch.cat([before_JBH.to(h_TBH.dtype), h_TBH])
        ready = len(known_TBH) if is_last else max(0, len(known_TBH) - frames)
        self._waiting[number] = known_TBH[ready:]
        return lookahead(known_TBH)[:ready] if ready else known_TBH[:0]


def _run(lstm: nn.LSTM, x_TBF: Tensor, state: States | None) -> tuple[Tensor, States]:
    """The LSTM's output (T, B, H) and its state then.

    A few frames on a CPU go cell by cell: oneDNN's LSTM reorders all weights in every call (4 frames of 768 cells, one
    busy core, median of 40: 67 ms so, 25 ms by cells; 160 cells: as fast).
    """
    if x_TBF.device.type != "cpu":
        return lstm(x_TBF, state)
    if state is None:
        zeros_1BH = x_TBF.new_zeros(1, x_TBF.shape[1], lstm.hidden_size)
        state = zeros_1BH, zeros_1BH
    cell, weights = (state[0][0], state[1][0]), lstm.all_weights[0]
    out: list[Tensor] = []
    for x_BF in x_TBF:
        cell = torch.lstm_cell(x_BF, cell, *weights)
        out.append(cell[0])
    return torch.stack(out), (cell[0][None], cell[1][None])
