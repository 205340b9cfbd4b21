"""Two kinds of chart as inline SVG: values with intervals, and curves.

Colours come from the page's CSS (`.c0` ... `.c5`), so charts follow light and dark mode and print; all text is escaped.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

COLOURS = 6
"""Colour classes that the style sheet knows; further series start again from the first."""
WIDTH = 500
NARROW_WIDTH, WIDE_WIDTH = 460, 960
"""Line charts at half and at whole page width; text stays about as large in both."""
ROW, DENSE_ROW = 22, 15
CHARACTER = 6.6
"""Mean width of a character of the chart font, px; labels are given room by it."""

Scale = Callable[[float], float]
"""From a value to a place on the page."""


@dataclass(frozen=True)
class Mark:
    """One value with its interval."""

    label: str
    colour: int
    value: float | None
    interval: Sequence[float] | None


@dataclass(frozen=True)
class Curve:
    """One line of a chart."""

    label: str
    colour: int
    points: Sequence[tuple[float, float]]
    dashed: bool = False


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from at most `low` to at least `high`, 1, 2 or 5 times a power of ten apart."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / about))
    step = next(power * m for m in (1, 2, 5, 10) if span / (power * m) <= about)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


def interval_chart(title: str, bands: Sequence[tuple[str, Sequence[Mark]]], x_label: str) -> Markup:
    """Dots with whiskers from left to right on a scale from 0; one band per label, one row per mark in it."""
    marks = [m for _, band in bands for m in band if m.value is not None]
    ends = [max(m.interval) if m.interval else m.value for m in marks]
    scale = ticks(0.0, max([e for e in ends if e is not None], default=1.0) or 1.0)
    left = 24 + CHARACTER * max(len(label) for label, _ in bands)
    x: Scale = lambda v: left + (v - scale[0]) / (scale[-1] - scale[0]) * (WIDTH - left - 24)
    rows = sum(len(band) for _, band in bands)
    row, gap = (DENSE_ROW, 12) if len(bands) < rows else (ROW, 0)
    bottom = 8 + row * rows + gap * len(bands)
    parts = _vertical_grid(scale, x, 4, bottom, x_label)
    y = 8.0
    for label, band in bands:
        height = row * len(band)
        parts.append(_text(left - 12, y + height / 2 + 4, label, "end"))
        for mark in band:
            parts.append(_mark(mark, x, y + row / 2))
            y += row
        y += gap
    return _svg(title, WIDTH, bottom + 44, parts)


def line_chart(title: str, curves: Sequence[Curve], x_label: str, width: int = WIDTH) -> Markup:
    """Curves over a common x axis."""
    points = [p for curve in curves for p in curve.points]
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    x_scale, y_scale = ticks(min(xs), max(xs)), ticks(min(ys), max(ys))
    left, top, bottom = 20 + CHARACTER * max(len(f"{t:g}") for t in y_scale), 10, 250
    x: Scale = lambda v: left + (v - x_scale[0]) / (x_scale[-1] - x_scale[0]) * (width - left - 24)
    y: Scale = lambda v: bottom - (v - y_scale[0]) / (y_scale[-1] - y_scale[0]) * (bottom - top)
    parts = _vertical_grid(x_scale, x, top, bottom, x_label)
    for t in y_scale:
        parts.append(Markup('<path class="grid" d="M{} {}H{}"/>').format(round(left), round(y(t), 1), width - 24))
        parts.append(_text(left - 8, y(t) + 4, f"{t:g}", "end", "tick"))
    for c in curves:
        path = "L".join(f"{x(px):.1f} {y(py):.1f}" for px, py in c.points)
        shape = Markup('<path class="curve c{}{}" d="M{}{}"><title>{}</title></path>')
        # a single point is drawn as a dot: a line of no length with a round cap
        dot = "h0" if len(c.points) == 1 else ""
        parts.append(shape.format(c.colour % COLOURS, " dashed" if c.dashed else "", path, dot, c.label))
    return _svg(title, width, bottom + 44, parts)


def _mark(mark: Mark, x: Scale, y: float) -> Markup:
    if mark.value is None:
        return _text(x(0) + 6, y + 4, "undefined", "start", "tick")
    low, high = mark.interval or (mark.value, mark.value)
    told = f"{mark.label}: {mark.value:.1f}" + (f" ({low:.1f} to {high:.1f})" if mark.interval else "")
    shape = '<g class="c{}"><title>{}</title><path class="whisker" d="M{} {}H{}"/><circle cx="{}" cy="{}" r="4.5"/></g>'
    at = [round(v, 1) for v in (x(low), y, x(high), x(mark.value), y)]
    return Markup(shape).format(mark.colour % COLOURS, told, *at)


def _vertical_grid(scale: Sequence[float], x: Scale, top: float, bottom: float, label: str) -> list[Markup]:
    lines = [Markup('<path class="grid" d="M{} {}V{}"/>').format(round(x(t), 1), top, round(bottom)) for t in scale]
    numbers = [_text(x(t), bottom + 18, f"{t:g}", "middle", "tick") for t in scale]
    return [*lines, *numbers, _text((x(scale[0]) + x(scale[-1])) / 2, bottom + 38, label, "middle", "tick")]


def _text(x: float, y: float, text: str, anchor: str, css: str = "name") -> Markup:
    shape = Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>')
    return shape.format(css, round(x, 1), round(y, 1), anchor, text)


def _svg(title: str, width: int, height: float, parts: Sequence[Markup]) -> Markup:
    shape = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    return shape.format(width, round(height), title, Markup("").join(parts))
