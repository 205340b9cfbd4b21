"""Files of the formats that FFmpeg writes, for tests of what reads them."""

import io
from fractions import Fraction

import av
import numpy as np

BIT_RATES = {"libopencore_amrnb": 12_200}


def encoded(
    kind: str, codec: str, wave_NC: np.ndarray, rate: int, video: bool = False, streams: int = 1, **options: str
) -> bytes:
    """(N,) or (N, C) samples in [-1, 1] as a file of FFmpeg's format `kind`. options: of the format.

    video: with a stream of pictures beside it, at the first place. streams: of the same audio; 0 = pictures alone.
    """
    wave_NC = wave_NC.reshape(len(wave_NC), -1).astype(np.float32)
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[wave_NC.shape[1]]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind, options=options) as container:
        pictures = container.add_stream("mpeg4", rate=25, width=32, height=32, pix_fmt="yuv420p") if video else None
        sounds = [container.add_stream(codec, rate=rate, layout=layout) for _ in range(streams)]
        for sound in sounds:
            sound.codec_context.bit_rate = BIT_RATES.get(codec, 64_000 * wave_NC.shape[1])
        for n in range(len(wave_NC) * 25 // rate if pictures else 0):
            picture = av.VideoFrame.from_ndarray(np.full((32, 32, 3), n % 256, np.uint8), "rgb24")
            picture.pts = n
            container.mux(pictures.encode(picture))
        for sound in sounds:
            fifo_size = sound.codec_context.frame_size or 1024
            sample_format = sound.codec_context.format.name
            resampler = av.AudioResampler(sample_format, layout, rate, frame_size=fifo_size)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave_NC.T), "fltp", layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
            for piece in (*resampler.resample(frame), *resampler.resample(None)):
                container.mux(sound.encode(piece))
            container.mux(sound.encode(None))
        if pictures:
            container.mux(pictures.encode(None))
    return buffer.getvalue()
