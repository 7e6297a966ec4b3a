"""Charts and ranks against closed forms, brute force and published tables; colours against WCAG."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import ltbench.report
from ltbench.report.charts import class_bars, curve
from ltbench.report.plots import Point, critical_difference, front, pareto
from ltbench.report.ranks import ranked
from ltbench.report.svg import Scale, element, padded

CSS = Path(ltbench.report.__file__).parent / "assets" / "report.css"
DEMSAR = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}  # 2006, table 5a


@pytest.mark.parametrize("count", [3, 4, 5, 10])
def test_the_critical_difference_is_that_of_the_published_table(count: int) -> None:
    scores = np.random.default_rng(count).random((6, count))
    ranks = ranked([f"m{k}" for k in range(count)], scores)
    assert ranks is not None
    assert ranks.difference == pytest.approx(DEMSAR[count] * math.sqrt(count * (count + 1) / 36), abs=2e-3)
    assert ranks.p == pytest.approx(stats.friedmanchisquare(*scores.T).pvalue)
    assert sum(ranks.average) == pytest.approx(count * (count + 1) / 2)


def test_ranks_by_hand_with_a_tie() -> None:
    ranks = ranked(["a", "b", "c"], np.array([[0.9, 0.9, 0.1], [0.5, 0.7, 0.6]]))
    assert ranks is not None
    assert dict(zip(ranks.methods, ranks.average, strict=True)) == {"a": 2.25, "b": 1.25, "c": 2.5}
    assert ranks.cliques == ((1.25, 2.5),)


def test_clear_differences_part_the_cliques() -> None:
    scores = np.tile(np.arange(6.0), (40, 1))
    ranks = ranked(list("abcdef"), scores)
    assert ranks is not None and ranks.methods == tuple("fedcba")
    assert ranks.difference < 2 and ranks.cliques == tuple((k, k + 1) for k in range(1, 6))


def test_ranks_need_two_data_sets_and_three_methods() -> None:
    assert ranked(["a", "b", "c"], np.ones((1, 3))) is None
    assert ranked(["a", "b"], np.ones((4, 2))) is None
    alike = ranked(["a", "b", "c"], np.ones((4, 3)))
    assert alike is not None and alike.p == 1.0 and alike.average == (2.0, 2.0, 2.0)
    assert "<svg" in critical_difference(alike, "ranks")


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_beats(values: list[tuple[int, int]]) -> None:
    points = [Point(f"m{k}", c, q) for k, (c, q) in enumerate(values)]
    pairs = {(c, q) for _, c, q in points}
    beaten = {(c, q) for c, q in pairs for d, p in pairs if d <= c and p >= q and (d, p) != (c, q)}
    assert {(c, q) for _, c, q in front(points)} == pairs - beaten


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.booleans())
def test_ticks_lie_inside(low: float, span: float, log: bool) -> None:
    low = abs(low) + 1e-3 if log else low
    scale = Scale(low, low + span, 0, 100, log)
    ticks = scale.ticks()
    assert len(ticks) <= 40
    assert all(-0.01 <= scale(t) <= 100.01 for t in ticks)


def test_a_curve_breaks_where_a_loss_diverged() -> None:
    history = [{"stage": "a", "epoch": k, "loss": math.nan if k == 2 else float(k)} for k in range(5)]
    drawn = curve(history, "loss", "loss", 4)
    assert drawn is not None
    (path,) = re.findall(r'<path d="([^"]*)"', drawn)
    assert path.count("M") == 2 and path.count("L") == 2 and "nan" not in drawn
    assert curve(history, "absent", "absent", None) is None
    assert curve([], "loss", "loss", None) is None


def test_names_of_the_front_cover_neither_dots_nor_each_other() -> None:
    crowd = [Point(f"method-{k}", 10.0 + k, 70 + k / 4) for k in range(8)]
    drawn = str(pareto([*crowd, Point("beside", 14.0, 70.1)], "q", "t"))
    dots = [tuple(map(float, d)) for d in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawn)]
    names = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" class="name">([^<]+)<', drawn)
    boxes = [(float(x), float(x) + 6.6 * len(name), float(y)) for x, y, name in names]
    assert len(dots) == 9 and len(boxes) == 8
    assert not any(a < x < b and base - 12 < y < base + 3 for a, b, base in boxes for x, y in dots)
    pairs = [(one, two) for k, one in enumerate(boxes) for two in boxes[:k]]
    assert not any(one[0] < two[1] and two[0] < one[1] and abs(one[2] - two[2]) < 12 for one, two in pairs)


def test_charts_without_finite_numbers() -> None:
    assert padded([math.nan]) == (0.0, 1.0)
    assert "n/a" in class_bars(["x"], [math.nan], "bars")
    assert pareto([Point("a", 0.0, 1.0), Point("b", math.nan, 1.0)], "q", "t") is None
    assert pareto([Point("a", 3.0, 1.0)], "q", "t") is not None


def test_elements_escape() -> None:
    assert element("text", '<a b="c">', class_='"><x') == '<text class="&#34;&gt;&lt;x">&lt;a b=&#34;c&#34;&gt;</text>'


def colours(scheme: str) -> dict[str, str]:
    light, dark = re.findall(r":root \{(.*?)\}", CSS.read_text(), re.DOTALL)
    found = dict(re.findall(r"--([\w-]+): (#\w{6}|\d+ \d+ \d+)", light))
    return found | (dict(re.findall(r"--([\w-]+): (#\w{6}|\d+ \d+ \d+)", dark)) if scheme == "dark" else {})


def rgb(colour: str) -> np.ndarray:
    if colour.startswith("#"):
        return np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)], float)
    return np.array(colour.split(), float)


def contrast(one: np.ndarray, two: np.ndarray) -> float:
    """WCAG 2.2, contrast ratio."""
    linear = [np.where(c / 255 <= 0.04045, c / 255 / 12.92, ((c / 255 + 0.055) / 1.055) ** 2.4) for c in (one, two)]
    dark, light = sorted(float(c @ [0.2126, 0.7152, 0.0722]) for c in linear)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_the_contrast_of_wcag_aa(scheme: str) -> None:
    c = {name: rgb(value) for name, value in colours(scheme).items()}
    for ink in ("ink", "soft", "link"):
        for paper in ("paper", "panel"):
            assert contrast(c[ink], c[paper]) >= 4.5, (ink, paper)
    assert contrast(c["warn-ink"], c["warn-paper"]) >= 4.5
    assert contrast(c["deep"], c["heat"]) >= 4.5
    strongest = 0.42 * c["heat"] + 0.58 * c["paper"]
    assert contrast(c["ink"], strongest) >= 4.5
    for drawn in ("accent", "gain", "loss", "mark"):
        assert contrast(c[drawn], c["paper"]) >= 3, drawn
