"""Detectors of outliers: 1 % of undrifted rows is flagged, and those that are unlike them."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.covariance import LedoitWolf
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from mlops.errors import InvalidInputError
from mlops.stats.copula import fit_copula, normal_quantiles
from mlops.stats.outlier_document import fit_rows, from_json, to_json
from mlops.stats.outliers import LEAST_ROWS, fit, grow, spread
from mlops.stats.profiles import profile_feature
from mlops.stats.row_codes import codings, encode

Rows = NDArray[np.float64]


def rows(rng: np.random.Generator, count: int) -> Rows:
    """Dependent, skewed, whole numbers, and plain ones."""
    x = rng.normal(size=(count, 6))
    x[:, 1] = x[:, 0] + 0.3 * x[:, 1]
    x[:, 2] = np.exp(x[:, 2])
    x[:, 3] = np.round(x[:, 3])
    return x


def test_as_many_undrifted_rows_are_flagged_as_promised() -> None:
    size, models = 1_000, 10
    found = []
    for seed in range(models):
        rng = np.random.default_rng(seed)
        detector = fit(rows(rng, 2 * size), seed)
        found.append(detector.p_values(rows(rng, 2_000)))
    for level in (0.01, 0.1, 0.5):
        # Of m calibration rows the share is a beta variable; whole counts take a little.
        error = (level * (1 - level) / size / models) ** 0.5
        assert level - 4 * error - 1 / size < np.mean(np.array(found) <= level) < level + 4 * error


def test_it_finds_what_scikit_learn_finds() -> None:
    rng = np.random.default_rng(1)
    training, normal, strange = rows(rng, 2_000), rows(rng, 2_000), rows(rng, 200)
    strange[:, :3] += rng.normal(0, 3, (200, 3))
    both, truth = np.vstack([normal, strange]), np.repeat([0, 1], [2_000, 200])
    theirs = IsolationForest(random_state=0).fit(training)
    expected = roc_auc_score(truth, -theirs.score_samples(both))
    ours = roc_auc_score(truth, grow(training, rng).scores(both))
    assert ours == pytest.approx(expected, abs=0.03)
    assert roc_auc_score(truth, spread(training).scores(both)) > 0.75
    assert roc_auc_score(truth, 1 - fit(training).p_values(both)) > 0.75


def test_a_forest_of_wide_rows_takes_no_more_memory() -> None:
    wide = np.random.default_rng(4).normal(size=(300, 400))
    tracemalloc.start()
    forest = grow(wide, np.random.default_rng(5))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The 256 rows of all 64 trees would be 52 MB, and several times that while they are sorted.
    assert peak < 80e6
    assert len(forest.roots) == 64
    assert forest.scores(3 * wide[:20]).min() > np.quantile(forest.scores(wide), 0.9)


def test_ecod_is_what_its_paper_says() -> None:
    ecod = spread(np.array([[0.0], [1.0], [2.0], [10.0]]))
    # Skewed to the right: F(10) and 1 - F(10), of 4 values and the row itself.
    assert ecod.scores(np.array([[10.0]])) == pytest.approx([-np.log(2 / 5)])
    assert ecod.scores(np.array([[99.0]])) == pytest.approx([-np.log(1 / 5)])
    assert ecod.scores(np.array([[-9.0]])) == pytest.approx([-np.log(1 / 5)])


def test_values_that_do_not_come_together_are_found() -> None:
    rng = np.random.default_rng(6)
    x = rng.lognormal(size=(3_000, 1)) * np.exp(0.3 * rng.normal(size=(3_000, 5)))
    # Each value is one of the training's, from a row of its own.
    strange = np.column_stack([rng.permutation(column)[:200] for column in x.T])
    detector = fit(x[:2_000])
    calm, p_values = detector.p_values(x[2_000:]), detector.p_values(strange)
    assert (calm <= 0.01).mean() < 0.02
    found = roc_auc_score(np.repeat([0, 1], [1_000, 200]), -np.concatenate([calm, p_values]))
    assert found > 0.9
    without = replace(detector.own, copula=None).scores(np.vstack([x[2_000:], strange]))
    truth = np.repeat([0, 1], [1_000, 200])
    assert max(roc_auc_score(truth, each) for each in without) < 0.86
    # What does not go with the others is named.
    row = np.full(5, 3.0)
    row[3] = 0.4
    assert detector.unusual(row[None, :])[0, 0] == 3
    # Many rows at once are named as each alone is.
    many = np.vstack([strange[:40], 9 * strange[:40]])
    alone = [detector.unusual(each[None, :])[0] for each in many]
    assert (detector.unusual(many) == alone).all()


def test_a_copula_is_what_scikit_learn_and_scipy_say() -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(60, 8)) @ rng.normal(size=(8, 8))
    theirs = LedoitWolf(assume_centered=True).fit(x)
    ours = fit_copula(x)
    assert ours.scores(x) == pytest.approx(theirs.mahalanobis(x))
    assert ours.parts(x).sum(axis=1) == pytest.approx(ours.scores(x))
    assert normal_quantiles(9) == pytest.approx(norm.ppf(np.arange(1, 20) / 20))
    # Of a column without spread nothing is known, of one that is twice another no more.
    flat = np.column_stack([x, np.zeros(60), 2 * x[:, 0]])
    assert np.isfinite(fit_copula(flat).scores(flat)).all()
    assert fit_copula(np.zeros((9, 3))).scores(np.zeros((1, 3)))[0] == 0


def table(rng: np.random.Generator, count: int) -> dict[str, list[Any]]:
    return {
        "alcohol": rng.normal(10, 1, count).tolist(),
        "colour": rng.choice(["red", "white"], count, p=[0.7, 0.3]).tolist(),
        "organic": (rng.random(count) < 0.5).tolist(),
        "note": [None if x < 0.1 else x for x in rng.random(count)],
    }


def test_rows_as_requests_have_them() -> None:
    rng = np.random.default_rng(2)
    training = table(rng, 1_000)
    known = codings({name: profile_feature(cells) for name, cells in training.items()})
    fitted = fit_rows(training, known)
    found = from_json(to_json(fitted))
    assert found.p_values_of(training) == pytest.approx(fitted.p_values_of(training), abs=0)
    # An earlier version, whose detectors have no copula, refuses the document by its number.
    old = replace(fitted.detector, own=replace(fitted.detector.own, copula=None))
    old = replace(old, fitted=old.fitted[:3])
    written = [to_json(fitted), to_json(replace(fitted, detector=old))]
    assert [json.loads(each)["schema_version"] for each in written] == [2, 1]
    assert from_json(written[1]).detector.own.copula is None
    calm = table(rng, 2_000)
    assert (found.p_values(encode(calm, found.codings)) <= 0.01).mean() < 0.03
    plain: dict[str, Any] = {"alcohol": 10.0, "colour": "red", "organic": True, "note": 0.5}
    for change, name in (
        ({"alcohol": 25.0}, "alcohol"),
        ({"alcohol": None}, "alcohol"),
        ({"alcohol": "strong"}, "alcohol"),
        ({"alcohol": 10**400}, "alcohol"),
        ({"colour": "orange"}, "colour"),
        ({"colour": float("nan")}, "colour"),
    ):
        row = encode({k: [v] for k, v in {**plain, **change}.items()}, found.codings)
        assert found.p_values(row) <= 0.01, change
        assert found.unusual(row, 3)[0][0] == name
    assert found.unusual(row[:0], 3) == []
    assert found.p_values(encode({k: [v] for k, v in plain.items()}, found.codings)) > 0.05


def test_too_few_rows_and_broken_documents() -> None:
    rng = np.random.default_rng(3)
    with pytest.raises(ValueError, match="too few"):
        fit(rows(rng, LEAST_ROWS - 1))
    training = table(rng, 300)
    known = codings({name: profile_feature(cells) for name, cells in training.items()})
    document = json.loads(to_json(fit_rows(training, known)))
    several: list[Any] = [{**document, "schema_version": 9}, {**document, "arrays": "AAAA"}, {}, []]
    for broken in several:
        with pytest.raises(InvalidInputError, match="cannot be read"):
            from_json(json.dumps(broken))
