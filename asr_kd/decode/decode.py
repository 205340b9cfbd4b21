"""Writes OUT/hyp.jsonl, one {"id", "text", "seconds"} a line in order of id, and OUT/decode.json with the scales, the
model's parameters and the real-time factor:

  asr-kd decode exp/shards/test --model exp/student --graph exp/graph \\
      --decoding-scales exp/student/tune --out exp/decode

A model of tokens (`asr-kd tokens`) spells words also without --graph: what is likeliest in each frame.

Utterances with damaged audio, also those that `asr-kd shard` set aside, are skipped: their line has "reason" instead of
text, OUT/skipped.jsonl lists them, and `asr-kd score` counts their words as deletions.
"""

import argparse
import json
from pathlib import Path

import torch

from asr_kd.core.config import load_config
from asr_kd.core.files import atomic_path, write_json
from asr_kd.core.progress import Progress
from asr_kd.core.runtime import resolve_precision, set_threads
from asr_kd.core.skipped import Skipped
from asr_kd.core.terminal import say
from asr_kd.decode.recognise import Recogniser, add_recogniser_arguments, all_shards, describe
from asr_kd.graph.scales import DecodingScales
from asr_kd.graph.search import SearchConfig
from asr_kd.shards.reader import open_shard
from asr_kd.teachers.ensemble import models_fingerprint


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `asr-kd decode`."""
    parser.add_argument("shards", nargs="+", type=Path, help="shards or folders to recognise")
    add_recogniser_arguments(parser, greedy=True)
    parser.add_argument(
        "--decoding-scales",
        type=Path,
        help="tune.json of asr-kd tune, or its folder (default: acoustic 1; prior 1 for senones, 0 for tokens)",
    )
    parser.add_argument("--nbest", type=int, default=1, help="also write that many hypotheses an utterance, as `nbest`")
    parser.add_argument("--beam", type=float, default=SearchConfig.beam, help="width of the search (default 11)")
    parser.add_argument("--precision", default="auto", help="auto, bf16, float32, or int8 for a quantised model")


def run(args: argparse.Namespace) -> int:
    """The verb."""
    threads = set_threads(args.threads)
    skipped = Skipped(max_share=args.max_skipped)
    config = load_config(SearchConfig, {"beam": args.beam})
    recogniser = Recogniser(args.model, args.graph, args.device, args.precision)
    scales = (
        DecodingScales.load(args.decoding_scales)
        if args.decoding_scales
        else DecodingScales(prior=recogniser.inventory.default_prior_scale)
    )
    shards, seconds = all_shards(args.shards)
    searcher = recogniser.searcher(config)
    lines = {}
    with Progress("decode", seconds) as progress:
        for scored in recogniser.score(shards, skipped, progress):
            words = recogniser.search(searcher, scored.log_p_TC, scales)
            line = {"id": scored.id, "text": " ".join(words), "seconds": scored.seconds}
            if args.nbest > 1:
                found = searcher.n_best(recogniser.scaled(scored.log_p_TC, scales), args.nbest)
                line["nbest"] = [{"text": " ".join(h.words), "cost": round(h.cost, 3)} for h in found]
            if scored.id in lines:
                raise ValueError(f"{scored.id}: two utterances have this id. Decode their shards one after the other.")
            lines[scored.id] = line
    for path in shards:
        for item in open_shard(path).set_aside:
            if item["id"] not in lines:
                skipped.add(item["id"], item["error"])
    for name, reason in skipped.reasons.items():
        lines[name] = {"id": name, "reason": reason}
    skipped.finish(len(lines), args.out / "skipped.jsonl")
    with atomic_path(args.out / "hyp.jsonl") as temporary, open(temporary, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(lines[i], ensure_ascii=False) + "\n" for i in sorted(lines))
    model = recogniser.inference.model
    write_json(
        args.out / "decode.json",
        {
            **describe(scales, config),
            "model": models_fingerprint(args.model),
            "graph": None if recogniser.graph is None else recogniser.graph.fingerprint,
            "params": model.parameter_count,
            "precision": resolve_precision(recogniser.inference.device, args.precision),
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
        f"{decoded} utterances, real-time factor {recogniser.real_time_factor:.4f}: {args.out / 'hyp.jsonl'}",
    )
    return 0
