"""`utterances.html`: every utterance of the test with the words of each system, to search and sort.

The page holds the utterances as JSON and draws those of one screenful; its one script is named by its digest in the
page's security policy, so that no other runs. Of a system's words only those that are not the reference's are stored.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2.utils
from markupsafe import Markup

from asr_kd.core.files import atomic_path
from asr_kd.core.terminal import printable
from asr_kd.evaluation.wer import columns
from asr_kd.report.summary import display_name
from asr_kd.report.templates import asset, template


def write_utterances(path: Path, scores: Mapping[str, Any], student: str, title: str) -> None:
    """Write the page, row by row."""
    script = asset("utterances.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = template("utterances.html.j2").generate(
        title=title,
        script=script,
        script_digest=digest,
        systems=list(scores["systems"]),
        student=student,
        labels=_json([printable(display_name(name)) for name in scores["systems"]]),
        rows=map(_json, rows(scores)),
    )
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as f:
        f.writelines(parts)


def rows(scores: Mapping[str, Any]) -> Iterator[list[Any]]:
    """Each utterance as [id, {field: value}, reference, one item for each system].

    The item is 0 where all words are right, else the alignment as in `score.wer` and the words substituted or inserted.
    """
    for u in scores["per_utterance"]:
        about = {"speaker": u["speaker"], **{f: v for f, v in u["meta"].items() if f != "speaker"}}
        shown = {printable(k): printable(v) for k, v in about.items() if isinstance(v, (str, int, float))}
        answers = [_answer(u["reference"], u["systems"][name]) for name in scores["systems"]]
        yield [printable(u["id"]), shown, printable(u["reference"]), answers]


def _answer(reference: str, answer: Mapping[str, Any]) -> Any:
    if not answer["errors"]:
        return 0
    aligned = columns(reference, answer["text"], answer["path"])
    return [answer["path"], " ".join(printable(hyp) for symbol, _, hyp in aligned if symbol in "SI")]


def _json(value: Any) -> Markup:
    """JSON without a character that could end the element it stands in."""
    return jinja2.utils.htmlsafe_json_dumps(value, dumps=json.dumps, ensure_ascii=False, separators=(",", ":"))
