"""The codes that tools/sidecar_table.py compares: each turns the posteriors of a shard into bytes, and back to targets.

Besides asr_kd's own there are: all posteriors as float16; the 20 likeliest as uint16 + float16, which is what the paper
(arXiv 1904.01624) can be read to keep; asr_kd's format 1; the simplest layout of format 2's numbers, planes under zstd;
and a code like icefall's MVQ.
"""

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from sklearn.cluster import MiniBatchKMeans

from asr_kd.targets.codec import EncodedRows, ProbabilityQuantiser, encode_table
from asr_kd.targets.frame_targets import FrameTargets
from asr_kd.targets.topk import SelectionConfig, select_top_k

ZSTD_LEVEL = 9


class Code(Protocol):
    """A way to store a shard's posteriors."""

    name: str
    of_hidden: bool
    """Encodes hidden layers (T, H) instead of log-posteriors (T, C)."""

    def encode(self, rows: list[np.ndarray]) -> bytes:
        """One array an utterance."""
        ...

    def decode(self, data: bytes) -> Sequence[FrameTargets | None]:
        """The targets of each utterance."""
        ...


class Full:
    """All log-posteriors in float16, frame by frame, classes in their own order (not sorted by likelihood)."""

    of_hidden = False

    def __init__(self, zstd: bool) -> None:
        self.name = "all, float16" + (", zstd" if zstd else "")
        self._codec = pa.Codec("zstd", ZSTD_LEVEL) if zstd else None

    def encode(self, rows: list[np.ndarray]) -> bytes:
        """Header: utterances, classes, frames of each; then the values."""
        head = np.array([len(rows), rows[0].shape[1], *map(len, rows)], np.int32).tobytes()
        body = np.concatenate(rows).astype(np.float16).tobytes()
        return head + (body if self._codec is None else self._codec.compress(body, asbytes=True))

    def decode(self, data: bytes) -> list[FrameTargets | None]:
        """Targets with as many slots as classes."""
        count, classes = np.frombuffer(data, np.int32, 2)
        frames = np.frombuffer(data, np.int32, count, 8)
        body = data[8 + 4 * count :]
        if self._codec is not None:
            body = self._codec.decompress(body, int(frames.sum()) * int(classes) * 2, asbytes=True)
        log_p_NC = np.frombuffer(body, np.float16).reshape(-1, classes).astype(np.float32)
        ids_C = np.arange(classes, dtype=np.int32)
        return [
            FrameTargets(np.broadcast_to(ids_C, x_TC.shape), x_TC, np.full(len(x_TC), -np.inf, np.float32))
            for x_TC in np.split(log_p_NC, np.cumsum(frames)[:-1])
        ]


class TopK:
    """The k likeliest of each frame: uint16 ids and float16 probabilities; the tail is what they leave of 1."""

    of_hidden = False

    def __init__(self, k: int, zstd: bool) -> None:
        self.name = f"top {k}, uint16 + float16" + (", zstd" if zstd else "")
        self.k = k
        self._codec = pa.Codec("zstd", ZSTD_LEVEL) if zstd else None

    def encode(self, rows: list[np.ndarray]) -> bytes:
        """Header, all ids, all probabilities."""
        kept = [select_top_k(torch.from_numpy(x), SelectionConfig(top_k=self.k, min_prob=0)) for x in rows]
        head = np.array([len(rows), *map(len, rows)], np.int32).tobytes()
        body = np.concatenate([x.ids_TK for x in kept]).astype(np.uint16).tobytes()
        body += np.exp(np.concatenate([x.log_p_TK for x in kept])).astype(np.float16).tobytes()
        return head + (body if self._codec is None else self._codec.compress(body, asbytes=True))

    def decode(self, data: bytes) -> list[FrameTargets | None]:
        """Targets of k slots."""
        (count,) = np.frombuffer(data, np.int32, 1)
        frames = np.frombuffer(data, np.int32, count, 4)
        total, body = int(frames.sum()), data[4 + 4 * count :]
        if self._codec is not None:
            body = self._codec.decompress(body, total * self.k * 4, asbytes=True)
        ids_NK = np.frombuffer(body, np.uint16, total * self.k).reshape(total, -1).astype(np.int32)
        p_NK = np.frombuffer(body, np.float16, total * self.k, total * self.k * 2).reshape(total, -1)
        p_NK = p_NK.astype(np.float32)
        with np.errstate(divide="ignore"):
            log_p_NK = np.log(p_NK)
            log_tail_N = np.log(np.maximum(1 - p_NK.sum(1), 0))
        cuts = np.cumsum(frames)[:-1]
        parts = (np.split(x, cuts) for x in (ids_NK, log_p_NK, log_tail_N))
        return [FrameTargets(*each) for each in zip(*parts, strict=True)]


class Format1:
    """asr_kd's first format: Parquet lists under zstd; -log p on a square-root scale in one byte, ids in two."""

    of_hidden = False
    step = 4 / 254
    columns = ("counts", "ids", "log_p", "log_tail")

    def __init__(self, selection: SelectionConfig, note: str) -> None:
        self.name = f"format 1, {note}"
        self.selection = selection

    def _code(self, log_p: np.ndarray) -> np.ndarray:
        code = np.rint(np.sqrt(-np.clip(log_p, -16, 0)) / self.step).astype(np.uint8)
        return np.where(np.isneginf(log_p), np.uint8(255), code)

    def encode(self, rows: list[np.ndarray]) -> bytes:
        """The bytes of the Parquet file."""
        lists: dict[str, list[np.ndarray]] = {name: [] for name in self.columns}
        for log_p_TC in rows:
            x = select_top_k(torch.from_numpy(log_p_TC), self.selection)
            kept_TK = x.ids_TK >= 0
            values = (kept_TK.sum(1).astype(np.uint8), x.ids_TK[kept_TK].astype(np.uint16))
            for name, value in zip(self.columns, (*values, self._code(x.log_p_TK[kept_TK])), strict=False):
                lists[name].append(value)
            lists["log_tail"].append(self._code(x.log_tail_T))
        types = {"ids": pa.uint16()}
        table = pa.table({n: pa.array(v, pa.list_(types.get(n, pa.uint8()))) for n, v in lists.items()})
        sink = BytesIO()
        pq.write_table(table, sink, compression="zstd")
        return sink.getvalue()

    def decode(self, data: bytes) -> list[FrameTargets | None]:
        """As format 1's reader did, row by row, scaled to sum to 1."""
        scale = -np.square(np.arange(256) * self.step).astype(np.float32)
        scale[255] = -np.inf
        table = pq.ParquetFile(BytesIO(data)).read(use_threads=False)
        columns = [table.column(name).combine_chunks() for name in self.columns]
        targets: list[FrameTargets | None] = []
        for row in range(table.num_rows):
            counts_T, ids, log_p, log_tail = (c[row].values.to_numpy() for c in columns)
            kept_TK = np.arange(max(1, counts_T.max(initial=0))) < counts_T[:, None]
            ids_TK, log_p_TK = np.full(kept_TK.shape, -1, np.int32), np.full(kept_TK.shape, -np.inf, np.float32)
            ids_TK[kept_TK], log_p_TK[kept_TK] = ids, scale[log_p]
            log_tail_T = scale[log_tail]
            log_sum_T = np.log(np.exp(log_p_TK).sum(1) + np.exp(log_tail_T))
            targets.append(FrameTargets(ids_TK, log_p_TK - log_sum_T[:, None], log_tail_T - log_sum_T))
        return targets


class Planes:
    """Format 2's numbers in the simplest small layout: for each rank all ids, and all steps of codes, under zstd."""

    of_hidden = False

    def __init__(self, selection: SelectionConfig, quantiser: ProbabilityQuantiser, note: str) -> None:
        self.name = f"planes + zstd 19, {note}"
        self.selection, self.quantiser = selection, quantiser
        self._codec = pa.Codec("zstd", 19)

    def encode(self, rows: list[np.ndarray]) -> bytes:
        """Header; then tails, counts, and by rank the ids' low bytes, their high bytes, the steps of the codes."""
        x = select_top_k(torch.from_numpy(np.concatenate(rows)), self.selection)
        kept_KN = (x.ids_TK >= 0).T
        ids_KN = x.ids_TK.T.astype(np.uint16)
        codes_TK = self.quantiser.encode(x.log_p_TK)
        steps_KN = np.diff(codes_TK, axis=1, prepend=np.uint8(0)).T
        parts = [self.quantiser.encode_tail(x.log_tail_T), kept_KN.sum(0).astype(np.uint8)]
        for plane_KN in ((ids_KN & 255).astype(np.uint8), (ids_KN >> 8).astype(np.uint8), steps_KN):
            parts += [plane_N[kept_N] for plane_N, kept_N in zip(plane_KN, kept_KN, strict=True)]
        body = np.concatenate(parts).astype(np.uint8).tobytes()
        head = np.array([len(rows), len(body), *map(len, rows)], np.int32).tobytes()
        return head + self._codec.compress(body, asbytes=True)

    def decode(self, data: bytes) -> list[FrameTargets | None]:
        """Planes back into slots, scaled to sum to 1."""
        count, size = np.frombuffer(data, np.int32, 2)
        frames = np.frombuffer(data, np.int32, count, 8)
        total = int(frames.sum())
        body = np.frombuffer(self._codec.decompress(data[8 + 4 * count :], int(size), asbytes=True), np.uint8)
        tails_N, counts_N = body[:total], body[total : 2 * total]
        width = int(counts_N.max(initial=1))
        kept_KN = np.arange(width)[:, None] < counts_N
        planes = np.zeros((3, width, total), np.uint8)
        planes[:, kept_KN] = body[2 * total :].reshape(3, -1)
        p_KN = self.quantiser.probabilities[np.cumsum(planes[2], axis=0, dtype=np.uint8)] * kept_KN
        tail_N = self.quantiser.probabilities[tails_N]
        sum_N = p_KN.sum(0) + tail_N
        with np.errstate(divide="ignore"):
            log_p_NK = np.log(p_KN / sum_N).T.astype(np.float32)
            log_tail_N = np.log(tail_N / sum_N).astype(np.float32)
        ids_KN = np.where(kept_KN, planes[0] + 256 * planes[1].astype(np.int32), -1).astype(np.int32)
        parts = (np.split(x, np.cumsum(frames)[:-1]) for x in (np.ascontiguousarray(ids_KN.T), log_p_NK, log_tail_N))
        return [FrameTargets(*each) for each in zip(*parts, strict=True)]


class Format2:
    """asr_kd's sidecars: Parquet around packed frames."""

    of_hidden = False

    def __init__(self, selection: SelectionConfig, quantiser: ProbabilityQuantiser, note: str) -> None:
        self.name = f"format 2, {note}"
        self.selection, self.quantiser = selection, quantiser

    def encode(self, rows: list[np.ndarray]) -> bytes:
        """The bytes of the sidecar."""
        kept = [select_top_k(torch.from_numpy(x), self.selection) for x in rows]
        table = encode_table([f"utterance-{i:06d}" for i in range(len(rows))], kept, self.quantiser)
        sink = BytesIO()
        options = {"compression": "zstd", "compression_level": 9, "write_statistics": False}
        dictionary = [name for name in table.column_names if name != "packed"]
        pq.write_table(table, sink, use_dictionary=dictionary, write_page_checksum=True, **options)
        return sink.getvalue()

    def decode(self, data: bytes) -> Sequence[FrameTargets | None]:
        """Through the reader that training uses."""
        file = pq.ParquetFile(BytesIO(data), page_checksum_verification=True)
        return EncodedRows(file.read(use_threads=False), self.quantiser)


class Mvq:
    """Like icefall's MVQ: the hidden layer of a frame as one byte in each of 8 codebooks.

    Differences: icefall quantises a middle layer of a self-supervised model and trains codebooks and index search
    jointly (Guo et al., arXiv 2211.00508), and its student predicts the indices. Here each codebook is k-means of what
    those before it left over, of the layer under the output, and the output layer turns the sum back into posteriors,
    of which those above a floor are kept: so that it can be compared as a code of posteriors.
    """

    of_hidden = True
    codebooks, entries = 8, 256

    def __init__(self, hidden_NH: np.ndarray, output: Callable[[np.ndarray], np.ndarray]) -> None:
        self.name = f"MVQ-like, {self.codebooks} bytes"
        self._output = output
        self._books = []
        left_NH = hidden_NH.astype(np.float32)
        for number in range(self.codebooks):
            means = MiniBatchKMeans(self.entries, batch_size=4096, n_init=1, random_state=number).fit(left_NH)
            self._books.append(means)
            left_NH = left_NH - means.cluster_centers_[means.predict(left_NH)]

    def encode(self, rows: list[np.ndarray]) -> bytes:
        """Header, then the bytes of each frame."""
        left_NH = np.concatenate(rows).astype(np.float32)
        codes = []
        for means in self._books:
            codes.append(means.predict(left_NH))
            left_NH = left_NH - means.cluster_centers_[codes[-1]]
        head = np.array([len(rows), *map(len, rows)], np.int32).tobytes()
        return head + np.stack(codes, 1).astype(np.uint8).tobytes()

    def decode(self, data: bytes) -> list[FrameTargets | None]:
        """Sum of the entries, output layer, selection."""
        (count,) = np.frombuffer(data, np.int32, 1)
        frames = np.frombuffer(data, np.int32, count, 4)
        codes_NB = np.frombuffer(data, np.uint8, offset=4 + 4 * count).reshape(-1, self.codebooks)
        hidden_NH = sum(means.cluster_centers_[codes_NB[:, b]] for b, means in enumerate(self._books))
        log_p_NC = torch.from_numpy(self._output(np.asarray(hidden_NH, np.float32)))
        return [select_top_k(x, SelectionConfig(top_k=255, min_prob=1e-5)) for x in log_p_NC.split(frames.tolist())]


def candidates() -> list[Code]:
    """All codes that need no training."""
    chosen, quantiser = SelectionConfig(), ProbabilityQuantiser()
    default = f"k {chosen.top_k}, floor {chosen.min_prob:g}"
    levels = f"{quantiser.levels} levels"
    codes: list[Code] = [
        Full(zstd=False),
        Full(zstd=True),
        TopK(20, zstd=False),
        TopK(20, zstd=True),
        Format1(SelectionConfig(top_k=20, min_prob=0), "k 20 (its default)"),
        Format1(chosen, default),
        Planes(chosen, quantiser, f"{default}, {levels}"),
    ]
    others = [(20, 0.0, None), (20, 0.0006, None), (40, 0.0, 0.995), (40, 0.002, None), (40, 0.005, None)]
    for k, floor, mass in [(chosen.top_k, chosen.min_prob, None), *others, (120, 0.0002, None)]:
        note = f"k {k}" + (f", floor {floor:g}" if floor else "") + (f", mass {mass:g}" if mass else "")
        codes.append(Format2(SelectionConfig(k, mass, floor), quantiser, f"{note}, {levels}"))
    for number in (10, 24, 30):
        codes.append(Format2(chosen, ProbabilityQuantiser(number), f"{default}, {number} levels"))
    return codes
