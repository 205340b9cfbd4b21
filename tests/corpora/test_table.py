"""Tables of audio files: columns by name, rows of any quality; each row is used, or listed with its line."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_kd.cli import main
from asr_kd.corpora.delimited import DelimitedTable
from asr_kd.corpora.manifest import read_manifest

RATE = 16000


def audio(path: Path, seconds: float = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(0.1 * np.arange(round(seconds * RATE))), RATE)


def prepared(table: Path, out: Path, *options: str) -> tuple[dict[str, dict], list[str]]:
    """Utterances by id, and the reasons of the rejected."""
    given = ["--out", str(out), "--max-skipped", "0.9", "--dev-fraction", "0", *options]
    assert main(["prepare", "table", str(table), *given]) == 0
    used = {
        u.id: vars(u) for p in out.glob("*.jsonl") if p.stem in ("labelled", "unlabelled") for u in read_manifest(p)
    }
    rejected = out / "rejected.jsonl"
    lines = rejected.read_text().splitlines() if rejected.exists() else []
    return used, [json.loads(line)["error"] for line in lines]


def rows(path: Path, text: str | bytes, **options) -> list[tuple[int, list[str], bool]]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [(row.line, row.values, row.fault is None) for row in DelimitedTable(path, **options).rows()]


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_columns_are_taken_by_usual_names_and_that_is_said(tmp_path, suffix, capsys):
    mark = "," if suffix == "csv" else "\t"
    audio(tmp_path / "wavs" / "ä b.wav")
    audio(tmp_path / "wavs" / "c.wav")
    lines = [
        ["Path", "Sentence", "Client ID", "age"],
        ["wavs/ä b.wav", '"Hi, there"', "ann", "30"],
        ["wavs/c.wav", "", "bob", ""],
    ]
    (tmp_path / f"t.{suffix}").write_text("\ufeff" + "\r\n".join(mark.join(line) for line in lines))
    used, rejected = prepared(tmp_path / f"t.{suffix}", tmp_path / "out")
    assert rejected == []
    assert used["wavs-ä b"]["text"] == "HI THERE" and used["wavs-ä b"]["speaker"] == "ann"
    assert used["wavs-ä b"]["meta"] == {"age": "30"} and used["wavs-c"]["text"] is None
    said = capsys.readouterr().err
    assert "audio = Path, text = Sentence, speaker = Client ID" in said


def test_stretches_of_one_file_by_offset_and_end_or_duration(tmp_path):
    audio(tmp_path / "long.wav", 5.0)
    (tmp_path / "t.csv").write_text(
        "file;from;to;text\nlong.wav;0,5;2;one\nlong.wav;2.5;4;two\nlong.wav;3;x;bad\nlong.wav;4;9;bad\nlong.wav;2;1;bad\n"
    )
    options = ["--offset-column", "from", "--end-column", "to"]
    used, rejected = prepared(tmp_path / "t.csv", tmp_path / "out", *options)
    assert {n: (u["offset"], u["duration"], u["text"]) for n, u in used.items()} == {
        "long-00000500": (0.5, 1.5, "ONE"),
        "long-00002500": (2.5, 1.5, "TWO"),
    }
    assert any("line 4, column to: 'x' is no number of seconds" in why for why in rejected)
    assert any("line 6, column to: a length of -1" in why for why in rejected)
    assert any("ends at 9.00 s" in why for why in rejected) and len(rejected) == 3


def test_ids_of_the_table_languages_of_rows_and_a_table_without_names(tmp_path):
    for name in "abc":
        audio(tmp_path / "w" / f"{name}.flac")
    (tmp_path / "t.txt").write_text("u1|a|de-AT|x\nu2|b|fr|y\nu3|c|??|z\nu1|b||x\n|b||x|x\n")
    given = ["--columns", "id", "audio", "lang", "text", "--delimiter", "pipe", "--audio-root", str(tmp_path / "w")]
    used, rejected = prepared(tmp_path / "t.txt", tmp_path / "out", *given)
    assert {n: u["meta"] for n, u in used.items()} == {"u1": {"lang": "de"}, "u2": {"lang": "fr"}}
    assert len(rejected) == 3 and any("id u1 is that of a row before" in why for why in rejected)
    assert any("line 3, column lang: " in why for why in rejected) and any(
        "5 values for 4 columns" in w for w in rejected
    )


def test_a_table_whose_audio_column_is_not_known_says_which_there_are(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("foo,bar\n1,2\n")
    assert main(["prepare", "table", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out")]) == 2
    assert "--audio-column; the columns are foo, bar" in capsys.readouterr().err


def test_quoted_fields_hold_delimiters_marks_and_line_ends(tmp_path):
    text = 'a,b\n"x, y","say ""hi"""\n"two\nlines",3\n'
    assert rows(tmp_path / "t.csv", text) == [(2, ["x, y", 'say "hi"'], True), (3, ["two\nlines", "3"], True)]


def test_a_quotation_mark_that_is_not_closed_costs_no_row(tmp_path):
    text = 'a\tb\n1\t"open\n2\tplain\n3\t"quoted"\n4\tin "the" middle\n5\topen again"\n'
    assert rows(tmp_path / "t.tsv", text) == [
        (2, ["1", '"open'], True),
        (3, ["2", "plain"], True),
        (4, ["3", "quoted"], True),
        (5, ["4", 'in "the" middle'], True),
        (6, ["5", 'open again"'], True),
    ]


def test_every_line_is_in_one_row_whatever_its_quotation_marks(tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(300):
        count = int(rng.integers(1, 12))
        lines = ["".join(rng.choice(list('ab",,"'), size=rng.integers(1, 8))) for _ in range(count)]
        found = rows(tmp_path / "t.csv", "x,y\n" + "\n".join(lines) + "\n")
        starts = [line for line, _, _ in found]
        assert starts == sorted(set(starts)) and starts[0] == 2
        covered = [line + sum(value.count("\n") for value in values) for line, values, _ in found]
        assert [start for start in starts[1:]] == [end + 1 for end in covered[:-1]] and covered[-1] == count + 1


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252", "utf-8-sig"])
def test_encodings(tmp_path, encoding):
    options = {"encoding": "cp1252"} if encoding == "cp1252" else {}
    assert rows(tmp_path / "t.csv", "a,b\nMüller,1\n".encode(encoding), **options) == [(2, ["Müller", "1"], True)]


def test_bytes_of_another_encoding_cost_their_row(tmp_path):
    assert [ok for _, _, ok in rows(tmp_path / "t.csv", b"a,b\nM\xfcller,1\nx,2\n")] == [False, True]


def test_files_outside_the_folder_that_share_a_name_are_all_used_and_only_the_same_stretch_is_a_second_time(tmp_path):
    table = tmp_path / "lists" / "t.csv"
    paths = [tmp_path / "data" / name for name in ("spk1/001.wav", "spk2/001.wav", "spk2/9.wav")]
    paths += [table.parent / name for name in ("a-b/c.wav", "a/b-c.wav")]
    for path in paths:
        audio(path, 2.0)
    table.write_text("audio,text\n" + "".join(f"{path},x\n" for path in [*paths, paths[1]]))
    used, rejected = prepared(table, tmp_path / "out")
    assert {name: u["audio_filepath"] for name, u in used.items() if name[0] != "a"} == {
        "spk1-001": str(paths[0]),
        "spk2-001-wav": str(paths[1]),
        "9": str(paths[2]),
    }
    assert len(used) == 5 and len(rejected) == 1 and "spk2-001-wav is listed a second time" in rejected[0]
    table.write_text(f"audio,text,offset,duration\n{paths[0]},x,0.5,1\n{paths[1]},x,0.7,1\n{paths[0]},x,0.5,0.5\n")
    used, rejected = prepared(table, tmp_path / "out")
    assert sorted(u["duration"] for u in used.values()) == [0.5, 1, 1] and rejected == []
