"""Sums of rewards per outcome or per request, from the journal to the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlops.journal.records import Decision, NewOutcome, RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.monitoring.report import make_report
from mlops.monitoring.verdict_text import in_words
from mlops.spec.analysis import Analysis, Per
from mlops.spec.attribution import Attribution
from mlops.spec.deployment import check, from_dict, to_dict
from tests.monitoring.journals import START_MS, spec_of

USERS = 1_000
Sums = dict[int, tuple[float, int, int]]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqlJournal]:
    journal = SqlJournal(f"sqlite:///{tmp_path}/wine.db")
    yield journal
    journal.close()


def write(journal: SqlJournal, per: Per, *, price: float = 5.0) -> Sums:
    """Users of `b` come and order half as often again; each order is worth `price` there.

    Returns:
        Revenue, orders and requests of each arm.
    """
    rng = np.random.default_rng(4)
    spec = spec_of(["a", "b"], [0.5, 0.5], "given", "header:x-user")
    rules = Attribution(repeated="sum")
    spec = replace(spec, attribution=rules, analysis=Analysis(per=per))
    journal.record([RevisionEvent(1, START_MS, "live", to_dict(spec))])
    decisions, outcomes, sums = [], [], {0: (0.0, 0, 0), 1: (0.0, 0, 0)}
    for user in range(USERS):
        arm, buys = int(rng.integers(0, 2)), rng.random() < 0.8
        for visit in range(1 + int(rng.poisson(1 + arm))):
            nonce, time_ms = rng.bytes(12), START_MS + 100 * user + visit
            decisions.append(
                Decision(
                    nonce, time_ms, 1, arm, 0.5, 1, 900, 200, "mlflow",
                    unit=user.to_bytes(8, "big"), predictions=[1.0],
                )
            )  # fmt: skip
            revenue, orders, requests = sums[arm]
            spent = rng.normal(price if arm else 5.0, 1.0, buys * (1 + int(rng.poisson(0.5))))
            sums[arm] = revenue + float(spent.sum()), orders + spent.size, requests + 1
            for number, each in enumerate(spent.tolist()):
                outcomes.append(
                    NewOutcome(
                        nonce, None, 0, time_ms, 1, arm, 0.5, each, None,
                        outcome_id=str(number), repeatable=True,
                    )
                )  # fmt: skip
    journal.append(decisions, outcomes)
    return sums


def test_revenue_per_user_and_per_order_are_two_questions(
    journal: SqlJournal, tmp_path: Path
) -> None:
    write(journal, "")
    per_user = make_report(journal)
    other = SqlJournal(f"sqlite:///{tmp_path}/per_order.db")
    sums = write(other, "outcomes")
    per_order = make_report(other)
    other.close()

    assert (per_user.verdict.decision, per_user.verdict.winner) == ("promote", "b")
    assert per_order.verdict.decision == "continue"
    for index, arm in enumerate(per_order.arms):
        revenue, orders, _ = sums[index]
        assert arm.mean == pytest.approx(revenue / orders)
        assert arm.estimate == pytest.approx(revenue / orders, abs=0.05)
        assert arm.outcomes == orders
    assert per_order.experiment != per_user.experiment
    assert "per outcomes" in per_order.verdict.because


def test_a_better_ratio_is_promoted_and_said_with_its_denominator(journal: SqlJournal) -> None:
    sums = write(journal, "outcomes", price=5.5)
    report = make_report(journal)
    assert (report.verdict.decision, report.verdict.winner) == ("promote", "b")
    (found,) = report.comparisons
    ratios = [sums[arm][0] / sums[arm][1] for arm in (0, 1)]
    assert found.estimate == pytest.approx(ratios[1] - ratios[0], abs=0.05)
    assert found.lower < 0.5 < found.upper
    assert "per outcome" in in_words(report, "sticky unit").why


def test_requests_may_be_what_is_divided_by(journal: SqlJournal) -> None:
    sums = write(journal, "requests")
    known = {o.unit for o in journal.observations([1])}
    asked = [0, 0]
    for request in journal.drawn_requests([1]):
        asked[request.arm] += request.unit in known
    for index, arm in enumerate(make_report(journal).arms):
        # Users without any order have no reward, and no part in it.
        assert asked[index] < sums[index][2]
        assert arm.mean == pytest.approx(sums[index][0] / asked[index])


def test_a_ratio_is_frozen_and_another_one_another_experiment() -> None:
    spec = spec_of(["a", "b"], [0.5, 0.5], "given", "header:x-user")
    told = Analysis(0.1, (("errors", 0.01),), 14.0, "history", "outcomes")
    frozen = replace(spec, analysis=told, horizon_days=14.0)
    assert from_dict(to_dict(check(frozen))) == frozen
    assert from_dict({k: v for k, v in to_dict(spec).items() if k != "analysis"}) == spec
    plain = spec.experiment
    same = replace(spec, analysis=Analysis(0.1, (("errors", 0.01),), 14.0))
    assert same.experiment == plain
    for change in (Analysis(adjust="age"), Analysis(per="outcomes"), Analysis(per="requests")):
        assert replace(spec, analysis=change).experiment != plain
    assert frozen.experiment != replace(frozen, horizon_days=15.0).experiment
