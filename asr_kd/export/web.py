"""A page that runs a model in the browser, without a server that computes: files for any web server.

The page's own files lie in `page/`; beside them come the network that takes audio, with weights of eight bits, a
description of it, the decoding graph where there is one, and onnxruntime-web. Nothing is loaded from elsewhere.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from asr_kd.core.files import write_json
from asr_kd.corpora.audio import SAMPLE_RATE
from asr_kd.decode.stream import default_end_points
from asr_kd.export.audio_front_end import audio_form, chunk_samples, window_samples
from asr_kd.export.int8_weights import int8_weights
from asr_kd.export.network import StreamingNetwork
from asr_kd.export.web_runtime import RUNTIME_FILES
from asr_kd.frontend.fbank import FrontEnd
from asr_kd.graph.graph import Graph
from asr_kd.graph.graph_arrays import GraphArrays, graph_arrays
from asr_kd.graph.scales import DecodingScales
from asr_kd.inventory.inventory import Inventory
from asr_kd.inventory.tokens import Tokens
from asr_kd.label.lattices import SEARCH

PAGE = Path(__file__).parent / "page"
NETWORK_FILE, DESCRIPTION_FILE, GRAPH_FILE, RUNTIME_FOLDER = "network.onnx", "model.json", "graph.bin", "onnxruntime"


def write_web(
    folder: Path,
    network: StreamingNetwork,
    description: dict[str, Any],
    graph: Graph | None,
    scales: DecodingScales,
    name: str,
    runtime: Path,
) -> None:
    """Write the page's folder. `model.json` appears last.

    description: of the model, as in the plain form.  graph: models of tokens can do without.  name: of the model, to be
    shown.  runtime: what `runtime_folder` gives.
    """
    inventory = network.model.inventory
    for file in (DESCRIPTION_FILE, GRAPH_FILE):
        (folder / file).unlink(missing_ok=True)
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    (folder / RUNTIME_FOLDER).mkdir(exist_ok=True)
    for file in RUNTIME_FILES:
        shutil.copyfile(runtime / file, folder / RUNTIME_FOLDER / Path(file).name)
    onnx.save(int8_weights(audio_form(network, description)), folder / NETWORK_FILE)
    about = {
        "name": name,
        "network": _sizes(network),
        "endPoints": _end_points(inventory),
        "soundless": inventory.soundless_classes,
    }
    if graph is None:
        assert isinstance(inventory, Tokens), "the command asks for a graph"
        about |= {"symbols": inventory.symbols}
    else:
        arrays = graph_arrays(graph.with_word_insertion_penalty(scales.word_insertion_penalty).fst)
        (folder / GRAPH_FILE).write_bytes(_graph_bytes(arrays))
        about |= {
            "graph": {"states": len(arrays.final_S), "arcs": len(arrays.arc_A), "start": arrays.start},
            "words": graph.words,
            "search": {
                "beam": SEARCH.beam,
                "acoustic": scales.acoustic,
                "prior": scales.prior,
                "logPrior": network.model.log_prior_C.tolist(),
            },
        }
    write_json(folder / DESCRIPTION_FILE, about)


def _sizes(network: StreamingNetwork) -> dict[str, int]:
    f = FrontEnd(network.model.frontend)
    return {
        "sampleRate": SAMPLE_RATE,
        "frameLength": f.window,
        "frameShift": f.shift,
        "stack": network.stack,
        "mirrored": f.mirrored,
        "chunk": network.chunk,
        "window": network.chunk + network.lookahead,
        "windowSamples": window_samples(network),
        "chunkSamples": chunk_samples(network),
        "state": network.state_values,
        "classes": network.model.inventory.num_classes,
    }


def _end_points(inventory: Inventory) -> dict[str, float]:
    e = default_end_points(inventory)
    return {
        "silence": e.silence_s,
        "long": e.long_s,
        "shortSilence": e.short_silence_s,
        "most": e.most_s,
        "waiting": e.waiting_s,
        "lead": e.lead_s,
    }


def _graph_bytes(arrays: GraphArrays) -> bytes:
    """Little-endian, 32 bits each, in the order in which graph-search.js reads them."""
    assert arrays.first_S[-1] == len(arrays.arc_A) < 2**31
    arcs = [arrays.arc_A[name] for name in ("label", "word", "cost", "target")]
    columns = [arrays.first_S.astype("<i4"), arrays.epsilon_S.astype("<i4"), arrays.final_S.astype("<f4"), *arcs]
    return b"".join(np.ascontiguousarray(column).tobytes() for column in columns)
