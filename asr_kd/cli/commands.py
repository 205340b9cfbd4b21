"""All commands: what each is for, and where its config and function are. They are imported when they are called."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CommandEntry:
    """One command."""

    module: str
    config: str
    function: str
    purpose: str

    def load(self) -> tuple[type, Callable[[Any], Any], str]:
        """Its config's class, its function, and the module's text for the help."""
        module = importlib.import_module(self.module)
        return getattr(module, self.config), getattr(module, self.function), (module.__doc__ or "").strip()


@dataclass(frozen=True)
class CommandGroup:
    """Commands under one name: `asr-kd bench label`."""

    purpose: str
    metavar: str
    commands: Mapping[str, CommandEntry]
    about: str = ""


def _entry(place: str, config: str, function: str, purpose: str) -> CommandEntry:
    return CommandEntry(f"asr_kd.{place}", config, function, purpose)


_PREPARE = {
    "an4": _entry("corpora.an4", "An4Run", "prepare_an4", "CMU AN4: spelling, numbers and commands, 48 min"),
    "speechocean762": _entry(
        "corpora.speechocean762",
        "Speechocean762Run",
        "prepare_speechocean762",
        "non-native children and adults, 3 h (or 6 h with the test half)",
    ),
    "librispeech": _entry(
        "corpora.librispeech", "LibriSpeechRun", "prepare_librispeech", "LibriSpeech, 960 h of read English"
    ),
    "librilight": _entry(
        "corpora.librilight", "LibriLightRun", "prepare_librilight", "Libri-Light, up to 60,000 h without text"
    ),
    "folder": _entry(
        "corpora.folder",
        "FolderRun",
        "prepare_folder",
        "a folder of audio, with NAME.txt beside NAME.flac where there is text",
    ),
    "manifest": _entry("corpora.folder", "FolderRun", "prepare_folder", "a NeMo-style manifest, checked and split"),
    "synthetic": _entry(
        "corpora.synthetic",
        "SyntheticRun",
        "prepare_synthetic",
        "speech of many synthetic voices, made here with espeak-ng; needs no data",
    ),
}
_ABOUT_PREPARE = """\
Writes labelled.jsonl, dev.jsonl, unlabelled.jsonl, hidden.jsonl (the unlabelled with their text, for scoring only),
test.jsonl and lexicon.txt, as far as the corpus has them. Recordings that cannot be used are skipped and
listed in set_aside.jsonl; when they are more than --max-skipped, the command fails after writing the rest.

Each corpus has its own options: asr-kd prepare CORPUS --help."""

_BENCH = {
    "label": _entry(
        "bench.label",
        "BenchLabelRun",
        "bench_label",
        "the labelling job against the teacher's bare forward pass, and a plain loop",
    ),
    "model": _entry(
        "bench.model",
        "BenchModelRun",
        "bench_model",
        "the bare forward pass of models against each other: size, real-time factor, ratios",
    ),
    "gpu": _entry(
        "bench.gpu.gpu",
        "BenchGpuRun",
        "bench_gpu",
        "everything on one GPU: agreement with a CPU, labelling and training against their ceilings",
    ),
}
_ABOUT_BENCH = """\
Each measures one station on this machine and ends with one line of JSON on stdout; --json leaves the rest out.

asr-kd bench label --preset teacher-paper --minutes 10
asr-kd bench label exp/shards/unlabelled --teacher exp/teacher --out bench.json
asr-kd bench model exp/student --teacher exp/teacher"""

COMMANDS: dict[str, CommandEntry | CommandGroup] = {
    "prepare": CommandGroup("corpus -> manifests", "CORPUS", _PREPARE, _ABOUT_PREPARE),
    "shard": _entry("shards.shard", "ShardRun", "make_shards", "manifests -> WebDataset tars"),
    "inspect": _entry(
        "report.inspect", "InspectRun", "inspect_paths", "what is in a manifest, shard, sidecar or checkpoint"
    ),
    "tokens": _entry(
        "inventory.make_tokens", "TokensRun", "make_tokens", "text -> characters or pieces of words, for CTC"
    ),
    "align": _entry("align.align", "AlignRun", "align_shards", "labelled shards -> senones and frame alignments"),
    "train": _entry(
        "train.train",
        "TrainRun",
        "train_model",
        "labelled shards + alignments or tokens -> teacher (or a labelled-only student)",
    ),
    "label": _entry("label.label", "LabelRun", "label_shards", "unlabelled shards + teacher -> soft-target sidecars"),
    "filter": _entry(
        "transcripts.filter", "FilterRun", "filter_transcripts", "hypotheses -> list of the utterances to learn from"
    ),
    "distill": _entry("distill.distill", "DistillRun", "distill_student", "shards + sidecars -> student"),
    "quantise": _entry("models.quantise", "QuantiseRun", "quantise", "model -> the same with weights of eight bits"),
    "graph": _entry("graph.graph", "GraphRun", "build_graph", "lexicon + text + senones -> decoding graph"),
    "tune": _entry(
        "decode.tune", "TuneRun", "tune_scales", "labelled held-out shards + model + graph -> acoustic scale"
    ),
    "decode": _entry("decode.decode", "DecodeRun", "decode_shards", "shards + model + graph -> hypotheses"),
    "score": _entry(
        "evaluation.score", "ScoreRun", "score_hypotheses", "hypotheses + references -> WER with intervals"
    ),
    "report": _entry("report.report", "ReportRun", "report", "scores -> results.json and report.html"),
    "results": _entry("report.results", "ResultsRun", "write_results", "runs of several seeds -> RESULTS.md"),
    "bench": CommandGroup("rates of this machine, measured", "STATION", _BENCH, _ABOUT_BENCH),
    "experiment": _entry(
        "experiments.experiment",
        "ExperimentRun",
        "run_experiment",
        "a grid of systems -> the table of what each brings",
    ),
    "plan": _entry("bench.plan", "PlanRun", "plan", "hours + a rate -> time, machines, bytes and cost of labelling"),
}


def all_commands() -> dict[str, CommandEntry]:
    """Every command by its words: `bench label`."""
    found: dict[str, CommandEntry] = {}
    for name, entry in COMMANDS.items():
        if isinstance(entry, CommandEntry):
            found[name] = entry
        else:
            found |= {f"{name} {inner}": command for inner, command in entry.commands.items()}
    return found
