"""docs/sidecars.md is enough to read a sidecar: its reader and its query run as they stand there."""

import re
from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch

from asr_kd.targets.codec import EncodedRows, ProbabilityQuantiser, encode_table
from asr_kd.targets.sidecar import read_sidecar, write_sidecar
from asr_kd.targets.topk import SelectionConfig, select_top_k

PAGE = (Path(__file__).resolve().parents[2] / "docs/sidecars.md").read_text()


def block(language):
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found


@pytest.fixture(params=[(40, 16, {}), (3000, 30, {"top_k": 60, "min_prob": 1e-4}), (2, 2, {"top_k": 1})])
def sidecar(request, tmp_path):
    classes, levels, selection = request.param
    generator = torch.Generator().manual_seed(0)
    rows = []
    for frames in (30, 1, 0, 45):
        noise_TC = torch.randn(frames, classes, generator=generator)
        logits_TC = noise_TC.cumsum(0) * 0.7 + noise_TC  # frames like the one before
        rows.append(select_top_k((2 * logits_TC).log_softmax(-1), SelectionConfig(**selection)))
    rows.insert(1, "no audio")
    quantiser = ProbabilityQuantiser(levels)
    table = encode_table([f"u{i}" for i in range(len(rows))], rows, quantiser)
    path = tmp_path / "shard-000000.parquet"
    description = {"kind": "posteriors", "format": 2, "shard": "0" * 64, "quantisation": quantiser.describe()}
    write_sidecar(path, table, description)
    return path


def test_the_reader_on_the_page_reads_what_asr_kd_reads(sidecar):
    scope = {}
    exec(block("python"), scope)
    table, description = read_sidecar(sidecar)
    ours = EncodedRows(table, ProbabilityQuantiser.of(description))
    theirs = list(scope["read"](sidecar))
    assert [name for name, _ in theirs] == table.column("id").to_pylist()
    for row, (_, frames) in zip(ours, theirs, strict=True):
        if row is None:
            assert frames is None
            continue
        assert len(frames) == row.frames
        for t, (classes, tail) in enumerate(frames):
            count = (row.ids_TK[t] >= 0).sum()
            assert list(classes) == row.ids_TK[t, :count].tolist()
            np.testing.assert_allclose(list(classes.values()), np.exp(row.log_p_TK[t, :count]), rtol=1e-5)
            assert tail == pytest.approx(np.exp(row.log_tail_T[t]), rel=1e-5)


def test_the_query_on_the_page_runs(sidecar):
    query = re.sub(r"read_parquet\('.*?'\)", f"read_parquet('{sidecar}')", block("sql"))
    found = duckdb.execute(query).fetchall()
    assert {name for name, *_ in found} == {"u0", "u2", "u4"}
    assert all(mass > 0 and classes >= 1 and size > 0 for _, mass, classes, size in found)
    assert [mass for _, mass, *_ in found] == sorted(mass for _, mass, *_ in found)
