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
        "speechocean762: non-native English of children and adults, 3 h (6 h with the test half)",
    ),
    "librispeech": _entry(
        "corpora.librispeech", "LibriSpeechRun", "prepare_librispeech", "LibriSpeech, 960 h of read English"
    ),
    "librilight": _entry(
        "corpora.librilight", "LibriLightRun", "prepare_librilight", "Libri-Light, up to 60,000 h without text"
    ),
    "common-voice": _entry(
        "corpora.common_voice",
        "CommonVoiceRun",
        "prepare_common_voice",
        "Common Voice, the folder of one language as downloaded",
    ),
    "ljspeech": _entry(
        "corpora.ljspeech", "LJSpeechRun", "prepare_ljspeech", "LJSpeech's layout: metadata.csv and wavs/"
    ),
    "kaldi": _entry(
        "corpora.kaldi", "KaldiRun", "prepare_kaldi", "a Kaldi data directory: wav.scp, segments, text, ..."
    ),
    "lhotse": _entry("corpora.lhotse", "LhotseRun", "prepare_lhotse", "lhotse's cuts, or recordings and supervisions"),
    "table": _entry(
        "corpora.table", "TableRun", "prepare_table", "a table of audio files: CSV, TSV or text with named columns"
    ),
    "folder": _entry(
        "corpora.folder",
        "FolderRun",
        "prepare_folder",
        "a folder of audio, with NAME.txt beside NAME.flac where there is text",
    ),
    "manifest": _entry("corpora.folder", "FolderRun", "prepare_folder", "a NeMo-style manifest, checked and split"),
    "huggingface": _entry(
        "corpora.huggingface",
        "HuggingFaceRun",
        "prepare_huggingface",
        "a Hugging Face data set on disk: Parquet, Arrow (save_to_disk) or audiofolder",
    ),
    "pseudo-labels": _entry(
        "transcripts.pseudo_corpus",
        "PseudoCorpusRun",
        "prepare_pseudo_labels",
        "audio without text, and a teacher's transcripts of it, which take the place of labels",
    ),
    "shar": _entry("corpora.shar", "SharRun", "prepare_shar", "a lhotse Shar data set: cuts and tars of audio"),
    "nemo-tarred": _entry(
        "corpora.nemo_tarred",
        "NemoTarredRun",
        "prepare_nemo_tarred",
        "tars of audio: NeMo's with their manifest, or WebDataset's with text beside the audio",
    ),
    "synthetic": _entry(
        "corpora.synthetic",
        "SyntheticRun",
        "prepare_synthetic",
        "speech of many synthetic voices, made here with espeak-ng; needs no data",
    ),
}
_ABOUT_PREPARE = """\
Writes NeMo-style manifests, as far as the corpus has them:

  labelled.jsonl    trains the teacher
  dev.jsonl         held out: early stopping and tuning
  unlabelled.jsonl  without text: labelled by the teacher, trains the student
  unlabelled_references.jsonl  its text, where it is known: for the oracle and for scoring only
  test.jsonl        final WER
  lexicon.txt       pronunciations

Unusable recordings are skipped and listed in rejected.jsonl. If they are more than --max-skipped, the command fails
after writing the rest.

Each corpus has its own options: asr-kd prepare CORPUS --help."""

_BENCH = {
    "label": _entry(
        "bench.label",
        "BenchLabelRun",
        "bench_label",
        "speed of labelling, beside the teacher's forward pass alone and a simple loop",
    ),
    "model": _entry(
        "bench.model",
        "BenchModelRun",
        "bench_model",
        "size and real-time factor of models, compared",
    ),
    "train": _entry(
        "bench.train",
        "BenchTrainRun",
        "bench_train",
        "speed of training on one rank and several, beside the bare step; bytes that each strategy sends",
    ),
    "loader": _entry(
        "bench.loader",
        "BenchLoaderRun",
        "bench_loader",
        "speed of loading for training on one core, beside webdataset, lhotse and decoding alone",
    ),
    "stream": _entry(
        "bench.stream",
        "BenchStreamRun",
        "bench_stream",
        "streaming models on one core: speed, latency, memory, how many streams at a time",
    ),
    "gpu": _entry(
        "bench.gpu.gpu",
        "BenchGpuRun",
        "bench_gpu",
        "checks and speeds of one GPU: agreement with a CPU, labelling, training",
    ),
}
_ABOUT_BENCH = """\
Each ends with one line of JSON on stdout.

asr-kd bench label --preset teacher-paper --minutes 10
asr-kd bench label exp/shards/unlabelled --teacher exp/teacher --out bench.json
asr-kd bench model exp/student --teacher exp/teacher
asr-kd bench stream exp/export --audio recordings/
asr-kd bench train --ranks 1 2 --out bench_train.json"""

COMMANDS: dict[str, CommandEntry | CommandGroup] = {
    "prepare": CommandGroup("corpus -> manifests", "CORPUS", _PREPARE, _ABOUT_PREPARE),
    "segment": _entry(
        "segment.segment",
        "SegmentRun",
        "segment_recordings",
        "long recordings -> manifest of segments, cut in pauses",
    ),
    "annotate": _entry(
        "cleaning.annotate",
        "AnnotateRun",
        "annotate_manifests",
        "manifests -> the same with columns: level, clipping, copies, ...",
    ),
    "shard": _entry("shards.shard", "ShardRun", "make_shards", "manifests -> WebDataset tars"),
    "catalogue": _entry(
        "jobs.make_catalogue", "CatalogueRun", "make_catalogue", "shards of any origin -> catalogue that lists them"
    ),
    "inspect": _entry(
        "targets.inspect",
        "InspectRun",
        "inspect_paths",
        "what is in a manifest, shard, catalogue, sidecar or checkpoint",
    ),
    "tokens": _entry(
        "inventory.make_tokens", "TokensRun", "make_tokens", "text -> tokens for CTC: characters or subwords"
    ),
    "align": _entry("align.align", "AlignRun", "align_shards", "labelled shards -> senones and frame alignments"),
    "train": _entry(
        "train.train",
        "TrainRun",
        "train_model",
        "labelled shards + alignments or tokens -> teacher, or labelled-only student",
    ),
    "label": _entry("label.label", "LabelRun", "label_shards", "unlabelled shards + teacher -> soft-target sidecars"),
    "convert": _entry(
        "convert.convert", "ConvertRun", "convert", "manifests or shards -> Kaldi, lhotse, NeMo, Hugging Face, CSV"
    ),
    "filter": _entry(
        "transcripts.filter",
        "FilterRun",
        "filter_transcripts",
        "hypotheses or manifests -> list of the utterances to train on",
    ),
    "distill": _entry(
        "distill.distill", "DistillRun", "distill_student", "unlabelled shards + sidecars + labelled shards -> student"
    ),
    "quantise": _entry("models.quantise", "QuantiseRun", "quantise", "model -> int8 model"),
    "graph": _entry("graph.graph", "GraphRun", "build_graph", "lexicon + text + senones or tokens -> decoding graph"),
    "tune": _entry(
        "decode.tune", "TuneRun", "tune_scales", "held-out shards + model + graph -> acoustic and prior scale"
    ),
    "decode": _entry("decode.decode", "DecodeRun", "decode_shards", "shards + model + graph -> hypotheses"),
    "transcribe": _entry(
        "decode.transcribe",
        "TranscribeRun",
        "transcribe_files",
        "model + audio files, a pipe or the microphone -> text, subtitles, word times",
    ),
    "serve": _entry(
        "serve.serve", "ServeRun", "serve", "model -> server that streams words to many clients, with a page"
    ),
    "export": _entry(
        "export.export",
        "ExportRun",
        "export_model",
        "streaming student -> ONNX for sherpa-onnx and others, int8, card",
    ),
    "score": _entry(
        "evaluation.score", "ScoreRun", "score_hypotheses", "hypotheses + references -> WER with intervals"
    ),
    "report": _entry("report.report", "ReportRun", "report", "scores -> results.json and report.html"),
    "results": _entry("report.results", "ResultsRun", "write_results", "runs of several seeds -> RESULTS.md"),
    "bench": CommandGroup(
        "measure the speed of labelling, loading, training and models on this machine", "BENCH", _BENCH, _ABOUT_BENCH
    ),
    "experiment": _entry(
        "experiments.experiment",
        "ExperimentRun",
        "run_experiment",
        "grid of systems -> table of their WER, size and speed",
    ),
    "plan": _entry("bench.plan", "PlanRun", "plan", "hours + rate -> time, machines, storage and cost of labelling"),
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
