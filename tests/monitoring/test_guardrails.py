"""Metrics that must not get worse, from the journal to the verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlops.errors import InvalidInputError
from mlops.journal.records import Decision, NewOutcome, RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.monitoring.page import read_page, render_page
from mlops.monitoring.paired import PairedReport
from mlops.monitoring.report import Report, ReportOptions, make_report, with_paired
from mlops.monitoring.report_json import read_report, report_document
from mlops.monitoring.verdict import Verdict
from mlops.monitoring.verdict_text import in_words
from mlops.rewards.guardrails import check_guardrails
from mlops.spec.deployment import to_dict
from tests.monitoring.journals import START_MS, spec_of

_MS = 1_000


def write(
    journal: SqlJournal,
    *,
    slower_ms: float = 0.0,
    errors: float = 0.0,
    lift: float = 0.1,
    n: int = 6_000,
    reward: str = "given",
    sticky: int = 0,
    seed: int = 3,
) -> None:
    """`b` earns more, and is slower or fails more often."""
    rng = np.random.default_rng(seed)
    spec = spec_of(["a", "b"], [0.5, 0.5], reward, "header:x-user" if sticky else "")
    # What a failure is worth is said, so that only the guardrail speaks of it.
    spec = replace(spec, attribution=replace(spec.attribution, failed=0.0))
    journal.record([RevisionEvent(1, START_MS, "live", to_dict(spec))])
    arm_of = rng.integers(0, 2, n)
    decisions, outcomes = [], []
    for i in range(n):
        unit = i % (n // sticky) if sticky else i
        arm = int(arm_of[unit])
        failed = bool(rng.random() < (errors if arm == 1 else 0.0))
        latency_us = int(_MS * (rng.gamma(4, 10) + slower_ms * arm))
        nonce = rng.bytes(12)
        right = rng.random() < 0.5 + lift * arm
        decisions.append(
            Decision(
                nonce, START_MS + i, 1, arm, 0.5, 1, latency_us, 500 if failed else 200, "mlflow",
                unit=unit.to_bytes(8, "big") if sticky else None,
                predictions=None if failed else ["red" if right else "white"],
            )
        )  # fmt: skip
        if not failed:
            told = None if reward != "given" else float(right)
            truth = "red" if reward != "given" else None
            outcomes.append(NewOutcome(nonce, None, 0, START_MS + i, 1, arm, 0.5, told, truth))
    journal.append(decisions, outcomes)


@pytest.fixture
def journal(tmp_path: Path) -> SqlJournal:
    return SqlJournal(f"sqlite:///{tmp_path}/wine.db")


def report(journal: SqlJournal, **margins: float) -> Report:
    """Deploy once more with guardrails, at the time of the first revision, and report."""
    event = journal.revision_events()[0]
    assert event.spec is not None
    spec = {**event.spec, "analysis": {"guardrails": tuple(margins.items())}}
    journal.record([RevisionEvent(1, START_MS, "live", spec)])
    return make_report(journal)


@pytest.mark.parametrize("sticky", [0, 4])
def test_what_is_no_worse_is_promoted(journal: SqlJournal, sticky: int) -> None:
    write(journal, slower_ms=1.0, sticky=sticky, lift=0.15)
    found = report(journal, latency_ms=10, errors=0.05)
    latency, errors = found.guardrails
    assert (found.verdict.decision, latency.state, errors.state) == ("promote", "passes", "passes")
    assert latency.lower < 1.0 < latency.upper < 10
    assert latency.n == 6_000 // max(sticky, 1)
    # No request failed at all, and still it is known only so well.
    assert errors.estimate == 0
    assert 0 < errors.upper < 0.05


@pytest.mark.parametrize(
    ("trouble", "margins", "metric", "measured"),
    [
        ({"slower_ms": 30.0}, {"latency_ms": 10, "errors": 0.05}, "latency_ms", 30.0),
        ({"errors": 0.06}, {"latency_ms": 10, "errors": 0.01}, "errors", 0.06),
    ],
)
def test_a_better_reward_is_not_promoted_at_that_price(
    journal: SqlJournal,
    trouble: dict[str, float],
    margins: dict[str, float],
    metric: str,
    measured: float,
) -> None:
    write(journal, **trouble)  # type: ignore[arg-type]
    assert report(journal).verdict.decision == "promote"
    found = report(journal, **margins)
    assert (found.verdict.decision, found.verdict.withheld) == ("withheld", "promote")
    assert found.verdict.winner is None
    states = {each.name: each.state for each in found.guardrails}
    assert states[metric] == "fails"
    assert set(states.values()) == {"passes", "fails"}
    (bad,) = (each for each in found.guardrails if each.state == "fails")
    assert bad.lower < measured < bad.upper
    assert bad.estimate == pytest.approx(measured, rel=0.2)
    for text in (found.verdict.reason, in_words(found).why):
        assert f"Guardrail `{metric}`: `b` - `a` = +" in text
        assert "and the margin of +1" in text
        assert "with feedback" not in in_words(found).why
    assert any("widen the margin" in hint for hint in found.verdict.hints)


def test_what_is_not_known_yet_is_waited_for(journal: SqlJournal) -> None:
    write(journal, lift=0.3, n=1_500)
    found = report(journal, latency_ms=0.5, refusals=0.001)
    assert [each.state for each in found.guardrails] == ["open", "open"]
    assert found.verdict.decision == "withheld"
    assert "not shown yet to keep the margin of +0.5 ms" in found.verdict.reason
    assert "margin of +0.1 points" in found.verdict.reason
    assert (
        found.verdict.hints
        == ("Let it run: the guardrail needs more requests than the reward.",) * 2
    )


def test_the_baseline_is_kept_without_guardrails(journal: SqlJournal) -> None:
    write(journal, lift=-0.1, slower_ms=30.0)
    found = report(journal, latency_ms=10)
    assert (found.verdict.decision, found.verdict.winner) == ("keep", "a")
    assert found.guardrails[0].state == "fails"


@pytest.mark.parametrize(("slower_ms", "decision"), [(0.0, "promote"), (30.0, "withheld")])
def test_what_wins_on_the_same_rows_keeps_them_too(
    journal: SqlJournal, slower_ms: float, decision: str
) -> None:
    write(journal, lift=0.0, slower_ms=slower_ms)
    live = report(journal, latency_ms=10)
    assert live.verdict.decision == "continue"
    found = Verdict("promote", "b", "b is better.", "paired", "", 0.05, 500)
    paired = PairedReport("wine", "exact", 500, ("a", "b"), (0.5, 0.7), (), found, ())
    both = with_paired(live, paired)
    assert both.verdict.decision == decision
    assert [gate.passed for gate in both.gates if gate.name == "guardrail"] == [slower_ms == 0]


@pytest.mark.parametrize("paired", [False, True])
def test_where_none_is_worse_every_arm_keeps_the_guardrails(
    journal: SqlJournal, paired: bool
) -> None:
    rng = np.random.default_rng(5)
    spec = spec_of(["a", "b", "c"], [0.4, 0.3, 0.3], "given", "")
    spec = replace(spec, analysis=replace(spec.analysis, guardrails=(("latency_ms", 10.0),)))
    journal.record([RevisionEvent(1, START_MS, "live", to_dict(spec))])
    decisions, outcomes = [], []
    for i, arm in enumerate(rng.choice(3, 6_000, p=[0.4, 0.3, 0.3]).tolist()):
        # `c` earns a little more; `b` as much as `a`, and is too slow.
        latency_us = int(_MS * (rng.gamma(4, 10) + 30 * (arm == 1)))
        share, nonce = spec.arms[arm].weight, rng.bytes(12)
        decisions.append(Decision(nonce, START_MS + i, 1, arm, share, 1, latency_us, 200, "mlflow"))
        earned = float(rng.normal(0.03 * (arm == 2), 1))
        outcomes.append(NewOutcome(nonce, None, 0, START_MS + i, 1, arm, share, earned, None))
    journal.append(decisions, outcomes)
    of_b, of_c = make_report(journal).comparisons
    worth = -1.05 * min(of_b.lower, of_c.lower)
    assert of_b.lower < of_c.lower < 0 < worth < of_c.upper

    found = make_report(journal, ReportOptions(worth=worth))
    if paired:
        said = replace(found.verdict, decision="not-worse", withheld=None, hints=())
        rows = PairedReport("wine", "given", 500, ("a", "b", "c"), (0.0, 0.0, 0.1), (), said, ())
        found = with_paired(replace(found, verdict=replace(said, decision="continue")), rows)
    assert (found.verdict.decision, found.verdict.withheld) == ("withheld", "not-worse")
    assert "Guardrail `latency_ms`: `b` - `a` = +" in found.verdict.reason
    rails = [gate for gate in found.gates if gate.name == "guardrail"]
    assert [gate.passed for gate in rails] == [False, True]


def test_a_second_reward_is_derived_from_the_same_truth(journal: SqlJournal) -> None:
    write(journal, reward="exact", lift=0.1)
    found = report(journal, exact=0.02)
    (same,) = found.guardrails
    assert same.state == "passes"
    assert same.estimate == pytest.approx(found.comparisons[0].estimate)
    assert (same.lower, same.upper) == (found.comparisons[0].lower, found.comparisons[0].upper)


def test_a_loss_as_large_as_the_margin_does_not_pass(tmp_path: Path) -> None:
    passed = 0
    for seed in range(10):
        journal = SqlJournal(f"sqlite:///{tmp_path}/{seed}.db")
        write(journal, n=800, seed=seed, slower_ms=10.0)
        passed += report(journal, latency_ms=10).guardrails[0].state == "passes"
        journal.close()
    assert passed <= 1


def test_page_and_json_show_guardrails(journal: SqlJournal) -> None:
    write(journal, slower_ms=30.0)
    report(journal, latency_ms=10.0)
    page = read_page(journal)
    html = render_page(page)
    assert "Guardrail" in html
    assert "the margin of +10 ms is not kept" in html
    document = json.loads(json.dumps(report_document(page.report)))
    assert document["guardrails"][0]["state"] == "fails"
    assert read_report(document).guardrails == page.report.guardrails


@pytest.mark.parametrize(
    ("name", "margin", "said"),
    [("latency", 1.0, "latency_ms"), ("errors", 0.0, "positive"), ("given", 1.0, "not a metric")],
)
def test_a_wrong_guardrail_is_said(name: str, margin: float, said: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_guardrails([(name, margin)])
    assert said in f"{caught.value.message} {caught.value.hint}"


def test_a_figure_of_ones_own_is_guarded_as_the_reward() -> None:
    with pytest.raises(InvalidInputError, match="`refund` is not a metric") as caught:
        check_guardrails([("refund", 1.0)])
    assert "--reward given --guardrail reward=MARGIN" in str(caught.value.hint)
