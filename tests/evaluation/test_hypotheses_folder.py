"""`asr-kd score --hyp` takes what `asr-kd label` writes: transcripts of each shard in one folder."""

from pathlib import Path

from asr_kd.evaluation.hypotheses import read_hypotheses
from asr_kd.transcripts.recognised import RecognisedUtterance, write_recognised


def test_transcripts_of_several_shards_are_read_together(tmp_path: Path) -> None:
    for number, text in enumerate(("ONE", "TWO")):
        line = RecognisedUtterance(id=f"u{number}", text=text, seconds=1.0, confidence=0.5, words=[])
        write_recognised(tmp_path / f"shard-{number}.hyp.jsonl", [line])
    assert read_hypotheses(tmp_path) == {"u0": "ONE", "u1": "TWO"}


def test_what_decoding_wrote_comes_first(tmp_path: Path) -> None:
    write_recognised(tmp_path / "shard-0.hyp.jsonl", [RecognisedUtterance(id="u", text="OTHER")])
    write_recognised(tmp_path / "hyp.jsonl", [RecognisedUtterance(id="u", text="DECODED")])
    assert read_hypotheses(tmp_path) == {"u": "DECODED"}
