"""What a report says about itself: units, levels of intervals, and what comes next."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest

from mlops.commands import report_tables
from mlops.commands.report_view import render
from mlops.commands.terminal import SafeConsole
from mlops.journal.records import RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.live_page import templates as live_page
from mlops.monitoring.notebook import for_notebook
from mlops.monitoring.page import read_page, render_page
from mlops.monitoring.paired import PAIRED, PairedReport
from mlops.monitoring.report import Report, make_report, with_paired
from mlops.monitoring.verdict import Comparison, decide, forecast
from mlops.monitoring.verdict_text import in_words
from mlops.spec.attribution import Attribution, Repeated
from mlops.spec.deployment import DeploymentSpec, to_dict
from tests.monitoring.journals import (
    START_MS,
    Stage,
    ask_both,
    fill,
    numbers,
    paired_journal,
    spec_of,
)


def _paired(tmp_path: Path) -> Report:
    """Say what every arm answers about 400 rows, of which the arms earned too little to tell."""
    journal, _ = paired_journal(tmp_path)
    found = make_report(journal, ask=ask_both)
    journal.close()
    return found


def _text(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_a_notebook_shows_what_decided_and_the_command_that_follows(tmp_path: Path) -> None:
    found = _paired(tmp_path)
    assert found.paired is not None
    html = for_notebook(found)._repr_html_()
    said = _text(html)
    assert "Promote new . The" in said
    assert "<code>mlops promote wine</code>" in html
    assert "difference on the same 400 labelled rows" in said
    assert "difference, each arm on its own requests" in said
    estimate = f"{found.paired.comparisons[0].estimate:+.2f}"
    assert f"<td>{estimate}</td>" in html


def test_intervals_have_the_level_at_which_they_were_made(tmp_path: Path) -> None:
    """Half of alpha is of the same rows; the verdict as a whole has all of it."""
    found = _paired(tmp_path)
    assert found.verdict.alpha == pytest.approx(0.05)
    assert [arm.alpha for arm in found.arms] == [0.025, 0.025]
    html = for_notebook(found)._repr_html_()
    assert "97.5\N{NO-BREAK SPACE}% CI, anytime-valid" in html
    assert "95\N{NO-BREAK SPACE}%" not in html.partition("<table>")[2]
    assert report_tables.rewards(found).columns[-1].header == "97.5 % CI"


def test_alpha_is_whole_where_the_arms_could_not_be_asked(tmp_path: Path) -> None:
    journal = SqlJournal(f"sqlite:///{tmp_path}/wine.db")
    spec = replace(spec_of(("a", "b"), (0.5, 0.5), "squared-error", ""), paired=True)
    journal.record([RevisionEvent(1, 0, "live", to_dict(spec))])
    found = make_report(journal)
    journal.close()
    assert (found.paired, found.verdict.decision) == (None, "continue")
    assert (found.verdict.alpha, found.arms[0].alpha) == (0.05, 0.025)


@pytest.mark.parametrize(("repeated", "made"), [("sum", "sum"), ("last", "mean")])
def test_a_units_reward_is_called_what_it_is(tmp_path: Path, repeated: Repeated, made: str) -> None:
    journal = SqlJournal(f"sqlite:///{tmp_path}/wine.db")
    spec: DeploymentSpec = replace(
        spec_of(("a", "b"), (0.5, 0.5), "given", "header:x-user"),
        attribution=Attribution(repeated=repeated),
    )
    journal.record([RevisionEvent(1, 0, "live", to_dict(spec))])
    page = read_page(journal)
    journal.close()
    caption = str(report_tables.rewards(page.report).caption)
    assert caption.endswith(f"its reward is the {made} of its outcomes")
    assert f"its reward is the {made} of its outcomes" in _text(render_page(page))


def test_requests_without_their_unit_are_counted(tmp_path: Path) -> None:
    journal = SqlJournal(f"sqlite:///{tmp_path}/wine.db")
    # By a header that no request has; before that arms were drawn by the request.
    fill(journal, ["a", "b"], [Stage((0.5, 0.5), 7), Stage((0.5, 0.5), 3)], numbers([0.0, 0.0]))
    spec = spec_of(("a", "b"), (0.5, 0.5), "squared-error", "header:x-user")
    journal.record([RevisionEvent(2, START_MS, "live", to_dict(spec))])
    told = [note for note in make_report(journal).notes if "unit" in note]
    journal.close()
    text = "3 of 3 requests came without the header `x-user`, by which units keep their arm: each "
    assert told == [f"{text}of them counts as a unit of its own."]


@pytest.mark.parametrize(("reward", "is_shown"), [("given", False), ("squared-error", True)])
def test_labels_are_counted_where_some_may_come(
    tmp_path: Path, reward: str, is_shown: bool
) -> None:
    journal = SqlJournal(f"sqlite:///{tmp_path}/wine.db")
    spec = spec_of(("a", "b"), (0.5, 0.5), reward, "")
    journal.record([RevisionEvent(1, 0, "live", to_dict(spec))])
    found = make_report(journal)
    journal.close()
    assert (report_tables.quality(found) is not None) is is_shown


def test_labels_beside_given_rewards_are_shown(tmp_path: Path) -> None:
    journal = SqlJournal(f"sqlite:///{tmp_path}/wine.db")
    fill(journal, ["a", "b"], [Stage((0.5, 0.5), 20)], numbers([0.0, 1.0]), reward="given")
    assert report_tables.quality(make_report(journal)) is not None
    journal.close()


@pytest.mark.parametrize(
    ("span", "says"),
    [
        ((10, 6_948), "; between 10 and 6,948 are likely"),
        ((0, 6_948), "; up to 6,948 are likely"),
        ((10, None), "; it takes at least 10, possibly far more"),
        ((0, None), "; it may take far fewer, possibly far more"),
        (None, ""),
    ],
)
def test_a_forecast_has_a_number_to_plan_with_and_its_range(
    span: tuple[int, int | None] | None, says: str
) -> None:
    compared = Comparison("b", "a", 500, 0.1, -0.1, 0.3, 0.5, 0.05, None, 904, remaining_range=span)
    about = "If the estimate is right, about 900 more requests will decide"
    assert forecast(compared, "requests") == f"{about}{says}."


@pytest.mark.parametrize(
    ("span", "says"),
    [
        ((10, None), "It takes at least 10 more requests, possibly far more."),
        ((0, None), "How many more requests it takes cannot be said yet."),
    ],
)
def test_without_an_estimate_a_forecast_says_only_what_is_known(
    span: tuple[int, int | None], says: str
) -> None:
    compared = Comparison("b", "a", 9, 0.0, -0.1, 0.3, 0.5, 0.05, None, None, remaining_range=span)
    assert forecast(compared, "requests") == says


def test_where_the_same_rows_decide_their_units_are_counted(tmp_path: Path) -> None:
    """On the terminal and on both pages, with as many of them as there are."""
    journal = SqlJournal(f"sqlite:///{tmp_path}/wine.db")
    fill(journal, "abc", [Stage([1 / 3] * 3, 60)], numbers([0.0, 0.0, 0.0]))
    page = read_page(journal)
    journal.close()
    compared = (
        Comparison("b", "a", 207, 0.1, 0.02, 0.2, 0.001, 0.0125, None, None),
        Comparison("c", "a", 207, 0.01, -0.05, 0.2, 0.5, 0.0125, None, 300),
    )
    verdict = decide(
        compared, method=PAIRED, mismatch=False, mismatch_p=1.0, alpha=0.025, n=207
    )  # fmt: skip
    paired = PairedReport("wine", "", 230, ("a", "b", "c"), (0.6, 0.7, 0.6), compared, verdict, ())
    live = replace(page.report, gates=(), guardrails=())
    assert in_words(live).counted == "requests with a reward"
    found = with_paired(live, paired)
    assert (found.verdict.decision, found.verdict.n) == ("promote", 207)
    out = io.StringIO()
    render(SafeConsole(file=out, width=200), found, "", "", has_data=False)
    assert "n = 207 labelled units. " in out.getvalue()
    heading = "how many more labelled units would decide it:"
    assert heading in out.getvalue()
    html = _text(render_page(replace(page, report=found)))
    assert heading in html
    assert "207 labelled units, of 60 requests" in html
    words = in_words(found)
    part = live_page.render(
        "verdict", report=found, words=words, unit="request", baseline="a", reward="", courses=[],
        colors={"a": 0, "b": 1, "c": 2},
    )  # fmt: skip
    assert heading in _text(part)
    assert ", the smallest so far)" in _text(part)


def test_an_arm_shown_worse_beside_one_in_its_burn_in_is_not_contradicted(tmp_path: Path) -> None:
    journal = SqlJournal(f"sqlite:///{tmp_path}/wine.db")
    fill(journal, "abc", [Stage([1 / 3] * 3, 60)], numbers([0.0, 0.0, 0.0]))
    found = make_report(journal)
    journal.close()
    inf = float("inf")
    needs = "needs 50 outcomes per arm, `c` has 3"
    compared = (
        Comparison("b", "a", 500, -0.1, -0.2, -0.02, 0.001, 0.025, None, None, worse=True),
        Comparison("c", "a", 500, float("nan"), -inf, inf, 1.0, 0.025, needs, None),
    )
    verdict = decide(
        compared, method=PAIRED, mismatch=False, mismatch_p=1.0, alpha=0.05, n=500
    )  # fmt: skip
    words = in_words(replace(found, comparisons=compared, verdict=verdict))
    assert words.headline == "Too early to tell for `c`"
    assert words.why.startswith(f"Before anything may be said about `c`, the test {needs}. ")
    assert words.arms.lines[0].endswith(" worse")


def test_of_several_arms_that_are_not_worse_the_best_is_proposed(tmp_path: Path) -> None:
    journal = SqlJournal(f"sqlite:///{tmp_path / 'journal.db'}")
    fill(journal, ["a", "b"], [Stage((0.5, 0.5), 60)], numbers([0.0, 0.0]), reward="given")
    found = make_report(journal)
    journal.close()
    one = replace(
        found.comparisons[0], upper=0.5, conclusion="not worse", waiting_for=None, worse=False
    )
    of_b = replace(one, arm="b", estimate=0.1, lower=-0.09)
    of_c = replace(one, arm="c", estimate=0.2, lower=-0.02)
    verdict = replace(found.verdict, decision="not-worse", arm="b")
    words = in_words(replace(found, verdict=verdict, comparisons=(of_b, of_c)))
    assert words.headline == "No arm is worse"
    assert "Whatever `b`, the nearest to it, loses against `a`" in words.why
    assert words.command == 'mlops promote wine --arm c --force "not worse"'
    alone = in_words(replace(found, verdict=verdict, comparisons=(of_b,)))
    assert (alone.headline, "Whatever it loses" in alone.why) == ("`b` is not worse", True)
    assert alone.command == 'mlops promote wine --arm b --force "not worse"'
