from __future__ import annotations

import datetime as dt
import html
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from mlops.training.search_space import Axis
from mlops.training.sweep import plots
from mlops.training.sweep.page import render_page
from mlops.training.sweep.records import (
    SweepResult,
    SweepSpec,
    TrialRecord,
    best_of,
    name_of,
)

HOSTILE = "<script>alert('x')</script>\"&'"


def _sweep(**axes: Axis) -> tuple[SweepResult, SweepSpec]:
    spec = SweepSpec("main", {"word": HOSTILE}, axes, "random", 12, 7, "rmse", "minimize", True, "")
    trials = []
    for number in range(1, 13):
        point = {
            name: axis.values[number % len(axis.values)] if axis.values else str(number / 10)
            for name, axis in axes.items()
        }
        state = "failed" if number == 3 else "pruned" if number == 4 else "complete"
        metrics = {} if number == 3 else {"rmse": abs(number - 7) + 0.5, "r2": -number}
        trials.append(
            TrialRecord(
                number,
                name_of(point),
                point,
                f"run{number}",
                state,  # type: ignore[arg-type]
                metrics.get("rmse"),
                metrics,
                1.5,
                HOSTILE if number == 3 else "",
            )
        )
    shown = tuple(trials)
    result = SweepResult(
        "abc", "wine", "FINISHED", "random", 7, "rmse", "minimize", spec.given,
        {name: str(axis) for name, axis in axes.items()}, shown, 0, best_of(spec, shown),
        None, "", 0, 1.0, None, (), ("mlops train --resume abc --best",),
    )  # fmt: skip
    return result, spec


TWO = {
    "alpha": Axis("alpha", (), 0.1, 1.2, log=True),
    "net": Axis("net", ("small", HOSTILE)),
}


class _Outline(HTMLParser):
    """Collects tags and what they refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "action", "data")]


def _outline(page: str) -> _Outline:
    outline = _Outline()
    outline.feed(page)
    return outline


def test_the_page_needs_nothing_and_runs_nothing() -> None:
    page = render_page(*_sweep(**TWO), now=dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC))
    outline = _outline(page)
    assert "script" not in outline.tags
    assert set(outline.links) == {"data:,", "#content"}
    assert "default-src 'none'" in html.unescape(page)
    assert "2 Jan 2026, 03:04 UTC" in page


def test_every_trial_and_the_best_are_there() -> None:
    result, spec = _sweep(**TWO)
    page = render_page(result, spec)
    assert result.best is not None
    assert result.best.number == 7
    assert "<h1>alpha 0.7, net " in page
    assert all(f"run{number}<" in page for number in range(1, 13))
    assert page.count('class="ring"') == 3  # two parameters, and the course
    assert "1 pruned" in page
    assert "1 failed" in page
    rows = re.findall(r'<tr[^>]*><th scope="row">(\d+)</th>', page)
    assert rows[0] == "7"
    assert sorted(rows[-2:]) == ["3", "4"]


def test_plots_place_what_they_know() -> None:
    result, spec = _sweep(**TWO)
    alpha, net = plots.scatters(spec, result.trials, "rmse", result.best)
    assert (alpha.log, len(alpha.dots)) == (True, 11)
    assert [dot.best for dot in alpha.dots] == [False] * 10 + [True]
    assert sum(dot.pruned for dot in alpha.dots) == 1
    # The best has the least metric, so it is the lowest dot.
    assert alpha.dots[-1].y == max(dot.y for dot in alpha.dots)
    assert len({dot.x for dot in net.dots}) == 2
    assert {tick.label for tick in net.x} == {"small", HOSTILE}
    threads = plots.parallel(spec, result.trials, "rmse", result.best)
    assert threads is not None
    assert [axis.at for axis in threads.axes] == [0.0, 50.0, 100.0]
    assert threads.threads[-1].best
    assert threads.threads[-1].rank == 0
    assert all(thread.path.count("L") == 2 for thread in threads.threads)


@pytest.mark.parametrize(
    ("values", "log", "labels"),
    [
        (("0.001", "0.1", "10"), True, {"0.001", "0.01", "0.1", "1", "10"}),
        (("1", "2", "3"), False, {"1", "2", "3"}),
        (("a", "b"), False, {"a", "b"}),
        (("5",), False, {"5"}),
    ],
)
def test_an_axis_suits_its_values(values: tuple[str, ...], log: bool, labels: set[str]) -> None:
    result, spec = _sweep(x=Axis("x", values))
    (plot,) = plots.scatters(spec, result.trials, "rmse", result.best)
    assert plot.log is log
    assert labels <= {tick.label.rstrip("0").rstrip(".") for tick in plot.x} | {
        tick.label for tick in plot.x
    }
    assert all(0 <= dot.x <= 100 and 0 <= dot.y <= 100 for dot in plot.dots)


def test_a_sweep_without_a_metric_or_a_result_is_a_page_too() -> None:
    result, spec = _sweep(**TWO)
    page = render_page(replace(result, metric="", best=None), replace(spec, metric=""))
    assert "No metric was named as the best" in page
    assert 'class="ring"' not in page
    nothing = tuple(
        replace(t, state="failed", metrics={"rmse": math.nan}, value=None) for t in result.trials
    )
    page = render_page(replace(result, trials=nothing, best=None), spec)
    assert "No trial completed with" in page
    assert "<figure" not in page
