"""`asr-kd plan --train` and its simulator."""

import itertools
import json
import math
from dataclasses import replace

import pytest

from asr_kd.bench.train import WHAT, summarise
from asr_kd.bench.train_rank import RankResult
from asr_kd.bench.training_simulator import Link, MeasuredStep, batches_by_hand, bound, exchange, simulate
from asr_kd.cli import main
from asr_kd.train.strategies.registry import STRATEGIES

STEP = MeasuredStep(
    (0.2, 0.3, 0.5), (10.0, 12.0, 20.0), 0.05, 1_000_000, tensors=12, sent_share=0.01, powersgd_bytes=2e4
)
EVEN = replace(STEP, lane_s=(0.3,), lane_audio_s=(15.0,))
WIRE = Link(12.5e6, 1e-4)
NO_LIMIT = Link(math.inf, 0.0)
RANKS = (1, 2, 4, 16)


def seconds(strategy, ranks, link=WIRE, step=STEP, **options):
    return simulate(step, strategy, ranks, options.pop("lanes", ranks), link, **options).seconds


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_rank_has_no_network(strategy):
    assert seconds(strategy, 1, Link(1.0, 10.0)) == seconds(strategy, 1, NO_LIMIT)
    assert seconds(strategy, 1, step=EVEN) == pytest.approx(0.35)
    assert seconds(strategy, 1, step=EVEN, lanes=4) == pytest.approx(4 * 0.3 + 0.05)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("ranks", RANKS)
def test_a_faster_link_is_never_slower_and_without_limits_only_compute_is_left(strategy, ranks):
    links = [Link(rate, latency) for rate, latency in ((1e6, 1e-2), (1e6, 1e-3), (1e7, 1e-3), (1e9, 0.0))]
    times = [seconds(strategy, ranks, link, block_steps=10) for link in [*links, NO_LIMIT]]
    assert all(slow >= fast for slow, fast in itertools.pairwise(times))
    assert seconds(strategy, ranks, NO_LIMIT, step=EVEN, block_steps=10) == pytest.approx(0.35)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_more_ranks_with_a_lane_each_do_more_in_all_but_less_each(strategy):
    steps = [simulate(STEP, strategy, ranks, ranks, Link(1e9, 1e-5), block_steps=10) for ranks in RANKS]
    rates = [step.hours_per_second for step in steps]
    assert rates == sorted(rates)
    each = [rate / ranks for rate, ranks in zip(rates, RANKS, strict=True)]
    assert each == sorted(each, reverse=True)


def test_bytes_by_hand():
    all_bytes = 4e6
    assert exchange("allreduce", 4, STEP).bytes == pytest.approx(1.5 * all_bytes)
    assert exchange("bmuf", 4, STEP).bytes == pytest.approx(1.5 * all_bytes)
    assert exchange("tree", 4, STEP).bytes == pytest.approx(2 * all_bytes)
    assert exchange("threshold", 4, STEP).bytes == pytest.approx(3 * 0.01 * all_bytes)
    # 6 MB at 12.5 MB/s, and two sums of 2 x 3 messages
    assert seconds("allreduce", 4, step=EVEN) == pytest.approx(0.35 + 0.48 + 12e-4)
    # once in ten steps: 12 sums
    assert seconds("bmuf", 4, step=EVEN, block_steps=10) == pytest.approx(0.35 + (0.48 + 72e-4) / 10)


def test_ranks_wait_for_the_slowest_and_those_of_bmuf_less():
    step = replace(STEP, lane_s=(0.1, 0.9), lane_audio_s=(10.0, 10.0))
    mean, slowest = 0.55, 0.95
    assert mean < seconds("bmuf", 16, NO_LIMIT, step, block_steps=50) < seconds("allreduce", 16, NO_LIMIT, step)
    assert seconds("allreduce", 16, NO_LIMIT, step) == pytest.approx(slowest, rel=0.01)


def test_a_loader_is_a_ceiling():
    # 15 s of audio in a step of 0.35 s
    assert seconds("allreduce", 4, step=EVEN, loader_rate=1e6) == pytest.approx(0.35 + 0.4812)
    assert seconds("allreduce", 4, step=EVEN, loader_rate=5.0, steps=100) == pytest.approx(3.0, rel=0.01)
    slow = [seconds("allreduce", 4, loader_rate=rate) for rate in (5.0, 30.0, 40.0, 1e6)]
    assert slow == sorted(slow, reverse=True)


def test_allreduce_sends_in_the_backward_pass_as_soon_as_a_bucket_is_full():
    large = replace(EVEN, weights=25_000_000)  # 100 MB: four buckets
    wire_s = 1.5 * 100 / 12.5
    # each quarter of the backward pass of 0.2 s fills a bucket, and the first three are under way before it ends
    assert seconds("allreduce", 4, Link(12.5e6, 0), large) == pytest.approx(0.35 + wire_s - 0.15)
    fast = Link(12.5e9, 0)  # 3 ms a bucket: only the last is waited for
    assert seconds("allreduce", 4, fast, large) == pytest.approx(0.35 + wire_s / 1000 / 4)
    assert seconds("bmuf", 4, fast, large) == pytest.approx(0.35 + wire_s / 1000)


def test_what_ranks_do_themselves_comes_on_top():
    copying = replace(EVEN, host_bytes_per_second=12.5e6, threshold_s=0.1)
    assert seconds("allreduce", 4, NO_LIMIT, copying) == pytest.approx(0.35 + 0.48)
    assert seconds("allreduce", 4, Link(12.5e6, 0), copying) == pytest.approx(0.35 + 2 * 0.48)
    assert seconds("threshold", 4, NO_LIMIT, copying) == pytest.approx(0.35 + 0.1 + 0.0096)
    assert seconds("threshold", 1, NO_LIMIT, copying) == pytest.approx(0.35)


@pytest.mark.parametrize(
    ("link", "loader_rate", "said"),
    [(NO_LIMIT, math.inf, "compute"), (Link(1e6, 0.0), math.inf, "network"), (NO_LIMIT, 1.0, "loader")],
)
def test_what_bounds_a_step(link, loader_rate, said):
    assert bound(EVEN, "allreduce", 4, 4, link, loader_rate=loader_rate) == said


def test_the_slowest_of_very_different_batches_bound_a_step():
    step = replace(STEP, lane_s=(0.1,) * 9 + (1.0,), lane_audio_s=(10.0,) * 10)
    assert bound(step, "allreduce", 64, 64, NO_LIMIT) == "waiting"


def test_batches_by_hand_have_the_mean_and_the_spread():
    lane_s, audio_s = batches_by_hand(0.5, 30.0, 0.3, count=20_000)
    mean = sum(lane_s) / len(lane_s)
    assert mean == pytest.approx(0.5)
    assert math.sqrt(sum((s - mean) ** 2 for s in lane_s) / len(lane_s)) == pytest.approx(0.15, rel=0.03)
    assert set(audio_s) == {30.0} and batches_by_hand(0.5, 30.0, 0.0) == ((0.5,), (30.0,))


def plan(capsys, *options):
    assert main(["plan", "--train", "--hours", "86400", "--utilisation", "1", *options, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_plan_by_hand(capsys):
    got = plan(
        capsys, "--rate", "0.5", "--weights", "1000000", "--ranks", "1", "4", "--bandwidth", "0.1", "--latency", "0",
        "--batch-seconds", "1800", "--strategies", "allreduce", "--epochs", "2", "--checkpoint-seconds", "100",
    )  # fmt: skip
    alone, four = got["rows"]
    # half an hour a second, and 100 s of every 400 are spent on saving
    assert alone["hours_per_second"] == pytest.approx(0.375) and alone["days"] == pytest.approx(2 / 0.375)
    wire_s = 6e6 / (12.5e6 * 1448 / 1538)
    assert four["seconds_per_step"] == pytest.approx(1 + wire_s)
    assert four["hours_per_second"] == pytest.approx(0.75 * 4 * 0.5 / (1 + wire_s))
    assert four["efficiency"] == pytest.approx(1 / (1 + wire_s)) and four["bound"] == "compute"
    assert four["mb_per_step"] == pytest.approx(6)


def test_every_input_has_its_source_and_the_paper_stands_beside(capsys):
    got = plan(capsys, "--rate", "0.5", "--ranks", "1")
    assert all(entry["source"] for entry in got["inputs"])
    assert "1904.10584" in got["published"]["source"]
    # a million hours in 12 days on 64 GPUs
    assert got["published"]["hours_per_second_and_rank"] == pytest.approx(1e6 / (12 * 86_400) / 64)
    assert {row["strategy"] for row in got["rows"]} == set(STRATEGIES) - {"threshold"}  # its bytes are not known
    inputs = {i["name"]: i for i in got["inputs"]}
    assert 23e6 < inputs["weights"]["value"] < 25e6 and "student-paper" in inputs["weights"]["source"]


def test_by_default_the_strategies_that_are_possible(capsys):
    got = plan(capsys, "--rate", "0.5", "--weights", "1000000", "--ranks", "3", "--sent-share", "0.01")
    assert {row["strategy"] for row in got["rows"]} == set(STRATEGIES) - {"tree", "powersgd"}


def test_the_text_says_what_the_json_says(capsys):
    assert main(["plan", "--train", "--hours", "1000000", "--rate", "0.5", "--weights", "1000000"]) == 0
    text = capsys.readouterr().out
    assert text.count("\n  any ") == 1  # one rank, once
    assert "bmuf" in text and "given: --rate" in text and "12 days" in text and "bound by" in text


def run_of(ranks, strategy, **figures):
    """A run of `bench train`: 15 s of audio in 0.35 s."""
    result = RankResult(
        parameters=1_000_000, steps=20, audio_hours_per_step=ranks * 15 / 3600, frames_per_step=500.0,
        bare_step_s=0.28, bare_step_with_update_s=0.33, update_s=0.05, step_s=0.35, spread=0.0, parts_s={},
        exchange_s=0.1, exchange_every_steps=1, bytes_per_exchange=4e4, bytes_per_step=4e4, latency_s=1e-3,
        link_bytes_per_second=12.5e6,
    )  # fmt: skip
    return {"ranks": ranks, "strategy": strategy, **summarise([replace(result, **figures)])}


@pytest.fixture
def bench(tmp_path):
    def write(*runs, **others):
        path = tmp_path / "bench.json"
        about = {"what": WHAT, "model": "own", "device_name": "a CPU", "precision": "float32"}
        path.write_text(json.dumps(about | {"runs": runs} | others))
        return str(path)

    return write


def test_a_plan_from_a_benchmark(bench, capsys):
    path = bench(run_of(1, "allreduce"), run_of(2, "allreduce"), run_of(2, "threshold"))
    options = ["--ranks", "1", "4", "--bandwidth", "0.1", "--latency", "0"]
    got = plan(capsys, "--bench", path, *options)
    rows = {(row["strategy"], row["ranks"]): row for row in got["rows"]}
    assert rows["allreduce", 1]["hours_per_second"] == pytest.approx(15 / 3600 / 0.35)
    # 6 MB through the link, and at the 12.5 MB/s that two ranks were seen to add up at
    wire_s = 6e6 / (12.5e6 * 1448 / 1538)
    assert rows["allreduce", 4]["seconds_per_step"] == pytest.approx(0.35 + wire_s + 0.48)
    # 4 bytes of each of 10,000 entries from three others, and 0.1 s to find them
    assert rows["threshold", 4]["seconds_per_step"] == pytest.approx(0.35 + 0.1 + 0.02 * (wire_s + 0.48))
    inputs = {i["name"]: i for i in got["inputs"]}
    assert path in inputs["rate"]["source"] and "a CPU" in inputs["rate"]["source"]
    assert inputs["sent_share"]["value"] == pytest.approx(0.01)
    given = plan(capsys, "--bench", path, *options, "--sent-share", "0.5")
    assert {i["name"]: i["value"] for i in given["inputs"]}["sent_share"] == 0.5


@pytest.mark.parametrize(
    ("runs", "others", "options", "said"),
    [
        ([], {"what": "asr-kd bench label"}, [], "not what"),
        ([run_of(2, "tree")], {}, [], "no run of one rank"),
        ([{"ranks": 1, "strategy": "tree"}], {}, [], "damaged"),
        ([run_of(1, "tree")], {}, ["--spread", "0.1"], "--spread: for --rate only"),
        ([run_of(1, "tree")], {}, ["--rate", "1"], "give one of them"),
        ([run_of(1, "tree", step_s=0.04)], {}, [], "damaged"),
    ],
)
def test_a_benchmark_of_something_else_is_refused(runs, others, options, said, bench, capsys):
    assert main(["plan", "--train", "--hours", "10", "--bench", bench(*runs, **others), *options]) == 2
    message = capsys.readouterr().err
    assert said in message and len(message.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--train"], "--rate"),
        (["--train", "--rate", "1", "--machines", "3"], "--machines is for labelling"),
        (["--rate", "1", "--ranks", "3"], "--ranks needs --train"),
        (["--train", "--rate", "-1"], "--rate -1"),
        (["--train", "--rate", "1", "--ranks", "0"], "--ranks 0"),
        (["--train", "--rate", "1", "--ranks"], "--ranks: at least one"),
        (["--train", "--rate", "1", "--ranks", "100000"], "at most"),
        (["--train", "--rate", "1", "--bandwidth", "0"], "--bandwidth 0"),
        (["--train", "--rate", "1", "--latency", "-1"], "--latency -1"),
        (["--train", "--rate", "1", "--sent-share", "2"], "--sent-share 2"),
        (["--train", "--rate", "1", "--lanes", "6", "--ranks", "4"], "--lanes 6"),
        (["--train", "--rate", "1", "--strategies", "tree", "--ranks", "3"], "power of two"),
        (["--train", "--rate", "1", "--strategies", "threshold"], "--sent-share"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_line(options, said, capsys):
    assert main(["plan", "--hours", "10", *options]) == 2
    message = capsys.readouterr().err
    assert said in message and len(message.strip().splitlines()) == 1
