"""Every arm on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlops.journal.features import features_of
from mlops.journal.records import Decision, LabelledRow, NewOutcome, RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.monitoring.kept_pairs import keep_pairs
from mlops.monitoring.paired import compare_paired
from mlops.monitoring.report import ReportOptions, make_report
from mlops.monitoring.verdict_text import in_words
from mlops.protocols.base import Rows
from mlops.spec.deployment import Arm, DeploymentSpec, to_dict
from mlops.spec.model import ModelVersion
from tests.monitoring.journals import ask_both, paired_journal


def _spec(*names: str) -> DeploymentSpec:
    model = ModelVersion("wine", "wine/1", "./model")
    return DeploymentSpec("wine", tuple(Arm(name, model, 1 / len(names)) for name in names))


_SPEC = _spec("old", "new", "same")


def _rows(truths: list[float], units: list[bytes] | None = None) -> list[LabelledRow]:
    return [
        LabelledRow(index.to_bytes(12, "big"), units[index] if units else None, [0.0], truth)
        for index, truth in enumerate(truths)
    ]


def test_the_better_model_is_found_with_rows_that_would_not_decide_unpaired() -> None:
    rng = np.random.default_rng(5)
    truths = rng.normal(6, 3, 600)
    hard = rng.normal(0, 2, 600)  # what makes a row hard for every model
    old = truths + hard
    found = compare_paired(
        _SPEC,
        _rows(truths.tolist()),
        [old.tolist(), (truths + 0.9 * hard).tolist(), old.tolist()],
        alpha=0.05,
    )
    better, same = found.comparisons
    assert found.rows == 600
    assert found.means[0] == pytest.approx(-float((hard**2).mean()))
    assert (better.arm, better.baseline, better.n) == ("new", "old", 600)
    assert better.estimate == pytest.approx(0.19 * float((hard**2)[10:].mean()), rel=0.1)
    assert better.lower > 0
    assert better.alpha == 0.025
    assert same.estimate == 0
    assert same.waiting_for is not None


def test_rows_of_one_unit_count_once() -> None:
    units = [bytes([index // 5]) * 8 for index in range(500)]
    found = compare_paired(
        _spec("old", "new"),
        _rows([0.0] * 500, units),
        [[1.0] * 500, [float(index // 5 % 2) for index in range(500)]],
        alpha=0.05,
    )
    (only,) = found.comparisons
    assert only.n == 100
    assert only.estimate == pytest.approx(0.5, abs=0.06)


def test_the_baseline_may_be_another_arm() -> None:
    found = compare_paired(
        _SPEC, _rows([1.0, 2.0]), [[1.0, 2.0], [2.0, 3.0], [1.0, 2.0]], alpha=0.05, baseline=1
    )
    assert [(c.arm, c.baseline) for c in found.comparisons] == [("old", "new"), ("same", "new")]
    assert found.means == (0.0, -1.0, 0.0)


def test_a_truth_without_a_reward_is_left_out_and_said() -> None:
    found = compare_paired(
        _SPEC, _rows([1.0, 2.0]), [["red", 2.0], [1.0, 2.0], [1.0, 3.0]], alpha=0.05
    )
    assert found.rows == 1
    assert found.means == (0.0, 0.0, -1.0)
    assert found.notes == ("1 rows were left out: their truth has no squared-error.",)


@pytest.mark.parametrize(("selective", "sticky"), [(False, False), (False, True), (True, False)])
def test_the_label_test_counts_draws_and_not_their_rows(selective: bool, sticky: bool) -> None:
    rng = np.random.default_rng(1)
    rows, predictions = [], []
    for request, drawn in enumerate(rng.integers(2, size=300).tolist()):
        user = request % 100
        unit, arm = (user.to_bytes(8, "big"), int(user < 42)) if sticky else (None, drawn)
        for answers in rng.normal(size=(20, 2)).tolist():
            # A label comes where the answer that was served was acted on.
            if not selective or answers[arm] > 0:
                nonce = request.to_bytes(12, "big")
                rows.append(LabelledRow(nonce, unit, {}, answers[1], arm, 0.5, 1))
                predictions.append(answers)
    found = compare_paired(
        _spec("old", "new"), rows, list(zip(*predictions, strict=True)),
        weights={1: [0.5, 0.5]}, alpha=0.05,
    )  # fmt: skip
    assert found.verdict.decision == ("withheld" if selective else "promote")


def test_rows_from_before_a_long_gap_are_not_taken(tmp_path: Path) -> None:
    journal = SqlJournal(f"sqlite:///{tmp_path}/wine.db")
    spec = replace(_spec("old", "new"), paired=True)
    journal.record([RevisionEvent(1, 0, "live", to_dict(spec))])
    decisions, outcomes = [], []
    for index in range(40):
        nonce, at_ms = index.to_bytes(12, "big"), 1_000 * index + (index >= 30) * 40 * 86_400_000
        decisions.append(
            Decision(
                nonce, at_ms, 1, index % 2, 0.5, 1, 900, 200, "mlflow",
                features=features_of(Rows([[float(index)]], ("x",)), "all"), predictions=[1.0],
            )
        )  # fmt: skip
        outcomes.append(NewOutcome(nonce, None, 0, at_ms, 1, index % 2, 0.5, None, 1.0))
    journal.append(decisions, outcomes)
    asked: list[float] = []

    def ask(experiment: str, rows: Sequence[Any]) -> list[list[float]]:
        assert experiment == spec.experiment
        asked.extend(row["x"] for row in rows)
        return [[1.0] * len(rows), [2.0] * len(rows)]

    report = make_report(journal, ask=ask)
    whole = make_report(journal, ReportOptions(whole=True), ask=ask)
    journal.close()
    assert report.paired is not None
    assert whole.paired is not None
    assert (report.paired.rows, whole.paired.rows) == (10, 40)
    assert asked[:10] == [float(index) for index in range(30, 40)]


def test_labels_that_one_arm_gets_more_often_are_selective(tmp_path: Path) -> None:
    """In a sticky ramp: who returns kept an arm that today's weights did not draw."""
    rng = np.random.default_rng(2)
    journal = SqlJournal(f"sqlite:///{tmp_path}/wine.db")
    decisions, outcomes = [], []
    firsts: dict[int, int] = {}
    for number, weights in ((1, (0.9, 0.1)), (2, (0.5, 0.5))):
        base = replace(_spec("old", "new"), paired=True, sticky_by="header:x-user")
        arms = tuple(replace(arm, weight=w) for arm, w in zip(base.arms, weights, strict=True))
        journal.record(
            [RevisionEvent(number, number * 10**6, "live", to_dict(replace(base, arms=arms)))]
        )
        for user in range(2_000):
            arm = firsts.setdefault(user, int(rng.random() < 0.1))
            nonce, at_ms = rng.bytes(12), number * 10**6 + user
            decisions.append(
                Decision(
                    nonce, at_ms, number, arm, (0.9, 0.1)[arm], 1, 900, 200, "mlflow",
                    unit=user.to_bytes(8, "big"), predictions=[1.0],
                    features=features_of(Rows([[float(user)]], ("x",)), "all"),
                )
            )  # fmt: skip
            if rng.random() < (0.9, 0.99)[arm]:
                outcomes.append(
                    NewOutcome(nonce, None, 0, at_ms, number, arm, (0.9, 0.1)[arm], None, 1.0)
                )
    journal.append(decisions, outcomes)
    report = make_report(
        journal,
        # All answers compare alike, so that they tell nothing.
        ask=lambda _, rows: [[2.0] * len(rows), [1.0 + r["x"] / 1e5 for r in rows]],
    )
    journal.close()
    assert report.paired is not None
    assert (report.paired.verdict.decision, report.paired.verdict.withheld) == (
        "withheld",
        "promote",
    )
    assert "Labels depend on the answer" in report.paired.verdict.reason


def test_what_decided_is_kept_when_the_experiment_ends(tmp_path: Path) -> None:
    """The arms cannot be asked any more; the report still says what they answered."""
    journal, spec = paired_journal(tmp_path)
    before = make_report(journal, ask=ask_both)
    assert before.paired is not None
    assert (before.verdict.decision, before.verdict.winner) == ("promote", "new")
    alone = replace(spec, arms=(replace(spec.arms[1], weight=1.0),))
    journal.record([RevisionEvent(2, 1_000, "live", to_dict(alone))])
    lost = make_report(journal)
    assert (lost.verdict.decision, lost.paired) == ("continue", None)
    assert any("only `mlops promote` keeps" in note for note in lost.notes)
    keep_pairs(journal, 1, before.paired, now_ms=999)
    after = make_report(journal)
    other = make_report(journal, ReportOptions(baseline="new"))
    journal.close()
    assert after.finished is not None
    assert after.paired == before.paired
    assert after.verdict == before.verdict
    assert after.notes[-1].endswith("the same rows at 1970-01-01 00:00:00 UTC.")
    words = in_words(after)
    assert words.headline == "Finished: `new` is live"
    assert "No winner" not in words.why
    assert words.about == before.paired.comparisons[0]
    # It was made with another baseline.
    assert other.paired is None
