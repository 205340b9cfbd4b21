"""Writes OUT/hyp.jsonl, one {"id", "text", "seconds"} a line in order of id, and OUT/decode.json with the scales, the
model's parameters and the real-time factor:

  asr-kd decode exp/shards/test --model exp/student --graph exp/graph \\
      --decoding-scales exp/student/tune --out exp/decode

A model of tokens (`asr-kd tokens`) can be decoded without --graph: greedy CTC decoding.

Utterances with damaged audio, also those that `asr-kd shard` set aside, are skipped: their line has "reason" instead of
text, OUT/skipped.jsonl lists them, and `asr-kd score` counts their words as deletions.
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from asr_kd.core.commands import command
from asr_kd.core.files import write_json
from asr_kd.core.options import argument, option
from asr_kd.core.progress import Progress
from asr_kd.core.runtime import resolve_precision, set_threads
from asr_kd.core.skipped import Skipped
from asr_kd.core.terminal import say
from asr_kd.decode.recognise import Recogniser, RecogniserOptions, all_shards, describe
from asr_kd.graph.scales import DecodingScales
from asr_kd.graph.search import SearchConfig
from asr_kd.shards.reader import open_shard
from asr_kd.teachers.registry import models_fingerprint
from asr_kd.transcripts.recognised import Alternative, RecognisedUtterance, write_recognised


@dataclass(frozen=True, kw_only=True)
class DecodeRun(RecogniserOptions):
    """What `asr-kd decode` is given."""

    shards: tuple[Path, ...] = argument("shards or folders of shards to recognise")
    decoding_scales: Path | None = option(
        "tune.json of `asr-kd tune`, or its folder (default: acoustic 1; prior 1 for senones, 0 for tokens)",
        None,
        metavar="DIR",
    )
    nbest: int = option("hypotheses per utterance; above 1 also written as `nbest`", 1, metavar="N")
    search: SearchConfig = field(default_factory=SearchConfig)
    precision: str = option(
        "of the forward pass: auto (bf16 where the device is fast in it, else float32), bf16, float32; "
        "int8 for a quantised model",
        "auto",
    )


@command()
def decode_shards(config: DecodeRun) -> None:
    """Recognise shards."""
    threads = set_threads(config.threads)
    skipped = Skipped(max_share=config.max_skipped)
    recogniser = Recogniser(config.model, config.graph, config.device, config.precision)
    scales = (
        DecodingScales.load(config.decoding_scales)
        if config.decoding_scales
        else DecodingScales(prior=recogniser.inventory.default_prior_scale)
    )
    shards, seconds = all_shards(config.shards)
    searcher = recogniser.searcher(config.search, scales.word_insertion_penalty)
    lines: dict[str, RecognisedUtterance] = {}
    with Progress("decode", seconds) as progress:
        for scored in recogniser.score(shards, skipped, progress):
            words = recogniser.search(searcher, scored.log_p_TC, scales)
            best = None
            if config.nbest > 1:
                found = searcher.n_best(recogniser.scaled(scored.log_p_TC, scales), config.nbest)
                best = [Alternative(" ".join(h.words), round(h.cost, 3)) for h in found]
            if scored.id in lines:
                raise ValueError(f"{scored.id}: two utterances have this id. Decode their shards one after the other.")
            lines[scored.id] = RecognisedUtterance(
                id=scored.id, text=" ".join(words), seconds=scored.seconds, alternatives=best
            )
    for path in shards:
        for item in open_shard(path).set_aside:
            if item["id"] not in lines:
                skipped.add(item["id"], item["error"])
    for name, reason in skipped.reasons.items():
        lines[name] = RecognisedUtterance.skipped(name, reason)
    skipped.finish(len(lines), config.out / "skipped.jsonl")
    write_recognised(config.out / "hyp.jsonl", [lines[i] for i in sorted(lines)])
    model = recogniser.inference.model
    write_json(
        config.out / "decode.json",
        {
            **describe(scales, config.search),
            "language": recogniser.inventory.language,
            "model": models_fingerprint(config.model),
            "graph": None if recogniser.graph is None else recogniser.graph.fingerprint,
            "params": model.parameter_count,
            "precision": resolve_precision(recogniser.inference.device, config.precision),
            "rtf": recogniser.real_time_factor,
            "utterances": len(lines) - len(skipped),
            **({"skipped": len(skipped)} if skipped else {}),
            "audio_seconds": recogniser.audio_seconds,
            "threads": threads,
            "torch": torch.__version__,
        },
    )
    decoded = len(lines) - len(skipped)
    say(
        f"{decoded} utterances, real-time factor {recogniser.real_time_factor:.4f}: {config.out / 'hyp.jsonl'}",
    )
