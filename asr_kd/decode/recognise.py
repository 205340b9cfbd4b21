"""Recognition of shards: the model's scores through a graph, or greedily. `decode` and `tune` share it."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from asr_kd.core.options import DEVICE_HELP, THREADS_HELP, option
from asr_kd.core.progress import Progress
from asr_kd.core.runtime import device
from asr_kd.core.skipped import Skipped, SkippedOptions
from asr_kd.decode.word_decoder import GraphDecoder, GreedyDecoder, WordDecoder
from asr_kd.graph.graph import load_graph
from asr_kd.graph.scales import DecodingScales
from asr_kd.graph.search import SearchConfig
from asr_kd.inventory.tokens import Tokens
from asr_kd.shards.readable import readable
from asr_kd.shards.reader import find_shards, open_shard
from asr_kd.teachers.inference import Inference
from asr_kd.teachers.registry import load_models
from asr_kd.transcripts.transcript_sources import check_declared_language

UTTERANCES_PER_BATCH = 16


@dataclass
class Scored:
    """One utterance's log-posteriors, ready for a search."""

    id: str
    seconds: float
    text: str | None
    log_p_TC: np.ndarray


@dataclass(frozen=True, kw_only=True)
class RecogniserOptions(SkippedOptions):
    """Of all commands that recognise."""

    model: tuple[Path, ...] = option(
        "a model's folder or .safetensors file; the posteriors of several are averaged", metavar="MODEL"
    )
    graph: Path | None = option(
        "decoding graph: output folder of `asr-kd graph` (default: greedy CTC decoding, models of tokens only)",
        None,
        metavar="DIR",
    )
    out: Path = option("output folder")
    device: str = option(DEVICE_HELP, "auto")
    threads: int | None = option(THREADS_HELP, None, metavar="N")


class Recogniser:
    """A model, or an ensemble of several, and a graph that belong together; models of tokens can do without a graph."""

    def __init__(
        self, models: Sequence[Path], graph: Path | None, device_name: str = "auto", precision: str = "auto"
    ) -> None:
        self.graph = None if graph is None else load_graph(graph)
        self.inference = Inference(load_models(models), device(device_name), precision)
        self.inventory = self.inference.model.inventory
        if self.graph is not None:
            self.graph.check(self.inventory, str(models[0]))
        elif not isinstance(self.inventory, Tokens):
            raise ValueError(
                f"{models[0]}: its inventory is of kind {self.inventory.kind}, which says no words without a graph. "
                "Give one with --graph."
            )
        self.log_prior_C = self.inference.model.log_prior_C.cpu().numpy()
        self.forward_seconds = 0.0
        self.search_seconds = 0.0
        self.audio_seconds = 0.0

    def score(
        self, shards: list[Path], skipped: Skipped, progress: Progress | None = None, every: int = 1
    ) -> Iterator[Scored]:
        """Log-posteriors of every utterance, shard by shard, short utterances first within a shard.

        skipped: gets those with damaged audio or with posteriors that are not numbers.
        every: 2 leaves out every other utterance in this order, 3 two of three, ...
        """
        seen = 0
        for path in shards:
            shard = open_shard(path)
            check_declared_language(shard, self.inventory)
            rows = sorted(range(len(shard.entries)), key=lambda r: shard.entries[r].seconds)
            seen, rows = seen + len(rows), rows[-seen % every :: every]
            for start in range(0, len(rows), UTTERANCES_PER_BATCH):
                batch, waves = readable(shard, rows[start : start + UTTERANCES_PER_BATCH], skipped)
                if not batch:
                    continue
                began = time.perf_counter()
                log_ps = self.inference.scores(waves, prior_scale=0.0)
                self.forward_seconds += time.perf_counter() - began
                for row, log_p_TC in zip(batch, log_ps, strict=True):
                    entry = shard.entries[row]
                    if np.isnan(log_p_TC).any():
                        skipped.add(entry.id, "the model's posteriors are not finite")
                        continue
                    self.audio_seconds += entry.seconds
                    yield Scored(entry.id, entry.seconds, entry.text, log_p_TC)
                    if progress:
                        progress.update(entry.seconds)

    def search(self, searcher: WordDecoder, log_p_TC: np.ndarray, scales: DecodingScales) -> list[str]:
        """Words of the best path; empty when the search found none."""
        began = time.perf_counter()
        found = searcher.best(self.scaled(log_p_TC, scales))
        self.search_seconds += time.perf_counter() - began
        return [] if found is None else found.words

    def scaled(self, log_p_TC: np.ndarray, scales: DecodingScales) -> np.ndarray:
        return scales.apply(log_p_TC, self.log_prior_C)

    def searcher(self, config: SearchConfig, word_insertion_penalty: float = 0.0) -> WordDecoder:
        """Through the graph, with the penalty in nats for each word, or greedy where there is no graph."""
        if self.graph is not None:
            return GraphDecoder(self.graph.with_word_insertion_penalty(word_insertion_penalty), config)
        assert isinstance(self.inventory, Tokens)
        return GreedyDecoder(self.inventory)

    @property
    def real_time_factor(self) -> float:
        """Seconds of work (front end, model, search) per second of audio, on this machine's threads."""
        return (self.forward_seconds + self.search_seconds) / max(self.audio_seconds, 1e-9)


def all_shards(paths: Sequence[Path]) -> tuple[list[Path], float]:
    """The shards of files and folders, and their seconds of audio."""
    shards = find_shards(*paths)
    return shards, sum(open_shard(s).seconds for s in shards)


def describe(scales: DecodingScales, config: SearchConfig) -> dict[str, float]:
    """Scales and search width as plain values."""
    return {
        "acoustic_scale": scales.acoustic,
        "prior_scale": scales.prior,
        "word_insertion_penalty": scales.word_insertion_penalty,
        **asdict(config),
    }
