"""What a report says of an arm: the mean as it is, what it refused, and why it knows nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mlops.journal.records import Decision, NewOutcome, RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.monitoring.evidence import Truth
from mlops.monitoring.quality import measure
from mlops.monitoring.report import make_report
from mlops.monitoring.verdict_text import in_words
from mlops.rewards import Terms
from mlops.rewards.log_loss import LOG_LOSS
from mlops.spec.deployment import to_dict
from tests.monitoring.journals import START_MS, spec_of


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqlJournal]:
    opened = SqlJournal(f"sqlite:///{tmp_path / 'journal.db'}")
    yield opened
    opened.close()


def write(
    journal: SqlJournal,
    rows: Sequence[tuple[int, int, Any, Any, float | None]],
    reward: str = "exact",
    *,
    weights: tuple[float, ...] = (0.5, 0.5),
    sticky: list[bytes] | None = None,
    classes: dict[str, list[Any]] | None = None,
) -> None:
    """Write requests as (arm, status, prediction, truth, reward); None for no feedback."""
    names = [f"arm{index}" for index in range(len(weights))]
    spec = spec_of(names, weights, reward, "header:x-user" if sticky else "")
    document = {**to_dict(spec), "classes": classes or {}}
    journal.record([RevisionEvent(1, START_MS, "started", document)])
    rng = np.random.default_rng(3)
    decisions, outcomes = [], []
    for index, (arm, status, prediction, truth, sent) in enumerate(rows):
        nonce, at = rng.bytes(12), START_MS + index
        unit = sticky[index] if sticky else None
        answer = None if prediction is None else [prediction]
        decisions.append(
            Decision(nonce, at, 1, arm, weights[arm], 1, 500, status, "mlflow", None, unit,
                     predictions=answer)
        )  # fmt: skip
        if truth is not None or sent is not None:
            outcomes.append(NewOutcome(nonce, None, 0, at, 1, arm, weights[arm], sent, truth))
    journal.append(decisions, outcomes)


def test_the_mean_is_the_mean_and_the_estimate_has_its_own_name(journal: SqlJournal) -> None:
    right = np.random.default_rng(1).random(500) < 0.93
    write(
        journal,
        [(0, 200, "spam" if one else "ham", "spam", None) for one in right],
        weights=(1.0,),
    )
    (arm,) = make_report(journal).arms
    assert arm.mean == right.mean() == arm.quality.accuracy
    assert arm.lower < arm.estimate < arm.upper
    assert arm.outcomes == arm.n == 500


def test_what_an_interval_waits_for(journal: SqlJournal) -> None:
    write(journal, [(index % 2, 200, "spam", "spam", None) for index in range(60)])
    report = make_report(journal)
    assert [arm.needs for arm in report.arms] == ["needs 20 more outcomes"] * 2


def test_units_are_not_outcomes(journal: SqlJournal) -> None:
    rows = [(user % 2, 200, "spam", "spam", None) for user in range(20) for _ in range(3)]
    write(journal, rows, sticky=[b"user%04d" % user for user in range(20) for _ in range(3)])
    report = make_report(journal)
    assert report.sticky_by == "header:x-user"
    assert [(arm.n, arm.outcomes) for arm in report.arms] == [(10, 30), (10, 30)]


def test_a_perfect_arm_names_the_cure(journal: SqlJournal) -> None:
    rng = np.random.default_rng(5)
    rows = [(0, 200, 1.0, None, 1.0) for _ in range(200)]
    rows += [(1, 200, 1.0, None, 1.0) for _ in range(200)]
    write(journal, [rows[i] for i in rng.permutation(400)], "shop:hit")
    report = make_report(journal)
    assert "`mlops deploy … --reward-range 0..1`" in report.verdict.reason
    assert [arm.needs for arm in report.arms] == ["needs outcomes that differ"] * 2


def test_refusals_that_differ_are_said(journal: SqlJournal) -> None:
    rng = np.random.default_rng(2)
    rows: list[tuple[int, int, Any, Any, float | None]] = []
    for _ in range(300):
        arm, hard = int(rng.integers(2)), rng.random() < 0.3
        rows.append((arm, 400, None, None, None) if arm and hard else (arm, 200, "a", "a", None))
    write(journal, rows)
    report = make_report(journal)
    refused = sum(status == 400 for _, status, *_ in rows)
    assert [arm.refused for arm in report.arms] == [0, refused]
    assert [arm.errors for arm in report.arms] == [0, 0]
    gate = next(gate for gate in report.gates if gate.name == "failures")
    assert not gate.passed
    share = refused / report.arms[1].requests
    assert f"`arm0` 0.0 %, `arm1` {100 * share:.1f} %" in gate.text


def test_refusals_that_both_arms_have_are_no_news(journal: SqlJournal) -> None:
    """Over 40 journals at most one false note; the test promises 1 % for ever."""
    rng = np.random.default_rng(4)
    write(
        journal,
        [(int(rng.integers(2)), 400 if rng.random() < 0.3 else 200, None, None, None)
         for _ in range(2_000)],
    )  # fmt: skip
    report = make_report(journal)
    assert all(arm.refused > 200 for arm in report.arms)
    assert all(gate.passed for gate in report.gates)


def test_a_reward_that_cannot_be_derived_is_the_verdict(journal: SqlJournal) -> None:
    probabilities = [0.2, 0.3, 0.5]
    write(
        journal,
        [(index % 2, 200, probabilities, 1, None) for index in range(60)],
        "squared-error",
    )
    report = make_report(journal)
    reason = (
        "o reward can be derived: prediction is a list of 3, truth is a number; use --reward "
        "log-loss"
    )
    assert report.verdict.reason == f"N{reason}."
    assert f"60 outcomes: n{reason}." in report.notes
    assert in_words(report).headline == "No reward can be derived"
    # What can be compared is still shown.
    assert report.arms[0].quality.rmse is None
    assert report.arms[0].quality.log_loss == pytest.approx(-np.log(0.3))


@pytest.mark.parametrize("prediction", [[1.4, 0.2], {"score": 1.0, "more": 3.0}])
def test_what_cannot_be_compared_has_no_accuracy(journal: SqlJournal, prediction: Any) -> None:
    write(journal, [(index % 2, 200, prediction, 1, 0.5) for index in range(8)], "shop:hit")
    quality = make_report(journal).arms[0].quality
    assert (quality.accuracy, quality.rmse, quality.brier, quality.n) == (None, None, None, 4)


def test_classes_that_the_server_has_found_count(journal: SqlJournal) -> None:
    rng = np.random.default_rng(6)
    scores = rng.random(200)
    truth = np.where(rng.random(200) < scores, "spam", "ham")
    write(
        journal,
        [(i % 2, 200, [1 - float(p), float(p)], str(t), None)
         for i, (p, t) in enumerate(zip(scores, truth, strict=True))],
        "log-loss",
        classes={"arm0": ["ham", "spam"], "arm1": ["ham", "spam"]},
    )  # fmt: skip
    report = make_report(journal)
    terms = Terms(("ham", "spam"))
    for index, arm in enumerate(report.arms):
        own = [(float(p), str(t)) for p, t in zip(scores[index::2], truth[index::2], strict=True)]
        assert arm.mean == pytest.approx(np.mean([LOG_LOSS([1 - p, p], t, terms) for p, t in own]))
        assert arm.quality.log_loss == pytest.approx(-arm.mean)
        assert arm.quality.auc == pytest.approx(
            roc_auc_score([t == "spam" for _, t in own], [p for p, _ in own])
        )
        assert arm.quality.accuracy == np.mean([(p > 0.5) == (t == "spam") for p, t in own])
    assert report.reward_range == pytest.approx((np.log(1e-4), 0))


def test_whole_classes_have_an_accuracy() -> None:
    """0 and 1 are numbers too, but their RMSE says nothing under the reward `exact`."""
    truths = [Truth(0, 0, 1.0, 1.0), Truth(1, 0, 0.0, 1.0)]
    found = measure(truths, 0, ("accuracy",))
    assert (found.accuracy, found.rmse) == (0.5, None)
    assert measure([replace(each, prediction="x") for each in truths], 0, ("rmse",)).accuracy == 0
