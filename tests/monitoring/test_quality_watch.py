"""Quality as a fold of a real journal: which truth counts, against what, and when it alarms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlops.consumers.base import Context
from mlops.errors import RemoteError
from mlops.journal.records import Decision, NewOutcome, RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.monitoring.powered_quality import PoweredMeasure, powered_quality
from mlops.monitoring.quality_measures import validation_figures
from mlops.monitoring.quality_streams import FIRST, QualityStream
from mlops.monitoring.quality_watch import Figures, QualityFold, QualityReport, watch_quality
from mlops.monitoring.report import make_report
from mlops.spec.deployment import to_dict
from mlops.spec.model import ModelVersion
from mlops.workflows.quality_consumer import QualityConsumer, sentence
from mlops.workflows.validation import figures_by_command
from tests.monitoring.drift_journal import decision
from tests.monitoring.journals import START_MS, spec_of


def opened(path: Path, reward: str, classes: Sequence[Any] = ()) -> SqlJournal:
    journal = SqlJournal(f"sqlite:///{path / 'quality.db'}")
    document = to_dict(spec_of(["a", "b"], (0.5, 0.5), reward, ""))
    document["classes"] = {arm: list(classes) for arm in ("a", "b") if classes}
    journal.record([RevisionEvent(1, START_MS, "started", document)])
    return journal


@pytest.fixture
def numbers(tmp_path: Path) -> Iterator[SqlJournal]:
    journal = opened(tmp_path, "squared-error")
    yield journal
    journal.close()


def judge(
    journal: SqlJournal, pairs: Sequence[tuple[Any, Any]], first: int = 0, **other: Any
) -> None:
    """Store predictions of arm `a` with their truth."""
    asked = [
        decision(first + i, [{"x": 1.0}], predictions=[guess], **other)
        for i, (guess, _) in enumerate(pairs)
    ]
    told = [
        NewOutcome(each.nonce, None, 0, START_MS + 9_000, 1, 0, each.propensity, None, truth)
        for each, (_, truth) in zip(asked, pairs, strict=True)
    ]
    journal.append(asked, told)


def look(journal: SqlJournal, figures: Figures) -> QualityReport:
    found = watch_quality(journal, "wine", lambda _: figures, 0.01)
    assert found is not None
    return found


def measure(found: QualityReport, name: str) -> QualityStream:
    (one,) = (each for each in found.streams if (each.arm, each.measure) == ("a", name))
    return one


def guesses(rng: np.random.Generator, count: int, error: float) -> list[tuple[float, float]]:
    truth = rng.normal(6, 1, count)
    return [
        (float(t + e), float(t)) for t, e in zip(truth, rng.normal(0, error, count), strict=True)
    ]


def test_worse_than_in_validation_is_told(numbers: SqlJournal) -> None:
    rng = np.random.default_rng(1)
    figures: Figures = {"rmse": 0.6, "mae": 0.6 * 0.8}
    judge(numbers, guesses(rng, 1_500, 0.6))
    calm = look(numbers, figures)
    assert (calm.worse, calm.threshold) == ((), 400.0)
    # Arm b has two measures as well, though no truth yet.
    assert measure(calm, "rmse").value == pytest.approx(0.6, rel=0.05)
    assert measure(calm, "rmse").limit == pytest.approx(0.66)
    judge(numbers, guesses(rng, 500, 0.9), first=1_500)
    found = look(numbers, figures)
    assert {each.measure for each in found.worse} == {"rmse", "mae"}
    assert all((each.since_ms or 0) > START_MS for each in found.worse)
    (a, b) = found.judged
    assert (a.rows, a.answered, a.up_to_ms) == (2_000, 2_000, START_MS + 1_999)
    # No truth is no error.
    assert (b.rows, b.answered, b.up_to_ms) == (0, 0, None)


def test_without_a_figure_the_first_judged_are_the_reference(numbers: SqlJournal) -> None:
    rng = np.random.default_rng(2)
    judge(numbers, guesses(rng, 300, 0.6))
    early = measure(look(numbers, {}), "rmse")
    assert (early.rows, early.value, early.limit) == (0, None, None)
    assert early.why_not.endswith("of which 300 came")
    judge(numbers, guesses(rng, 1_700, 0.6), first=300)
    calm = measure(look(numbers, {}), "rmse")
    assert (calm.rows, calm.alarm, calm.against) == (2_000 - FIRST, False, "first judged")
    judge(numbers, guesses(rng, 600, 1.0), first=2_000)
    assert measure(look(numbers, {}), "rmse").alarm


def test_errors_of_several_outputs_are_pooled(tmp_path: Path) -> None:
    journal, rng = opened(tmp_path, "given"), np.random.default_rng(2)
    truths, errors = rng.normal(6, 1, (600, 2)), rng.normal(0, [0.5, 3], (600, 2))
    pairs = list(zip((truths + errors).tolist(), truths.tolist(), strict=True))
    # A truth that no answer can be compared with does not decide what is measured.
    judge(journal, [([1.0, 2.0], 1.0), *pairs])
    found = look(journal, {"rmse": 2.2, "mae": 2.0})
    assert {each.measure for each in found.streams} == {"rmse", "mae"}
    assert measure(found, "rmse").value == pytest.approx(np.sqrt((errors**2).mean()))
    assert measure(found, "mae").value == pytest.approx(np.abs(errors).mean())
    judged = found.judged[0]
    assert (judged.rows, judged.not_compared) == (600, 1)
    assert judged.why_not == "prediction is a list of 2, truth is a number"
    journal.close()


def test_probabilities_must_be_right_and_calibrated(tmp_path: Path) -> None:
    journal, rng = opened(tmp_path, "brier"), np.random.default_rng(5)
    chance = rng.uniform(0.1, 0.9, 3_000)
    happens = rng.random(3_000) < chance
    brier = float(np.mean((chance - happens) ** 2))
    error = float(np.mean((chance > 0.5) != happens))
    figures: Figures = {"brier": brier, "error_rate": error}
    judge(journal, [(float(p), int(y)) for p, y in zip(chance, happens, strict=True)])
    calm = look(journal, figures)
    assert [each.measure for each in calm.streams] == ["error_rate", "brier", "calibration"]
    assert calm.worse == ()
    # The same order of answers, and 0.2 too sure.
    sure = np.minimum(chance + 0.2, 1)
    more = rng.random(3_000) < chance
    judge(journal, [(float(p), int(y)) for p, y in zip(sure, more, strict=True)], first=3_000)
    found = look(journal, figures)
    assert "calibration" in {each.measure for each in found.worse}
    assert measure(found, "calibration").recent == pytest.approx(0.2, abs=0.06)
    journal.close()


def test_a_restart_changes_nothing_and_a_void_is_taken_out(
    numbers: SqlJournal, tmp_path: Path
) -> None:
    figures: Figures = {"rmse": 0.6}
    pairs = guesses(np.random.default_rng(6), 4 * 333, 0.6)
    for start in range(0, len(pairs), 333):
        judge(numbers, pairs[start : start + 333], first=start)
        fold = QualityFold(numbers, lambda _: figures)
        assert fold.follow()
        while fold.read(numbers.end().outcomes, 100):
            pass
        fold.save(0, {})
    (tmp_path / "other").mkdir()
    other = opened(tmp_path / "other", "squared-error")
    judge(other, pairs)
    one, whole = look(numbers, figures), look(other, figures)
    other.close()
    for name in ("rmse", "mae"):
        assert measure(one, name) == measure(whole, name)
    assert measure(one, "mae").rows == 4 * 333 - FIRST
    nonces = [decision(index, [{"x": 1.0}]).nonce for index in range(200)]
    numbers.void(nonces, time_ms=0, reason="wrong file", by="ann")
    assert measure(look(numbers, figures), "rmse").rows == 4 * 333 - 200


def test_what_a_tester_asked_and_corrections_do_not_count(numbers: SqlJournal) -> None:
    judge(numbers, [(1.0, 2.0)] * 3, propensity=0.0)
    judge(numbers, [(1.0, 2.0)] * 2, first=10)
    judge(numbers, [(1.0, "six")], first=20)
    found = look(numbers, {"rmse": 0.5})
    assert found.judged[0].rows == 2


def test_labels_that_no_model_can_answer_are_told(tmp_path: Path) -> None:
    journal = opened(tmp_path, "exact", ["default", "late", "paid"])
    judge(journal, [("paid", "paid")] * 600)
    assert look(journal, {}).judged[0].unknown == ""
    judge(journal, [("paid", "PAID ")] * 39 + [("late", "defualt")] * 9, first=600)
    told = (
        "48 labels are none of the classes `default`, `late`, `paid`: `PAID `, `defualt`. They "
        "count as wrong answers."
    )
    found = look(journal, {})
    assert (found.judged[0].unknown_labels, found.judged[0].unknown) == (48, told)
    assert (measure(found, "error_rate").alarm, found.judged[1].unknown) == (True, "")
    assert sentence("wine", found.worse[0], told).endswith(f"at first. {told}")
    # Whoever reads totals only, gets no labels of single requests.
    total = told.replace(": `PAID `, `defualt`", "")
    # The same from what was stored in between, and in the report.
    fold = QualityFold(journal, lambda _: {})
    assert fold.follow()
    fold.read(620, 620)
    fold.save(0, {})
    consumer = QualityConsumer(Context("wine", journal, {}))
    consumer._fold = fold
    shown = fold.report("wine", 0.01)
    assert shown.judged[0].unknown == total.replace("48", "20")
    fold.read(journal.end().outcomes, 700)
    alarming = fold.report("wine", 0.01)
    messages = [consumer._said(alarming), *(each.message for each in consumer._alarms(alarming))]
    assert len(messages) > 1
    assert all(total in each and "PAID" not in each for each in messages), messages
    assert look(journal, {}).judged[0].unknown == told
    notes = make_report(journal, now_ms=START_MS + 10_000).notes
    assert [note for note in notes if "none of the classes" in note] == [total]
    journal.close()


@pytest.mark.parametrize(
    ("classes", "prediction", "truth", "told"),
    [
        (["a", "b"], {"a": 0.3, "b": 0.7}, "B", "`a`, `b`: `B`. They do not count."),
        ([0, 1], 0.7, 2, "`0`, `1`: `2`. They count as wrong answers."),
        ([3, 4, 5], 4, 9, "`3`, `4`, `5`: `9`. They count as wrong answers."),
        ([3, 4, 5], 4, "5", ""),
        ([False, True], True, "true", ""),
        # What answered is no model of these.
        (["a", "b"], "c", "B", ""),
        ([], "a", "B", ""),
    ],
)
def test_which_labels_no_model_can_answer(
    tmp_path: Path, classes: Any, prediction: Any, truth: Any, told: str
) -> None:
    journal = opened(tmp_path, "exact", classes)
    judge(journal, [(prediction, truth)] * 2)
    (found, _) = look(journal, {}).judged
    journal.close()
    assert found.unknown.endswith(told)
    assert (found.unknown_labels, bool(found.unknown)) == (2 * bool(told), bool(told))


def test_an_accuracy_in_per_cent_is_no_figure(tmp_path: Path) -> None:
    journal, rng = opened(tmp_path, "exact"), np.random.default_rng(7)
    wrong = rng.random(600) < 0.065
    judge(journal, [("no" if each else "yes", "yes") for each in wrong])
    found = measure(look(journal, validation_figures({"val_accuracy": 93.5})), "error_rate")
    assert (found.alarm, found.against) == (False, "first judged")
    journal.close()


def test_a_registry_that_does_not_answer_has_no_say() -> None:
    model = ModelVersion("wine", "wine/3", "models:/wine/3", "wine", 3, run_id="r1")
    away = """{"error": {"message": "MLflow at `http://m` cannot be used."}}"""
    with pytest.raises(RemoteError, match="`wine/3` cannot be read: MLflow at `http://m`"):
        figures_by_command(model, lambda _: (6, away, "error: …"))
    with pytest.raises(RemoteError, match="Killed"):
        figures_by_command(model, lambda _: (-9, "", "Killed"))
    assert figures_by_command(model, lambda _: (5, "", "")) == {}


def test_a_truth_waits_for_its_decision(numbers: SqlJournal) -> None:
    figures: Figures = {"rmse": 0.6}
    now = [START_MS / 1000 + 10]
    fold = QualityFold(numbers, lambda _: figures, lambda: now[0])
    late, lost = decision(0, [{"x": 1.0}]), decision(1, [{"x": 1.0}])
    told = [NewOutcome(n, None, 0, START_MS + 9_000, 1, 0, 0.5, None, 2.0)
            for n in (late.nonce, lost.nonce)]  # fmt: skip
    numbers.append([], told)
    judge(numbers, [(1.0, 2.0)] * 3, first=10)
    assert fold.follow()

    def judged() -> int:
        fold.read(numbers.end().outcomes, 100)
        return fold.report("wine", 0.01).judged[0].rows

    assert judged() == 0
    # It arrives from the other worker; the second never does, and is waited for no longer.
    numbers.append([late], [])
    assert judged() == 1
    now[0] += 60
    assert judged() == 4
    assert fold.offset == numbers.end().outcomes
    # Who only looks waits for nothing.
    assert look(numbers, figures).judged[0].rows == 4


def test_all_answers_are_estimated_from_the_few_with_a_label(tmp_path: Path) -> None:
    journal = opened(tmp_path, "brier")
    rng = np.random.default_rng(5)
    p = rng.beta(0.3, 0.3, 6_000)
    truths = (rng.random(len(p)) < p).astype(int)
    asked = [decision(i, [{"x": 1.0}], predictions=[float(p[i])]) for i in range(len(p))]
    # Forced and failed requests are none of them.
    asked += [decision(9_000 + i, [{"x": 1.0}], predictions=[0.0], propensity=0.0) for i in (0, 1)]
    told = [
        NewOutcome(asked[i].nonce, None, 0, START_MS + 9_000 + i, 1, 0, 0.5, None, int(truths[i]))
        for i in rng.choice(len(p), 400, replace=False).tolist()
    ]
    journal.append(asked, told[:110])
    waiting = {each.measure: each for each in powered_quality(journal, 0.05)}
    assert [each.value for each in waiting.values()] == [None] * 4
    journal.append([], told[110:])
    found = {each.measure: each for each in powered_quality(journal, 0.05)}
    journal.close()
    wrong = (p > 0.5) != truths
    expected = {
        "error_rate": wrong.mean(),
        "brier": ((p - truths) ** 2).mean(),
        "calibration": (p - truths).mean(),
        "positive_rate": truths.mean(),
    }
    assert {*found} == {*expected}
    for name, each in found.items():
        assert (each.arm, each.labelled, each.rows) == ("a", 400, 6_000)
        assert each.lower is not None
        assert each.upper is not None
        assert each.lower < expected[name] < each.upper
        assert each.value == pytest.approx(expected[name], abs=0.06)
    assert not found["positive_rate"].by_labels_alone
    assert found["calibration"].by_labels_alone


def powered_by(
    folder: Path, asked: Sequence[Decision], told: Sequence[NewOutcome], reward: str = "brier"
) -> dict[str, PoweredMeasure]:
    journal = opened(folder, reward)
    journal.append(asked, told)
    found = {f"{each.arm} {each.measure}": each for each in powered_quality(journal, 0.05)}
    journal.close()
    return found


def label(asked: Decision, truth: Any, row: int = 0, after: int = 0) -> NewOutcome:
    return NewOutcome(
        asked.nonce, None, row, START_MS + 9_000 + after, 1, asked.arm, 0.5, None, truth
    )


@pytest.mark.parametrize("together", ["request", "unit"])
def test_rows_that_belong_together_are_no_independent_sample(tmp_path: Path, together: str) -> None:
    rng = np.random.default_rng(1)
    # Each request, or unit, is easy or hard, so that its 50 rows are right or wrong together.
    hard = rng.random(60) < 0.5
    truths = np.array([rng.random(50) < (0.38 if each else 0.02) for each in hard]).astype(int)
    if together == "request":
        asked = [decision(i, [{"x": 1.0}] * 50, predictions=[0.2] * 50) for i in range(60)]
        of = [(asked[i], j) for i in range(60) for j in range(50)]
    else:
        asked = [
            decision(i, [{"x": 1.0}], predictions=[0.2], unit=(i // 50).to_bytes(16, "little"))
            for i in range(3_000)
        ]
        of = [(each, 0) for each in asked]
    picked = np.flatnonzero(rng.random(3_000) < 0.1).tolist()
    told = [label(of[i][0], int(truths.flat[i]), of[i][1], i) for i in picked]
    found = powered_by(tmp_path, asked, told)
    assert len(found) == 4
    for each in found.values():
        assert (each.value, each.lower, each.upper) == (None, None, None)
        assert "3,000 rows are of 60 requests and sticky units" in each.why_not


def test_an_arm_has_its_share_of_alpha_from_the_beginning(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    p = rng.uniform(0.1, 0.9, 1_000)
    asked = [decision(i, [{"x": 1.0}], i % 2, predictions=[float(p[i])]) for i in range(len(p))]
    told = [label(each, int(rng.random() < p[i]), after=i) for i, each in enumerate(asked)]
    (tmp_path / "later").mkdir()
    alone = powered_by(tmp_path, asked, told[::2])
    both = powered_by(tmp_path / "later", asked, told)
    assert len(alone) == 4
    assert len(both) == 8
    for name, each in alone.items():
        assert (each.lower, each.upper) == (both[name].lower, both[name].upper)


def test_labels_without_a_loss_are_not_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    asked = [decision(i, [{"x": 1.0}], predictions=[float(rng.random())]) for i in range(300)]
    told = [
        label(each, "unsure" if i % 10 == 9 else int(rng.random() < 0.5), after=i)
        for i, each in enumerate(asked)
    ]
    found = powered_by(tmp_path, asked, told)
    assert found["a brier"].value is None
    assert "30 of 300 labels cannot be compared with their answers, such as 'unsure'" in (
        found["a brier"].why_not
    )


def test_no_estimate_is_above_the_largest_loss(tmp_path: Path) -> None:
    # The first hundred say that large answers are wrong; of all rows they are most, and the other
    # labels are worse than g says.
    rng = np.random.default_rng(4)
    p = np.concatenate([rng.uniform(0, 1, 100), np.full(40, 0.6), np.full(1_000, 0.97)])
    truths = np.concatenate([p[:100] > 0.5, np.ones(40, dtype=bool)])
    asked = [decision(i, [{"x": 1.0}], predictions=[float(each)]) for i, each in enumerate(p)]
    told = [label(asked[i], int(truths[i]), after=i) for i in range(140)]
    found = powered_by(tmp_path, asked, told)["a positive_rate"]
    assert not found.by_labels_alone
    assert found.value == 1.0
