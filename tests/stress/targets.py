"""Every file of a small chain, and the commands that read it."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import damage
import numpy as np
import soundfile
from commands import RATE, Command

FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "float.wav": ("WAV", "FLOAT"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", None),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
}
ARPA = """\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-1.0 <s> -0.3
-0.7 </s>
-0.5 AH -0.2
-0.6 EE -0.2
-0.8 OH -0.2

\\2-grams:
-0.3 <s> AH
-0.4 AH EE
-0.5 EE OH

\\end\\
"""
CONFIG = """model: {preset: student-small, hidden_size: 8}
frontend:
  mel_bins: 20
train:
  max_frames_per_batch: 200
  num_workers: 0
epochs: 1
"""

Way = Callable[[bytes, random.Random], bytes]
TEXT: tuple[Way, ...] = (damage.damaged_text, damage.damaged_text, damage.same_text)
LINES: tuple[Way, ...] = (damage.damaged_json_lines, damage.damaged_json_lines, damage.same_text)
VALUES: tuple[Way, ...] = (damage.damaged_json,)
BINARY: tuple[Way, ...] = (damage.damaged_binary,)
MODEL: tuple[Way, ...] = (damage.damaged_safetensors,)


@dataclass(frozen=True)
class Target:
    """A file, ways to damage it, and a command that reads it."""

    name: str
    path: Path
    ways: tuple[Way, ...]
    argv: tuple[str, ...]
    """OUT stands for the output."""
    sealed: bool = False
    """A digest covers the file: another output without a word is wrong."""


def make_formats(folder: Path) -> None:
    """A few words in every format of audio, with a text beside each."""
    source, _ = soundfile.read(sorted((folder / "audio").rglob("*.flac"))[0])
    for ending, (container, subtype) in FORMATS.items():
        home = folder / "formats" / ending
        home.mkdir(parents=True)
        wave_N = np.concatenate([source, source])
        soundfile.write(home / f"a.{ending}", wave_N, RATE, subtype=subtype, format=container)
        soundfile.write(home / "b.flac", source, RATE, subtype="PCM_16")
        for name in ("a", "b"):
            (home / f"{name}{'.float' if ending == 'float.wav' and name == 'a' else ''}.txt").write_text("AH EE")
        row = {"id": "a", "audio_filepath": str(home / f"a.{ending}"), "duration": len(wave_N) / RATE, "text": "AH"}
        other = {"id": "b", "audio_filepath": str(home / "b.flac"), "duration": len(source) / RATE, "text": "EE"}
        (home / "m.jsonl").write_text("".join(json.dumps(r) + "\n" for r in (row, other)))


class Chain:
    """The files of the chain, and the command lines that made it."""

    def __init__(self, folder: Path, commands: Sequence[Command]) -> None:
        self.folder = folder
        self.words = {c.name: _without_workers(c.words) for c in commands}
        self.targets: list[Target] = []
        self.manifest, self.lexicon = self.at("manifests", "labelled.jsonl"), self.at("lexicon.txt")
        self.text, self.arpa, self.config = self.at("text.txt"), self.at("lm.arpa"), self.at("train.yaml")
        self.text.write_text("AH EE OH\nEE AH\nOH\nAH AH\n")
        self.arpa.write_text(ARPA)
        self.config.write_text(CONFIG)
        make_formats(folder)
        self.tar = sorted(self.at("shards", "labelled").glob("*.tar"))[0]
        self.index = self.tar.with_suffix(".index.json")
        self.model = self.at("train", "model.safetensors")
        self.transcripts = sorted(self.at("transcripts").rglob("*.hyp.jsonl"))[0]
        learn = self.words["train"]
        self.learn = [*learn[: learn.index("--device")], "--device", "cpu", "--threads", "1"]

    def at(self, *parts: str) -> Path:
        """A file of the chain."""
        return self.folder.joinpath(*parts)

    def missing(self) -> list[list[str]]:
        """Command lines of what `make_commands` has not made yet."""
        text = ["tokens", str(self.text), "--type", "characters", "--out", str(self.at("tokens"))]
        names = [n for n in ("tune", "decode", "score", "distill", "report") if not self.at(n).exists()]
        select = [*self.words["filter"], "--out", str(self.at("list.jsonl"))]
        return [text, select, *([*self.words[n], "--out", str(self.at(n))] for n in names)]

    def add(
        self, name: str, path: Path, ways: Sequence[Way], argv: Sequence[object], sealed: bool = False, out: str = "OUT"
    ) -> None:
        """A target; --out is put behind `argv`."""
        words = tuple(map(str, argv)) + (() if argv[0] == "inspect" else ("--out", out))
        self.targets.append(Target(name, path, tuple(ways), words, sealed))

    def make_targets(self) -> list[Target]:
        """All of them."""
        self._data()
        self._words_and_graphs()
        self._models()
        self._results()
        return self.targets

    def _data(self) -> None:
        for ending in FORMATS:
            audio = self.at("formats", ending, f"a.{ending}")
            self.add(f"prepare:{ending}", audio, BINARY, ["prepare", "folder", audio.parent, "--max-skipped", "1"])
            self.add(f"shard:{ending}", audio, BINARY, ["shard", audio.parent / "m.jsonl", "--max-skipped", "1"])
        speech = sorted(self.at("audio").rglob("*.txt"))[0]
        self.add("prepare:text", speech, TEXT, self.words["prepare"])
        self.add("prepare:manifest", self.manifest, LINES, ["prepare", "manifest", self.manifest])
        self.add("shard:manifest", self.manifest, LINES, self.words["shard"])
        for name in ("align", "train", "decode"):
            self.add(f"{name}:tar", self.tar, BINARY, self.words[name])  # --verify alone reads the whole tar's digest
            self.add(f"{name}:index", self.index, VALUES, self.words[name], sealed=True)
        alone = self.at("foreign", "f.tar")
        alone.parent.mkdir()
        alone.write_bytes(self.tar.read_bytes())
        self.add("decode:foreign", alone, BINARY, ["decode", alone, *self.words["decode"][2:]])
        self.add("inspect:foreign", alone, BINARY, ["inspect", alone])
        self.add("inspect:tar", self.tar, BINARY, ["inspect", self.tar, "--verify"], sealed=True)
        self.add("inspect:index", self.index, VALUES, ["inspect", self.tar, "--verify"], sealed=True)
        self.add("inspect:manifest", self.manifest, LINES, ["inspect", self.manifest])

    def _words_and_graphs(self) -> None:
        tokens, lexicon, words = self.at("tokens"), self.lexicon, self.words
        characters = ["--type", "characters"]
        self.add("tokens:manifest", self.manifest, LINES, words["tokens"])
        self.add("tokens:text", self.text, TEXT, ["tokens", self.text, *characters])
        self.add("tokens:transcripts", self.transcripts, LINES, ["tokens", self.transcripts, *characters])
        self.add("align:lexicon", lexicon, TEXT, words["align"])
        self.add("graph:lexicon", lexicon, TEXT, words["graph"])
        self.add("graph:text", self.text, TEXT, ["graph", self.text, *words["graph"][2:]])
        self.add("graph:inventory", self.at("align", "inventory.json"), VALUES, words["graph"])
        of_tokens = ["graph", self.text, "--inventory", tokens]
        self.add("graph:tokens", tokens / "inventory.json", VALUES, of_tokens)
        arpa = ["graph", "--arpa", self.arpa, "--inventory"]
        self.add("graph:arpa", self.arpa, TEXT, [*arpa, self.at("align"), "--lexicon", lexicon])
        self.add("graph:arpa-tokens", self.arpa, TEXT, [*arpa, tokens, "--lexicon", lexicon])
        self.add("decode:fst", self.at("graph", "HCLG.fst"), BINARY, words["decode"], sealed=True)
        self.add("decode:graph", self.at("graph", "graph.json"), VALUES, words["decode"])
        self.add(
            "decode:scales",
            self.at("tune", "tune.json"),
            VALUES,
            [*words["decode"], "--decoding-scales", self.at("tune")],
        )

    def _models(self) -> None:
        words, model = self.words, self.model
        alignment = sorted(self.at("align", "labelled").glob("*.parquet"))[0]
        sidecar = sorted(self.at("targets").rglob("*.parquet"))[0]
        self.add("train:config", self.config, TEXT, [*self.learn, "--config", self.config, "--dry-run"])
        self.add("train:inventory", self.at("align", "inventory.json"), VALUES, [*words["train"], "--dry-run"])
        self.add("train:alignment", alignment, BINARY, words["train"], sealed=True)
        self.add("distill:targets", sidecar, BINARY, words["distill"], sealed=True)
        chosen = self.at("list.jsonl")
        self.add("distill:utterances", chosen, LINES, [*words["distill"], "--utterances", chosen, "--dry-run"])
        for name in ("decode", "tune", "quantise"):
            self.add(f"{name}:model", model, MODEL, words[name])
        self.add("train:init", model, MODEL, [*words["train"], "--init", model, "--dry-run"])
        self.add("label:model", model, MODEL, ["label", self.tar.parent, "--teacher", model, "--dry-run"])
        self.add("train:state", self.at("train", "state.pt"), BINARY, words["train"], True, str(self.at("train")))
        self.add("inspect:alignment", alignment, BINARY, ["inspect", alignment], sealed=True)
        self.add("inspect:model", model, MODEL, ["inspect", model])

    def _results(self) -> None:
        words, transcripts = self.words, self.transcripts
        heard = ["--transcripts", transcripts.parent, "--model", self.at("train")]
        self.add("filter:transcripts", transcripts, LINES, words["filter"], out="OUT/list.jsonl")
        self.add("align:transcripts", transcripts, LINES, [*words["align"], *heard])
        self.add("score:manifest", self.manifest, LINES[:1], words["score"])  # scores.json holds its digest
        self.add("score:hypotheses", self.at("decode", "hyp.jsonl"), LINES, words["score"])
        self.add("score:decode", self.at("decode", "decode.json"), VALUES, words["score"])
        self.add("report:scores", self.at("score", "scores.json"), VALUES, words["report"])
        metrics = self.at("train", "metrics.jsonl")
        self.add("report:metrics", metrics, LINES[:1], [*words["report"], "--metrics", f"b={metrics}"])
        results = self.at("report", "results.json")
        self.add("results:results", results, VALUES, ["results", results.parent], out="OUT/RESULTS.md")


def _without_workers(words: Sequence[str]) -> list[str]:
    """The same command without processes of its own, which would have to start anew for every input."""
    before = ["", *words[:-1]]
    return [
        "0" if word == "1" and option in ("--workers", "--num-workers") else word
        for option, word in zip(before, words, strict=True)
    ]
