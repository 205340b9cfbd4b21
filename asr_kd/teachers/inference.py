"""A model at work: waveforms in, log-posteriors or scores out. Labelling, alignment and decoding all use this."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from asr_kd.core.runtime import autocast
from asr_kd.frontend.streaming import StreamingFrontEnd
from asr_kd.models.acoustic import AcousticModel
from asr_kd.models.streaming import FrameStream, ModelStream, streams
from asr_kd.teachers.ensemble import Ensemble
from asr_kd.teachers.int8_model import Int8Model
from asr_kd.teachers.onnx_model import OnnxModel, OnnxStream
from asr_kd.teachers.wav2vec2 import Wav2Vec2Teacher

CPU_BLOCK_FRAMES = 256
"""Frames whose posteriors are normalised at a time: a few megabytes with thousands of classes, which stay in cache."""
NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "_ALLOC_FAILED")
"""What PyTorch, cuDNN and cuBLAS say then."""


class Inference:
    """A model, or an ensemble, in evaluation mode with its front end on one device."""

    def __init__(
        self,
        model: AcousticModel | Wav2Vec2Teacher | OnnxModel | Ensemble,
        device: torch.device,
        precision: str = "auto",
    ) -> None:
        """ValueError for int8 on anything but a CPU, or with weights that are not of eight bits."""
        if precision == "int8" and device.type != "cpu":
            raise ValueError(f"precision is int8, which {device} has no kernels for. Use --device cpu.")
        self.model: AcousticModel | Wav2Vec2Teacher | OnnxModel | Ensemble | Int8Model = model.to(device).eval()
        if precision == "int8":
            if isinstance(model, Wav2Vec2Teacher):
                raise ValueError("precision is int8: a bundle has no weights of eight bits. Give another --precision.")
            if isinstance(model, OnnxModel):
                raise ValueError("precision is int8: give the file model.int8.onnx instead, and no --precision.")
            self.model = Int8Model(model)
        self.frontend = model.frontend.build()
        self.device = device
        self.precision = precision

    @property
    def is_live(self) -> bool:
        """Whether the model can answer while audio is still coming in."""
        return isinstance(self.model, OnnxModel) or streams(self.model)

    def stream(self) -> tuple[StreamingFrontEnd, FrameStream]:
        """The front end and the model at work on a new stream; `is_live` only."""
        model = self.model
        if isinstance(model, OnnxModel):
            return StreamingFrontEnd(model.frontend), OnnxStream(model)
        assert streams(model), "the caller asks first"
        return StreamingFrontEnd(model.frontend), ModelStream(model, self.precision)

    @torch.inference_mode()
    def features(self, waves: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        """The front end's output of a padded batch, (B, T, F) and frames (B,), on the CPU."""
        return self.frontend(*pad_waves(waves))

    @torch.inference_mode()
    def log_posteriors(self, x_BTF: Tensor, frames_B: Tensor) -> Tensor:
        """Natural-log posteriors (B, T, C) in float32 on the model's device; frames behind the end are undefined.

        A batch that does not fit into memory is asked in halves, down to single utterances, and the answer lies in main
        memory then. Raises what PyTorch raised when one utterance does not fit.
        """
        if not x_BTF.shape[1]:  # a batch of utterances shorter than one frame, which an LSTM refuses
            return torch.zeros(len(x_BTF), 0, self.model.inventory.num_classes, device=self.device)
        try:
            return self._log_posteriors(x_BTF, frames_B)
        except (RuntimeError, MemoryError) as e:  # torch.OutOfMemoryError is a RuntimeError
            if len(x_BTF) == 1 or not is_out_of_memory(e):
                raise
        # Out here, the error no longer holds on to what had been computed.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        log_p_BTC = torch.zeros(*x_BTF.shape[:2], self.model.inventory.num_classes)
        middle = len(x_BTF) // 2
        for half in (slice(middle), slice(middle, None)):
            steps = int(frames_B[half].max())
            log_p_BTC[half, :steps] = self.log_posteriors(x_BTF[half, :steps], frames_B[half]).cpu()
        return log_p_BTC

    def _log_posteriors(self, x_BTF: Tensor, frames_B: Tensor) -> Tensor:
        with autocast(self.device, self.precision):
            logits_BTC = self.model(x_BTF.to(self.device), frames_B.to(self.device)).float()
        if self.device.type != "cpu":
            return logits_BTC.log_softmax(-1)
        # In place: to fetch another (B, T, C) from the system costs more than the arithmetic.
        logits_BTC = logits_BTC.contiguous()
        for block_NC in logits_BTC.flatten(0, 1).split(CPU_BLOCK_FRAMES):
            block_NC.copy_(block_NC.log_softmax(-1))
        return logits_BTC

    def scores(self, waves: Sequence[np.ndarray], prior_scale: float = 1.0) -> list[np.ndarray]:
        """Log-posteriors less `prior_scale` times the log-priors, (T, C) for each waveform: scaled likelihoods."""
        x_BTF, frames_B = self.features(waves)
        log_p_BTC = self.log_posteriors(x_BTF, frames_B)
        score_BTC = (log_p_BTC - prior_scale * self.model.log_prior_C.to(self.device)).cpu().numpy()
        return [score_BTC[i, : int(n)] for i, n in enumerate(frames_B)]


def is_out_of_memory(error: Exception) -> bool:
    """Whether PyTorch could not get memory, on whatever device."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(t in str(error) for t in NO_MEMORY)


def pad_waves(waves: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Waveforms of different lengths as (B, N) float32, zeros behind their ends, and their lengths (B,)."""
    samples_B = torch.tensor([len(w) for w in waves])
    wave_BN = torch.zeros(len(waves), int(samples_B.max()))
    for row, wave in zip(wave_BN, waves, strict=True):
        row[: len(wave)] = torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32))
    return wave_BN, samples_B
