import json

import pytest

from asr_kd.core.skipped import Skipped


def skipped(reasons, **options):
    found = Skipped(**options)
    for item, reason in reasons.items():
        found.add(item, reason)
    return found


def test_it_says_how_many_and_why_and_lists_all(tmp_path, capsys):
    reasons = {"a": "s.tar: a: damaged audio", "b": "too short", "c": "t.tar: c: damaged audio"}
    skipped(reasons).finish(20, tmp_path / "skipped.jsonl")
    told = capsys.readouterr().err
    assert told == (
        f"3 of 20 utterances skipped (2 x damaged audio, first a; 1 x too short, first b), all in "
        f"{tmp_path / 'skipped.jsonl'}\n"
    )
    lines = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert lines == [{"id": i, "reason": r} for i, r in reasons.items()]


def test_what_an_earlier_run_skipped_is_not_left_behind(tmp_path, capsys):
    file = tmp_path / "skipped.jsonl"
    skipped({"a": "x"}).finish(9, file)
    capsys.readouterr()
    skipped({}).finish(9, file)
    assert not file.exists() and capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("count", "total", "share", "message"),
    [
        (1, 5, 0.2, None),
        (3, 10, 0.2, "more than a share of 0.2. Mend them, or accept it with --max-skipped 0.31"),
        (3, 10, 0.31, None),
        (1, 100, 0.0, "more than a share of 0"),
        (9, 10, 1.0, None),
        (10, 10, 1.0, "None is left"),
    ],
)
def test_too_many_are_an_error_that_leaves_the_list(tmp_path, count, total, share, message):
    found = skipped({f"u{i}": "damaged audio" for i in range(count)}, max_share=share)
    if message is None:
        found.finish(total, tmp_path / "skipped.jsonl")
    else:
        with pytest.raises(ValueError, match=message):
            found.finish(total, tmp_path / "skipped.jsonl")
    assert len((tmp_path / "skipped.jsonl").read_text().splitlines()) == count


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_lies_between_none_and_all(share):
    with pytest.raises(ValueError, match="--max-skipped"):
        Skipped(max_share=share)
