"""Two corpora whose files are called alike go together once each has a name."""

import json
import shutil
from pathlib import Path

import pytest

from asr_kd.cli import main
from asr_kd.corpora.manifest import Utterance, read_manifest
from asr_kd.shards.reader import find_shards, open_shard


def test_named_corpora_share_neither_ids_nor_names_of_shards(tone_utterances: list[Utterance], tmp_path: Path) -> None:
    for name in ("calls", "news"):
        folder = tmp_path / name
        folder.mkdir()
        for u in tone_utterances[:2]:
            shutil.copy(u.audio_filepath, folder)
        (folder / "broken.flac").write_bytes(b"fLaC")
        out = tmp_path / "manifests" / name
        options = ["--name", name, "--max-skipped", "0.5"]
        assert main(["prepare", "folder", str(folder), *options, "--out", str(out)]) == 0
        assert [u.id for u in read_manifest(out / "unlabelled.jsonl")] == [f"{name}-tone-00", f"{name}-tone-01"]
        assert json.loads((out / "rejected.jsonl").read_text())["id"] == f"{name}-broken"
        shards = ["--name", name, "--out", str(tmp_path / "shards" / name)]
        assert main(["shard", str(out / "unlabelled.jsonl"), *shards]) == 0
    tars = find_shards(tmp_path / "shards/calls/unlabelled", tmp_path / "shards/news/unlabelled")
    assert [Path(str(tar)).name for tar in tars] == ["calls-000000.tar", "news-000000.tar"]
    assert len({e.id for tar in tars for e in open_shard(tar).entries}) == 4


@pytest.mark.parametrize("name", ["", "a b", "../up", "x" * 41, "-x"])
def test_a_name_that_cannot_begin_a_file_is_refused(name: str, tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["shard", "m.jsonl", f"--name={name}", "--out", str(tmp_path)])
    assert "make a name" in capsys.readouterr().err
