from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from asr_kd.report.curves import downsample
from asr_kd.report.svg import Curve, Mark, interval_chart, line_chart, ticks

numbers = st.floats(-1e6, 1e6, allow_nan=False).map(lambda v: round(v, 6))
points = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=20)


@given(numbers, numbers)
def test_ticks_are_few_and_embrace_the_values(a, b):
    low, high = min(a, b), max(a, b)
    scale = ticks(low, high)
    slack = 1e-6 * max(abs(low), abs(high), 1)
    assert scale[0] <= low + slack and scale[-1] >= high - slack
    assert 2 <= len(scale) <= 8 and scale == sorted(set(scale))


@given(points, st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"])))
def test_charts_are_well_formed_whatever_the_label(points, label):
    for chart in (
        line_chart(label, [Curve(label, 0, points)], label),
        interval_chart(label, [(label, [Mark(label, 9, 1.0, [0.0, 2.0]), Mark(label, 1, None, None)])], label),
    ):
        root = ElementTree.fromstring(chart)
        assert root.get("aria-label") == label or not label.isprintable()


@given(st.lists(st.tuples(numbers, numbers), max_size=500))
def test_thinned_curves_stay_within_the_values(points):
    thinned = downsample(points, most=20)
    assert len(thinned) <= 20 and (not points or thinned)
    if points:
        ys = [y for _, y in points]
        assert all(min(ys) - 1e-6 <= y <= max(ys) + 1e-6 for _, y in thinned)
