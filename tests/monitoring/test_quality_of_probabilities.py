"""Probabilities are measured as such, whatever the reward is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlops.journal.sql import SqlJournal
from mlops.monitoring import quality
from mlops.monitoring.quality_measures import MEASURES, measures_for, validation_figures
from mlops.monitoring.quality_watch import CONSUMER, Figures, QualityFold
from mlops.monitoring.report import make_report
from mlops.monitoring.truths import Truth
from mlops.rewards import Terms
from mlops.workflows.quality import _notes
from tests.monitoring.journals import START_MS
from tests.monitoring.test_quality_watch import judge, look, measure, opened


def answers(rng: np.random.Generator, count: int, sure: float = 0.0) -> list[tuple[Any, Any]]:
    """Return probabilities of `no` and `yes` with what happened; `sure` is added to the second."""
    chance = rng.uniform(0.1, 0.7, count)
    happens = rng.random(count) < chance
    said = np.minimum(chance + sure, 1)
    return [([float(1 - p), float(p)], "yes" if y else "no")
            for p, y in zip(said, happens, strict=True)]  # fmt: skip


@pytest.mark.parametrize("reward", ["exact", "given", "squared-error", "brier"])
def test_the_report_measures_probabilities_whatever_the_reward(tmp_path: Path, reward: str) -> None:
    from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

    journal = opened(tmp_path, reward, ["no", "yes"])
    pairs = answers(np.random.default_rng(3), 400)
    judge(journal, pairs)
    quality = make_report(journal, now_ms=START_MS + 10_000).arms[0].quality
    journal.close()
    p, y = [pair[0][1] for pair in pairs], [pair[1] == "yes" for pair in pairs]
    assert quality.n == 400
    assert quality.log_loss == pytest.approx(log_loss(y, p))
    assert quality.brier == pytest.approx(brier_score_loss(y, p))
    assert quality.auc == pytest.approx(roc_auc_score(y, p))
    assert quality.accuracy == pytest.approx(np.mean((np.array(p) > 0.5) == y))


def test_the_brier_score_of_a_model_judged_by_its_label_is_watched(tmp_path: Path) -> None:
    journal, rng = opened(tmp_path, "exact", ["no", "yes"]), np.random.default_rng(4)
    figures: Figures = {"error_rate": 0.4, "brier": 0.22}
    judge(journal, answers(rng, 2_000))
    calm = look(journal, figures)
    assert [each.measure for each in calm.streams] == ["error_rate", "brier", "calibration"]
    assert (calm.worse, measure(calm, "brier").against) == ((), "validation")
    # Three measures of `a`, and of `b` as many as it may have.
    assert calm.threshold == 600
    judge(journal, answers(rng, 2_000, sure=0.3), first=2_000)
    assert {"brier", "calibration"} <= {each.measure for each in look(journal, figures).worse}
    journal.close()


def test_the_log_loss_is_watched_where_only_that_was_logged(tmp_path: Path) -> None:
    journal = opened(tmp_path, "exact", ["no", "yes"])
    judge(journal, answers(np.random.default_rng(5), 600))
    found = look(journal, validation_figures({"val_log_loss": 0.65, "val_accuracy": 0.6}))
    assert [each.measure for each in found.streams] == ["error_rate", "log_loss", "calibration"]
    watched = measure(found, "log_loss")
    assert (watched.against, watched.reference, watched.alarm) == ("validation", 0.65, False)
    journal.close()


def test_of_three_classes_there_is_no_calibration() -> None:
    assert measures_for("exact", [0.2, 0.3, 0.5], 1) == ("error_rate", "brier")
    assert measures_for("squared-error", [0.2, 0.8], 1) == ("rmse", "mae")
    assert measures_for("exact", "a", "b") == ("error_rate",)


@pytest.mark.parametrize("wanted", [("rmse", "mae"), ()])
def test_two_outputs_that_sum_to_1_are_no_probabilities(wanted: tuple[Any, ...]) -> None:
    truths: list[Any] = [[1, 0], [0.9, 0.2]]
    seen = [Truth(0, 0, [1.0, 0.0], truth) for truth in truths]
    found = quality.measure(seen, 0, wanted)
    assert found.rmse == pytest.approx(np.sqrt((0.1**2 + 0.2**2) / 4))
    assert found.mae == pytest.approx(0.075)
    assert (found.accuracy, found.log_loss) == (None, None)


def test_one_probability_is_measured_as_such_under_a_cost_matrix() -> None:
    terms = Terms.of((1, 2), [("1", "2", 1.0), ("2", "1", 5.0)])
    pairs = [(1.0, 2), (0.8, 2), (0.3, 1), (0.4, 2)]
    found = quality.measure([Truth(0, 0, *pair) for pair in pairs], 0, ("accuracy",), terms)
    assert found.accuracy == 0.75
    assert found.brier == pytest.approx((0.2**2 + 0.3**2 + 0.6**2) / 4)
    labels = [Truth(0, 0, *pair) for pair in [(1, 1), (1, 2)]]
    found = quality.measure(labels, 0, ("accuracy",), terms)
    assert (found.accuracy, found.brier) == (0.5, None)


@pytest.mark.parametrize(
    ("classes", "prediction", "truth", "wrong"),
    [
        ((1, 2), 1, 1, 0.0),
        ((1, 2), 1, 2, 1.0),
        ((1, 2), 2, 2, 0.0),
        ((1, 2), 2, 1, 1.0),
        ((-1, 1), -1, -1, 0.0),
        ((-1, 1), 1, 1, 0.0),
        ((-1, 1), 1, -1, 1.0),
        ((1.0, 2.0), 1.0, 1, 0.0),
        # Probabilities of the second class.
        ((1, 2), 1.0, 2, 0.0),
        ((1, 2), 0.2, 1, 0.0),
        (("no", "yes"), 0.0, "no", 0.0),
        ((0, 1), 0.7, 0, 1.0),
        ((), 0.7, 1, 0.0),
    ],
)
def test_a_label_of_two_classes_is_no_probability(
    classes: tuple[Any, ...], prediction: Any, truth: Any, wrong: float
) -> None:
    assert MEASURES["error_rate"].loss(prediction, truth, Terms(classes)) == wrong


def test_what_was_watched_by_its_error_rate_only_gets_the_rest(tmp_path: Path) -> None:
    journal, rng = opened(tmp_path, "exact", ["no", "yes"]), np.random.default_rng(6)
    judge(journal, answers(rng, 700))
    fold = read_all(journal)
    stored = dict(journal.remembered(CONSUMER, list(fold._models)))
    for document in stored.values():
        document["measures"] = document["measures"][:1]
        document.pop("complete")
        # What a later version may store.
        document["later"] = {"more": 1}
    journal.remember(CONSUMER, stored, 1)
    judge(journal, answers(rng, 300), first=700)
    found = read_all(journal).report("wine", 0.01)
    assert [each.measure for each in found.streams] == ["error_rate", "brier", "calibration"]
    assert [each.rows for each in found.streams] == [1_000, 300, 300]
    journal.close()


def read_all(journal: SqlJournal) -> QualityFold:
    fold = QualityFold(journal, lambda _: {"error_rate": 0.4, "brier": 0.22})
    assert fold.follow()
    while fold.read(journal.end().outcomes, 1_000):
        pass
    fold.save(0, {})
    return fold


def test_the_note_names_the_metrics_that_were_looked_for(tmp_path: Path) -> None:
    journal = opened(tmp_path, "exact", ["no", "yes"])
    judge(journal, answers(np.random.default_rng(7), 10))
    (note,) = (each for each in _notes(look(journal, {"error_rate": 0.4})) if "`a`" in each)
    journal.close()
    assert "`brier_score_loss`" in note
    assert "`log_loss`" in note
    assert "`accuracy`" not in note
