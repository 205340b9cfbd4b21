"""Templates of the pages: all text from outside is escaped, and shown without characters that reorder or hide it."""

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from asr_kd.core.terminal import printable
from asr_kd.report.summary import display_name

HERE = Path(__file__).parent


def template(name: str, **filters: Any) -> jinja2.Template:
    """A template of this folder; it also has the filter `label`, and `css`, the pages' style sheet."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"label": display_name, **filters}
    return environment.get_template(name, globals={"css": asset("page.css")})


def asset(name: str) -> Markup:
    """A file of ours in this folder, to stand in a page as it is."""
    return Markup((HERE / name).read_text(encoding="utf-8"))


def _visible(value: Any) -> Any:
    if isinstance(value, str) and not isinstance(value, Markup):
        return "\n".join(map(printable, value.split("\n")))
    return value
