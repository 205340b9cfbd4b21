"""Writes a streaming student as ONNX, in float32 and with weights of eight bits, into one folder that needs nothing
else: its graph and scales where it has some, and a card (README.md) with how to use it and what is known of it.

  asr-kd export exp/student --graph exp/graph --decoding-scales exp/tune --scores exp/scores --out exp/export
  asr-kd transcribe exp/export RECORDING.wav

A CTC model that was trained with frontend.preset=sherpa-onnx is also written in the form that sherpa-onnx runs
unmodified, on servers, phones and small boards (`sherpa-onnx/` in the folder, with a README of its own).
Each answer is computed for --chunk frames at once: fewer answer sooner and take more work.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asr_kd.core.commands import command
from asr_kd.core.config import to_dict
from asr_kd.core.extras import how_to_install
from asr_kd.core.files import atomic_path
from asr_kd.core.options import argument, option
from asr_kd.core.terminal import say
from asr_kd.export.card import Card, write_card
from asr_kd.export.exportable import LATENCY_BAR_S, algorithmic_latency_s, check_exportable, why_not_sherpa
from asr_kd.export.web_runtime import runtime_folder
from asr_kd.graph.graph import GRAPH_FILES, load_graph
from asr_kd.graph.scales import DecodingScales
from asr_kd.inventory.tokens import Tokens
from asr_kd.models.acoustic import AcousticModel
from asr_kd.models.checkpoint import load_model, model_fingerprint, read_description
from asr_kd.models.streaming import BLOCK_FRAMES
from asr_kd.teachers.onnx_model import GRAPH_FOLDER, INT8_FILE, KIND, MODEL_FILE, SCALES_FILE, VERSION

SHERPA_FOLDER = "sherpa-onnx"
CARD_FILE = "README.md"
MAX_CHUNK = 100


@dataclass(frozen=True, kw_only=True)
class ExportRun:
    """What `asr-kd export` is given."""

    model: Path = argument("a streaming model's folder or .safetensors file")
    out: Path = option("output folder")
    graph: Path | None = option(
        "decoding graph to pack with it: output folder of `asr-kd graph` (models of tokens can do without)",
        None,
        metavar="DIR",
    )
    decoding_scales: Path | None = option(
        "acoustic and prior scale to pack with it: what `asr-kd tune` wrote", None, metavar="DIR"
    )
    scores: tuple[Path, ...] = option(
        "for the card: outputs of `asr-kd score`, in which the hypotheses of this model are found", (), metavar="DIR"
    )
    licence: str | None = option("for the card: the licence of the weights, as you state it", None, metavar="TEXT")
    chunk: int = option("frames that are answered at once", BLOCK_FRAMES, metavar="N")
    web: Path | None = option(
        "folder for a page that runs the model in the browser, with weights of eight bits, from any web server",
        None,
        metavar="DIR",
    )
    onnxruntime_web: Path | None = option(
        "for --web: folder of the unpacked npm package onnxruntime-web (default: npm fetches it once)",
        None,
        metavar="DIR",
    )


@command()
def export_model(config: ExportRun) -> None:
    """Write the folder. `model.onnx` appears last: a folder without it is not finished."""
    _check_libraries()
    if not 1 <= config.chunk <= MAX_CHUNK:
        raise ValueError(f"--chunk {config.chunk}: give 1 to {MAX_CHUNK} frames")
    model = load_model(config.model)
    check_exportable(model, str(config.model))
    graph = None if config.graph is None else load_graph(config.graph)
    if graph is not None:
        graph.check(model.inventory, str(config.model))
    elif not isinstance(model.inventory, Tokens):
        raise ValueError(
            f"{config.model}: its classes are {model.inventory.kind}, which say no words without a graph. "
            "Give one with --graph."
        )
    scales = None if config.decoding_scales is None else DecodingScales.load(config.decoding_scales)
    latency_s = algorithmic_latency_s(model.frontend, config.chunk, model.config.lookahead)
    runtime = None if config.web is None else runtime_folder(config.onnxruntime_web)
    card = Card.of(config.model, model, config.scores, config.licence, latency_s)
    _remove_old(config.out)
    # Not at the top: onnx takes a second, which `asr-kd --help` need not wait for.
    from asr_kd.export.forms import plain_form
    from asr_kd.export.int8 import int8_form
    from asr_kd.export.network import StreamingNetwork

    network = StreamingNetwork(model, config.chunk)
    origin = {"model": model_fingerprint(config.model), "notes": read_description(config.model)["notes"]}
    description = describe_model(model, config.chunk) | origin
    form = plain_form(network, description)
    _write(config.out / INT8_FILE, int8_form(form).SerializeToString())
    if config.graph is not None:
        for name in GRAPH_FILES:
            if (config.graph / name).is_file():
                _write(config.out / GRAPH_FOLDER / name, (config.graph / name).read_bytes())
    if scales is not None:
        _write(config.out / SCALES_FILE, json.dumps(asdict(scales)).encode())
    unfit = why_not_sherpa(model)
    if unfit is None:
        from asr_kd.export.sherpa import write_sherpa

        write_sherpa(config.out / SHERPA_FOLDER, network, config.graph, scales)
    if config.web is not None:
        from asr_kd.export.web import write_web

        assert runtime is not None
        about = scales or DecodingScales(prior=model.inventory.default_prior_scale)
        write_web(config.web, network, description, graph, about, config.out.name, runtime)
    _write(config.out / MODEL_FILE, form.SerializeToString())
    write_card(config.out / CARD_FILE, card, config.out, unfit)
    _report(config, card, unfit)


def _report(config: ExportRun, card: Card, unfit: str | None) -> None:
    sizes = ", ".join(f"{f.name} {f.megabytes:.2f} MB" for f in card.files(config.out))
    say(f"{config.out}: {sizes}; algorithmic latency {card.latency_ms:.0f} ms")
    if card.latency_ms > 1000 * LATENCY_BAR_S:
        say(
            f"that is more than {1000 * LATENCY_BAR_S:.0f} ms: a smaller --chunk, or a student with a smaller "
            "model.lookahead, answers sooner"
        )
    if config.web is not None:
        say(f"{config.web}: a page for any web server, for example `python -m http.server --directory {config.web}`")
    if unfit is not None:
        say(
            f"not written for sherpa-onnx: {unfit}. For it, train on tokens (`asr-kd tokens --frame-shift 0.04`) with "
            "frontend.preset=sherpa-onnx"
        )


def describe_model(model: AcousticModel, chunk: int) -> dict[str, Any]:
    """What a runtime needs to know of an exported model; it stands in the file's metadata."""
    return {
        "kind": KIND,
        "version": VERSION,
        "inventory": model.inventory.to_dict(),
        "frontend": to_dict(model.frontend),
        "log_prior": model.log_prior_C.tolist(),
        "chunk": chunk,
        "lookahead": model.config.lookahead,
        "parameters": model.parameter_count,
    }


def _check_libraries() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as e:
        raise ValueError(f"export: the library {e.name} is missing. {how_to_install('onnx')}") from None


def _remove_old(out: Path) -> None:
    """What an earlier export left, so that nothing of it is taken for part of this one."""
    for name in (MODEL_FILE, INT8_FILE, SCALES_FILE, CARD_FILE):
        (out / name).unlink(missing_ok=True)
    for name in (GRAPH_FOLDER, SHERPA_FOLDER):
        if (out / name).is_dir():
            shutil.rmtree(out / name)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
