import json

import pytest

from asr_kd.cli import main


def plan(capsys, *options):
    assert main(["plan", *options, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_plan_by_hand(capsys):
    got = plan(
        capsys, "--hours", "1000000", "--rate", "0.5", "--machines", "4", "--gpus-per-machine", "8",
        "--utilisation", "0.8", "--price-per-hour", "10", "--sidecar-mb-per-hour", "0.7", "--audio-kbps", "256",
    )  # fmt: skip
    # 0.5 h/s x 8 GPUs x 0.8 = 3.2 h/s a machine: 312,500 s of one machine for a million hours
    assert got["machine_hours"] == pytest.approx(312_500 / 3600)
    assert got["days"] == pytest.approx(312_500 / 4 / 86_400)
    assert got["hours_per_second"] == pytest.approx(12.8) and got["devices"] == 32
    assert got["cost"] == pytest.approx(3125 / 3.6)
    assert got["sidecar_tb"] == pytest.approx(0.7)
    assert got["audio_tb"]["audio"] == pytest.approx(115.2)  # 32 kB/s
    assert got["audio_tb"]["flac"] == pytest.approx(140 / 8 * 3.6) and got["audio_tb"]["opus"] == pytest.approx(10.8)


@pytest.mark.parametrize(("days", "machines"), [("10", 2), ("20", 1), ("19.9", 2), ("1", 20)])
def test_a_deadline_gives_the_machines(days, machines, capsys):
    # 1 h/s, always at work: 20 machine days
    got = plan(capsys, "--hours", str(20 * 86_400), "--rate", "1", "--utilisation", "1", "--deadline", days)
    assert got["machines"] == machines
    assert got["days"] == pytest.approx(20 / machines) and got["days"] <= float(days)


def test_every_input_and_every_published_figure_has_its_source(capsys):
    got = plan(capsys, "--hours", "1000000", "--rate", "1")
    assert got["cost"] is None and got["machines"] == 1
    assert all(entry["source"] for entry in got["inputs"] + got["published"])
    sources = {i["name"]: i["source"] for i in got["inputs"]}
    assert sources["rate"] == "given: --rate" and sources["sidecar_mb_per_hour"].startswith("default")
    paper = next(p for p in got["published"] if "1904.01624" in p["source"])
    assert paper["days"] is None  # it does not say
    nemo = next(p for p in got["published"] if "parakeet-tdt-0.6b" in p["source"])
    assert nemo["days"] == pytest.approx(1_000_000 * 3600 / 3380 / 86_400)
    whisper = next(p for p in got["published"] if "distil-whisper" in p["source"])
    assert whisper["days"] == pytest.approx(1_000_000 / 60 / 24)  # an hour a minute


def test_the_text_says_what_the_json_says(capsys):
    assert main(["plan", "--hours", "3600", "--rate", "1", "--utilisation", "1", "--teacher", "student-tiny"]) == 0
    text = capsys.readouterr().out
    assert "60.0 minutes" in text and "given: --rate" in text and "EFLOP" in text
    assert "arXiv 1904.01624" in text and "not published" in text


BENCH = {
    "hours_per_second": 0.25, "mb_per_hour": 9.0, "device": "cuda", "device_name": "H100", "teacher": "teacher-paper",
    "precision": "bf16", "weights": "random",
}  # fmt: skip


def test_a_measurement_with_random_weights_gives_the_rate_and_not_the_bytes(tmp_path, capsys):
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(BENCH))
    got = plan(capsys, "--hours", "1800", "--bench", str(path), "--gpus-per-machine", "2", "--utilisation", "1")
    inputs = {i["name"]: i for i in got["inputs"]}
    assert got["machine_hours"] == pytest.approx(1) and "H100" in inputs["rate"]["source"]
    assert inputs["sidecar_mb_per_hour"]["value"] == 0.75 and "random" in inputs["sidecar_mb_per_hour"]["source"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rate", "0"], "--rate"),
        (["--rate", "1", "--hours", "-1"], "--hours"),
        (["--rate", "1", "--utilisation", "1.5"], "--utilisation"),
        (["--rate", "1", "--machines", "2", "--deadline", "3"], "give one"),
        (["--rate", "1", "--teacher", "nowhere"], "no preset"),
        (["--bench", "BENCH"], "--gpus-per-machine"),
        (["--bench", "BENCH", "--gpus-per-machine", "1", "--teacher", "teacher-tiny"], "measured with teacher"),
        (["--bench", "OTHER"], "not what"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_line(options, said, tmp_path, capsys):
    (tmp_path / "BENCH").write_text(json.dumps(BENCH))
    (tmp_path / "OTHER").write_text(json.dumps({"hours_per_second": "fast"}))
    options = [str(tmp_path / o) if o in ("BENCH", "OTHER") else o for o in options]
    hours = [] if "--hours" in options else ["--hours", "10"]
    assert main(["plan", *hours, *options]) == 2
    message = capsys.readouterr().err
    assert said in message and len(message.strip().splitlines()) == 1
