"""lhotse's manifests, as lhotse itself writes them: each cut and supervision is used, or listed."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import AudioSource, CutSet, MonoCut, Recording, RecordingSet, SupervisionSegment, SupervisionSet

from asr_kd.cli import main
from asr_kd.corpora.audio import read_audio
from asr_kd.corpora.manifest import read_manifest

RATE = 16000


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recording]:
    """r0, r1: 4 s of noise; stereo: two channels in one file; left: one of them in a file of its own."""
    folder = tmp_path_factory.mktemp("audio")
    found = {}
    for name, channels in (("r0", 1), ("r1", 1), ("stereo", 2)):
        noise = np.random.default_rng(len(found)).uniform(-0.5, 0.5, (4 * RATE, channels))
        soundfile.write(folder / f"{name}.flac", noise, RATE)
        found[name] = Recording.from_file(folder / f"{name}.flac")
    return found


def said(name: str, start: float, seconds: float, text: str | None = "one", recording: str = "r0", **more):
    return SupervisionSegment(name, recording, start, seconds, text=text, **more)


def cut(name: str, recording: Recording, start: float, seconds: float, *supervisions, channel: int = 0) -> MonoCut:
    return MonoCut(name, start, seconds, channel, supervisions=list(supervisions), recording=recording)


def prepared(root: Path, out: Path, *options: str) -> tuple[dict[str, dict], dict[str, str]]:
    """Utterances and reasons of the rejected, by id."""
    given = ["--out", str(out), "--max-skipped", "0.95", "--dev-fraction", "0", *options]
    assert main(["prepare", "lhotse", str(root), *given]) == 0
    names = ("labelled", "dev", "test", "unlabelled")
    used = {u.id: vars(u) for p in out.glob("*.jsonl") if p.stem in names for u in read_manifest(p)}
    rejected = out / "rejected.jsonl"
    lines = rejected.read_text().splitlines() if rejected.exists() else []
    return used, {row["id"]: row["error"] for row in map(json.loads, lines)}


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_cuts_become_the_samples_that_lhotse_reads(recordings, tmp_path, suffix):
    about = {"speaker": "ann", "language": "de", "gender": "F", "custom": {"snr": 12.5, "inside": {"no": 1}}}
    cuts = CutSet.from_cuts(
        [
            cut("whole", recordings["r0"], 0, 4, said("s", 0, 4, "Eins, zwei", **about)),
            cut("part", recordings["r1"], 1.25, 2.0, said("s", 0, 2.0, "drei", recording="r1")),
            cut("two", recordings["r0"], 0.5, 3.0, said("a", 0, 1.0, "four"), said("b", 1.5, 1.25, None)),
            cut("bare", recordings["r0"], 2.0, 1.0),
        ]
    )
    cuts.to_file(tmp_path / f"cuts.{suffix}")
    used, rejected = prepared(tmp_path / f"cuts.{suffix}", tmp_path / "out")
    assert rejected == {}
    texts = {name: u["text"] for name, u in used.items()}
    assert texts == {"whole": "EINS ZWEI", "part": "DREI", "two-0": "FOUR", "two-1": None, "bare": None}
    assert used["whole"]["meta"] == {"snr": 12.5, "gender": "F", "lang": "de"} and used["whole"]["speaker"] == "ann"
    theirs = {"whole": cuts["whole"], "part": cuts["part"], "bare": cuts["bare"]}
    theirs |= {f"two-{i}": c for i, c in enumerate(cuts.subset(cut_ids=["two"]).trim_to_supervisions())}
    for name, u in used.items():
        ours = read_audio(u["audio_filepath"], u["offset"], u["duration"])
        assert np.array_equal(ours, theirs[name].load_audio()[0]), name


def test_audio_that_is_not_a_plain_stretch_of_a_file_is_listed(recordings, tmp_path):
    r0, stereo = recordings["r0"], recordings["stereo"]
    ran = tmp_path / "ran"
    command = Recording("c", [AudioSource("command", [0], f"touch {ran}")], RATE, 4 * RATE, 4.0)
    url = Recording("u", [AudioSource("url", [0], "https://x.invalid/a.wav")], RATE, 4 * RATE, 4.0)
    lying = Recording("l", r0.sources, RATE, 9 * RATE, 9.0)
    cuts = [
        cut("good", r0, 0, 1, said("s", 0, 1)),
        cut("run", command, 0, 1, said("s", 0, 1)),
        cut("far", url, 0, 1, said("s", 0, 1)),
        cut("right", stereo, 0, 1, said("s", 0, 1), channel=1),
        cut("long", lying, 0, 9, said("s", 0, 9)),
        cut("cutoff", r0, 1, 1, said("s", -0.5, 1.0)),
        cut("fast", r0, 0, 4, said("s", 0, 4)).perturb_speed(1.1).with_id("fast"),
        cut("wide", r0, 0, 2, said("s", 0, 2)).resample(22050).with_id("wide"),
        cut("padded", r0, 0, 1, said("s", 0, 1)).pad(3.0).with_id("padded"),
        cut("mixed", r0, 0, 1, said("s", 0, 1)).mix(cut("x", recordings["r1"], 0, 1)).with_id("mixed"),
        MonoCut("features", 0, 1, 0, supervisions=[]),
    ]
    lines = [json.dumps(c.to_dict()) for c in cuts]
    with gzip.open(tmp_path / "cuts.jsonl.gz", "wt") as f:
        f.write("\n".join([*lines, "{ no json", '{"id": 7}', lines[0]]) + "\n")
    used, rejected = prepared(tmp_path / "cuts.jsonl.gz", tmp_path / "out")
    assert set(used) == {"good", "wide"} and not ran.exists()
    wanted = {
        "run": "nothing of data is run",
        "far": "only files are read",
        "right": "channel 1 of a file with several",
        "long": "the corpus says 9.00 s",
        "cutoff": "from -0.5 to 0.5 s",
        "fast": "changed while it is read (Speed)",
        "padded": "a MixedCut",
        "mixed": "a MixedCut",
        "features": "features alone",
        "cuts.jsonl.gz-12": "not valid JSON",
        "cuts.jsonl.gz-13": "no object with an id",
    }
    assert {name for name, why in wanted.items() if why not in rejected.get(name, "")} == set()


def test_recordings_and_supervisions_in_splits_by_their_names(recordings, tmp_path, capsys):
    for split, name in (("train-clean", "r0"), ("dev", "r1")):
        own = [recordings[name], recordings["stereo"]] if split == "dev" else [recordings[name]]
        RecordingSet.from_recordings(own).to_file(tmp_path / f"my_recordings_{split}.jsonl.gz")
        supervisions = [said(f"{split}-{i}", i, 1.5, f"word {i}", recording=name) for i in range(3)]
        supervisions.append(said(f"{split}-lost", 0, 1, recording="nowhere"))
        SupervisionSet.from_segments(supervisions).to_file(tmp_path / f"my_supervisions_{split}.jsonl.gz")
    used, rejected = prepared(tmp_path, tmp_path / "out")
    assert {name: (u["offset"], u["text"]) for name, u in used.items()} == {
        f"{split}-{i}": (float(i), f"WORD {i}") for split in ("train-clean", "dev") for i in range(3)
    }
    assert set(rejected) == {"train-clean-lost", "dev-lost", "stereo"}
    assert {u.id for u in read_manifest(tmp_path / "out/dev.jsonl")} == {"dev-0", "dev-1", "dev-2"}
    used, rejected = prepared(tmp_path / "my_recordings_train-clean.jsonl.gz", tmp_path / "one")
    assert set(used) == {f"train-clean-{i}" for i in range(3)}
    (tmp_path / "my_supervisions_train-clean.jsonl.gz").unlink()
    used, _ = prepared(tmp_path / "my_recordings_train-clean.jsonl.gz", tmp_path / "bare")
    assert used["r0"]["text"] is None and used["r0"]["duration"] == 4.0


def test_a_folder_without_manifests_is_refused(tmp_path, capsys):
    assert main(["prepare", "lhotse", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "holds no cuts*.jsonl.gz" in capsys.readouterr().err


def test_a_text_that_is_a_number_is_listed_and_not_taken_for_none(recordings, tmp_path):
    cuts = CutSet.from_cuts(
        [cut(n, recordings["r0"], 0, 4, said("s", 0, 4, text)) for n, text in (("a", "five"), ("b", 5))]
    )
    cuts.to_file(tmp_path / "cuts_train.jsonl")
    used, reasons = prepared(tmp_path, tmp_path / "out")
    assert {name: u["text"] for name, u in used.items()} == {"a": "FIVE"}
    assert "text is 5; text or null is needed" in reasons["b"]
