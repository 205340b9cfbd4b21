import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
from tones import damage

from asr_kd.cli import main
from asr_kd.corpora.manifest import Utterance, write_manifest
from asr_kd.shards.writer import write_shards

TEXTS = {
    "teacher": ["ONE TWO THREE", "FOUR FIVE", "SIX", "SEVEN NINE"],
    "student_labelled_only": ["ONE", "FIVE FIVE", "", "SEVEN NINE"],
    "student_distilled": ["ONE TREE", "FOUR FIVE", "SIX SIX", "SEVEN NINE"],
    "student_oracle": ["ONE TWO THREE", "FOUR FIVE", "SIX", "SEVEN NINE TEN"],
}
REFERENCES = ["ONE TWO THREE", "FOUR FIVE", "SIX", "SEVEN EIGHT"]
NO_NETWORK = "default-src 'none'; style-src 'unsafe-inline'; media-src data:"
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}"


def make_run(folder, texts=TEXTS, hostile=""):
    """Test set, hypotheses and scores of a small run; `hostile` is put wherever text comes from outside."""
    utterances = []
    for i, text in enumerate(REFERENCES):
        wave = 0.1 * np.sin(np.arange(8000) * 0.05 * (i + 1))
        soundfile.write(folder / f"u{i}.flac", wave, 16000)
        meta = {"snr": 5 * (i % 2), "group": f"g{hostile}"}
        utterances.append(Utterance(f"u{i}{hostile}", f"u{i}.flac", 0.5, text=text, speaker=f"s{hostile}", meta=meta))
    write_manifest(folder / "test.jsonl", utterances)
    folders = {name: folder / re.sub(r"\W", "", name) for name in texts}
    for name, hypotheses in texts.items():
        folders[name].mkdir(exist_ok=True)
        lines = [json.dumps({"id": u.id, "text": t}) for u, t in zip(utterances, hypotheses, strict=True)]
        (folders[name] / "hyp.jsonl").write_text("\n".join(lines))
        notes = {"params": 310000, "rtf": 0.02, "model": f"exp/{name}{hostile}"}
        (folders[name] / "decode.json").write_text(json.dumps(notes))
    hyps = [f"{name}={path}" for name, path in folders.items()]
    argv = [
        "score",
        "--ref",
        str(folder / "test.jsonl"),
        "--hyp",
        *hyps,
        "--by",
        "snr",
        "group",
        "--bootstrap-samples",
        "200",
    ]
    argv += ["--baseline", "student_labelled_only", "--oracle", "student_oracle", "--out", str(folder / "scores")]
    assert main(argv) == 0


def report(folder, *more, title="AN4"):
    return main(["report", "--scores", str(folder / "scores"), "--title", title, "--out", str(folder / "out"), *more])


def page(folder):
    return (folder / "out" / "report.html").read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Every tag with its attributes, and the text outside tags."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def clips(html):
    """Decoded audio of the page, in order."""
    uris = [a["src"] for tag, a in Tags(html).tags if tag == "audio"]
    return [soundfile.read(io.BytesIO(base64.b64decode(u.removeprefix("data:audio/mpeg;base64,")))) for u in uris]


def test_results_json_has_the_agreed_form(tmp_path):
    make_run(tmp_path)
    assert report(tmp_path, "--seconds", "61.25", "--seed", "3", "--command", "recipes/an4/run.sh") == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert set(results["systems"]) == set(TEXTS)
    for system in results["systems"].values():
        assert {"wer", "ci95", "errors", "words", "params"} <= set(system)
        assert "rtf" not in system  # of a decoding beside other jobs
        assert system["wer"] == system["errors"] / system["words"]
    assert results["werr"] == (5 - 4) / 5 and results["recovery"] == (5 - 4) / (5 - 2)
    assert len(results["werr_ci95"]) == 2
    assert (results["seconds"], results["seed"], results["command"]) == (61.2, 3, "recipes/an4/run.sh")


def test_page_is_self_contained(tmp_path):
    make_run(tmp_path)
    report(tmp_path, "--manifest", str(tmp_path / "test.jsonl"))
    html = page(tmp_path)
    tags = Tags(html).tags
    assert not {"script", "link", "iframe", "img", "object"} & {tag for tag, _ in tags}
    for tag, attributes in tags:
        for name in ("src", "href", "srcset", "action", "poster"):
            value = attributes.get(name, "data:")
            assert value.startswith("data:") or value == "utterances.html", (tag, name)
    assert (tmp_path / "out" / "utterances.html").is_file()
    assert not re.search(r"url\(|@import|https?://", html)
    assert ("meta", {"http-equiv": "Content-Security-Policy", "content": NO_NETWORK}) in tags


def test_hostile_text_stays_text(tmp_path):
    hostile_texts = {name: [HOSTILE, *t[1:]] for name, t in TEXTS.items()}
    hostile_texts[f"x{HOSTILE.replace('=', '')}"] = TEXTS["teacher"]
    make_run(tmp_path, hostile_texts, hostile=HOSTILE.replace("/", ""))
    (tmp_path / "evil.yaml").write_text(HOSTILE + "</pre></details>")
    (tmp_path / "m.jsonl").write_text(json.dumps({"step": 1, "loss": 2.0, "stream": HOSTILE}))
    metrics = ["--metrics", f"<b>{HOSTILE.replace('=', '')}={tmp_path / 'm.jsonl'}"]
    config = ["--run-configs", f"<i>{HOSTILE.replace('=', '')}={tmp_path / 'evil.yaml'}"]
    assert report(tmp_path, *metrics, *config, "--command", HOSTILE, title=HOSTILE) == 0
    parsed = Tags(page(tmp_path))
    assert not {"script", "img"} & {tag for tag, _ in parsed.tags}
    assert not any(name.startswith("on") for _, attributes in parsed.tags for name in attributes)
    assert HOSTILE in parsed.text


@pytest.mark.parametrize("source", ["shards", "manifest"])
def test_worst_utterances_come_first_and_can_be_heard(tmp_path, source):
    make_run(tmp_path)
    utterances = [Utterance(f"u{i}", str(tmp_path / f"u{i}.flac"), 0.5, text=t) for i, t in enumerate(REFERENCES)]
    if source == "shards":
        write_shards(utterances, tmp_path / "shards", 60)
        report(tmp_path, "--audio", str(tmp_path / "shards"))
    else:
        report(tmp_path, "--manifest", str(tmp_path / "test.jsonl"))
    html = page(tmp_path)
    shown = re.findall(r'<div class="about"><code>(u\d)</code>', html)
    assert shown == ["u0", "u2", "u3"]  # 2 errors; then 1 error in 1 word before 1 in 2; u1 has none
    heard = clips(html)
    assert [rate for _, rate in heard] == [16000] * 3
    spectrum = np.abs(np.fft.rfft(heard[1][0][:8000]))
    assert np.argmax(spectrum) == pytest.approx(8000 * 0.15 / (2 * np.pi), abs=3)  # u2's tone


def test_page_needs_neither_audio_nor_metrics(tmp_path, capsys):
    make_run(tmp_path)
    assert report(tmp_path, "--metrics", f"teacher={tmp_path / 'gone.jsonl'}") == 0
    assert "gone.jsonl: no such file" in capsys.readouterr().err
    assert clips(page(tmp_path)) == []


def test_curves_survive_broken_diverged_and_sparse_metrics(tmp_path):
    make_run(tmp_path)
    lines = ['{"step": 1, "loss": 2.5, "stream": "labelled"}', '{"step": 2, "loss": NaN}', '{"step": 3, "dev_loss": 2}']
    (tmp_path / "m.jsonl").write_text("\n".join([*lines, '{"dev_frame_accuracy": 0.5}', "[]", '{"step": 4, "lo']))
    assert report(tmp_path, "--metrics", f"teacher={tmp_path / 'm.jsonl'}") == 0
    html = page(tmp_path)
    assert html.count('class="curve') == 3
    assert "nan" not in html.lower().split("<svg", 1)[1].split("</svg>")[0]


def test_a_run_without_baseline_or_errors_has_a_page(tmp_path):
    make_run(tmp_path)
    (tmp_path / "student_distilled" / "hyp.jsonl").write_text(
        "\n".join(json.dumps({"id": f"u{i}", "text": t}) for i, t in enumerate(REFERENCES))
    )
    argv = ["score", "--ref", str(tmp_path / "test.jsonl"), "--hyp", f"student_distilled={tmp_path}/student_distilled"]
    assert main([*argv, "--out", str(tmp_path / "scores")]) == 0
    assert report(tmp_path) == 0
    assert "Not a single word error" in page(tmp_path)
    assert json.loads((tmp_path / "out" / "results.json").read_text())["werr"] is None


def test_the_systems_that_were_scored_are_named_when_the_student_is_not_among_them(tmp_path, capsys):
    make_run(tmp_path)
    assert report(tmp_path, "--student", "pupil") == 2
    assert "pupil: not among the systems scored (teacher, " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("names", "marked", "about"),
    [
        (["teacher", "student"], [], "student"),
        (["teacher", "small", "labels"], ["--baseline", "labels"], "small"),
        (["base", "mine", "all_text"], ["--baseline", "base", "--oracle", "all_text"], "mine"),
        (["only"], ["--baseline", "only"], "only"),
        (["student_distilled", "other"], [], "student_distilled"),
    ],
)
def test_without_student_the_page_is_about_a_system_that_was_scored(tmp_path, names, marked, about):
    make_run(tmp_path)
    hyps = [f"{name}={tmp_path / 'teacher'}" for name in names]
    argv = ["score", "--ref", str(tmp_path / "test.jsonl"), "--hyp", *hyps, *marked]
    assert main([*argv, "--out", str(tmp_path / "scores")]) == 0
    assert report(tmp_path) == 0
    assert json.loads((tmp_path / "out" / "results.json").read_text())["student"] == about


@pytest.mark.parametrize("source", ["shards", "manifest"])
def test_a_clip_that_is_damaged_is_told_and_the_page_is_made(tmp_path, capsys, source):
    make_run(tmp_path)
    utterances = [Utterance(f"u{i}", str(tmp_path / f"u{i}.flac"), 0.5, text=t) for i, t in enumerate(REFERENCES)]
    if source == "shards":
        (tar,) = write_shards(utterances, tmp_path / "shards", 60)
        damage(tar, "u2")
        assert report(tmp_path, "--audio", str(tmp_path / "shards")) == 0
    else:
        (tmp_path / "u2.flac").write_bytes(b"no audio")
        assert report(tmp_path, "--manifest", str(tmp_path / "test.jsonl")) == 0
    assert "no sound of u2: " in capsys.readouterr().err
    assert len(clips(page(tmp_path))) == 2


def test_the_page_says_what_decoding_skipped(tmp_path):
    make_run(tmp_path)
    file = tmp_path / "student_distilled" / "hyp.jsonl"
    file.write_text(file.read_text().replace('"text": "SIX SIX"', '"reason": "damaged audio"'))
    hyps = [f"{name}={tmp_path / name}" for name in TEXTS]
    assert (
        main(["score", "--ref", str(tmp_path / "test.jsonl"), "--hyp", *hyps, "--out", str(tmp_path / "scores")]) == 0
    )
    report(tmp_path)
    assert "student_distilled: decoding skipped 1 of 4 utterances; their words are counted as deletions" in page(
        tmp_path
    )
