"""Shadows that answer probabilities, held against what was served."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mlops.commands import report_tables
from mlops.errors import InvalidInputError
from mlops.journal.records import NewOutcome, RevisionEvent, ShadowDecision
from mlops.journal.sql import SqlJournal
from mlops.monitoring.evidence import gather
from mlops.monitoring.report import make_report
from mlops.monitoring.same_rows import ask_all
from mlops.monitoring.shadows import ShadowReport, shadow_reports
from mlops.spec.deployment import Shadow, to_dict
from mlops.spec.model import ModelVersion
from tests.monitoring.drift_journal import decision
from tests.monitoring.journals import START_MS, spec_of

CREDIT = (("paid", "default", 200.0), ("default", "paid", 5000.0))
# What the arm served, what its shadow answered, and what was true.
ROWS: list[tuple[Any, Any, str]] = [
    ([0.9, 0.1], [0.99, 0.01], "paid"),
    ([0.8, 0.2], [0.9, 0.1], "default"),
    ([0.4, 0.6], [0.7, 0.3], "default"),
    ([0.99, 0.01], [0.9, 0.1], "paid"),
]


def tried(
    folder: Path,
    rows: Sequence[tuple[Any, Any, str]],
    classes: Sequence[Any] = ("paid", "default"),
    **other: Any,
) -> SqlJournal:
    """Return a journal of one arm, `a`, with a shadow."""
    shadow = Shadow("b", ModelVersion("wine/2", "wine/2", "/nowhere"))
    spec = replace(spec_of(["a"], (1.0,), "cost", ""), shadows=(shadow,), **other)
    document = {**to_dict(spec), "classes": {"a": list(classes)}}
    journal = SqlJournal(f"sqlite:///{folder / 'shadow.db'}")
    journal.record([RevisionEvent(1, START_MS, "started", document)])
    asked = [
        decision(i, [{"x": 1.0}], predictions=[served], propensity=1.0)
        for i, (served, _, _) in enumerate(rows)
    ]
    told = [
        NewOutcome(each.nonce, None, 0, START_MS + 9_000, 1, 0, 1.0, None, truth)
        for each, (_, _, truth) in zip(asked, rows, strict=True)
    ]
    journal.append(asked, told)
    journal.record(
        [
            ShadowDecision(each.nonce, 1, 0, START_MS + 9, 100, 200, [answer])
            for each, (_, answer, _) in zip(asked, rows, strict=True)
        ]
    )
    return journal


def look(folder: Path, rows: Sequence[tuple[Any, Any, str]] = ROWS, **other: Any) -> ShadowReport:
    journal = tried(folder, rows, **{"costs": CREDIT, **other})
    (found,) = shadow_reports(journal)
    journal.close()
    return found


def test_probabilities_are_compared_as_such_and_by_their_cost(tmp_path: Path) -> None:
    found = look(tmp_path)
    assert (found.rows, found.of_probabilities) == (4, True)
    # They disagree on the class of the third row, at 0.5.
    assert found.agreement == 0.75
    assert found.difference == pytest.approx((0.09 + 0.1 + 0.3 + 0.09) / 4)
    assert (found.rewarded, found.reward, found.served_reward) == (4, -2_500.0, -1_250.0)
    assert found.quality.brier is not None
    assert found.served_quality.auc == 1.0


def test_the_decision_rule_says_which_class_and_what_it_costs(tmp_path: Path) -> None:
    found = look(tmp_path, decision_rule="min-cost")
    # From 0.0385 on the answer is `default`.
    assert found.agreement == 0.5
    assert (found.reward, found.served_reward) == (-50.0, -50.0)


def test_one_probability_is_compared_by_its_class(tmp_path: Path) -> None:
    rows = [(served[1], answer[1], truth) for served, answer, truth in ROWS]
    found = look(tmp_path, [*rows, (1.0, [0.1, 0.9], "default")], decision_rule="min-cost")
    assert (found.rows, found.of_probabilities) == (5, True)
    assert found.agreement == 0.6
    assert found.difference == pytest.approx((0.09 + 0.1 + 0.3 + 0.09 + 0.1) / 5)
    assert (found.rewarded, found.reward, found.served_reward) == (5, -40.0, -40.0)


@pytest.mark.parametrize(
    ("served", "answer"),
    [({"0": 0.1, "1": 0.9}, [0.2, 0.8]), ({"1": 0.9, "0": 0.1}, [0.2, 0.8]), ([0.1, 0.9], 0.8)],
)
def test_a_class_is_one_as_a_number_and_as_a_name(tmp_path: Path, served: Any, answer: Any) -> None:
    costs = (("0", "1", 200.0), ("1", "0", 5000.0))
    for folder, other in (("cost", {"costs": costs}), ("exact", {"reward": "exact", "costs": ()})):
        (tmp_path / folder).mkdir()
        found = look(tmp_path / folder, [(served, answer, "1")], classes=[0, 1], **other)
        assert found.agreement == 1.0
        assert found.difference == pytest.approx(0.1)


def test_a_label_is_held_against_the_class_that_is_predicted(tmp_path: Path) -> None:
    rows = [("paid", [0.9, 0.1], "paid"), ("default", [0.9, 0.1], "paid"), ("paid", "paid", "paid")]
    found = look(tmp_path, rows, decision_rule="threshold=0.3")
    assert found.agreement == pytest.approx(2 / 3)


def test_names_of_classes_go_before_their_order(tmp_path: Path) -> None:
    found = look(
        tmp_path,
        [({"paid": 0.9, "default": 0.1}, {"default": 0.2, "paid": 0.8}, "paid")],
        reward="log-loss",
        costs=(),
    )
    assert found.agreement == 1.0
    assert found.difference == pytest.approx(0.1)
    assert found.reward == pytest.approx(-0.2231, abs=1e-4)


def test_the_report_shows_both_and_says_how_to_compare_them(tmp_path: Path) -> None:
    journal = tried(tmp_path, ROWS, costs=CREDIT)
    report = make_report(journal, now_ms=START_MS + 10_000)
    with pytest.raises(InvalidInputError, match="has one arm") as caught:
        ask_all(journal, gather(journal), lambda *_: (), alpha=0.05, worth=None)
    journal.close()
    assert "`mlops evaluate wine/2 --on wine`" in (caught.value.hint or "")
    out = io.StringIO()
    Console(file=out, width=160).print(report_tables.shadows(report))
    text = out.getvalue()
    assert "same class" in text
    assert "-2500" in text.replace(",", "")
    assert "-1250" in text.replace(",", "")
