"""Outliers: our detector beside PyOD's.

    python benchmarks/outliers.py

PyOD takes part where it is installed, in an environment of its own (`pip install pyod scikit-learn`
beside NumPy and SciPy). Detectors are fitted on usual rows alone, and then see others of those and
strange ones. AUROC says how well they are told apart; the share of usual rows that is flagged at
1 % says whether a level means what it says (of PyOD's: `contamination=0.01`). Seeds are fixed;
medians of 10.
"""

from __future__ import annotations

import importlib
import importlib.util
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score

from mlops.stats.outliers import fit

Floats = NDArray[np.float64]
#: Scores of rows, larger for the more unusual, and which are flagged.
Scored = tuple[Floats, NDArray[np.bool_]]
RUNS, LEVEL = 10, 0.01


def tumours(rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Malignant tumours among benign ones, 30 features."""
    table = load_breast_cancer()
    usual = rng.permutation(table.data[table.target == 1])
    return usual[:250], usual[250:], table.data[table.target == 0]


def correlated(rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Rows with usual values that do not go together, 11 features."""
    mixing = np.linalg.cholesky(0.7 * np.ones((11, 11)) + 0.3 * np.eye(11))
    usual = rng.normal(size=(3_000, 11)) @ mixing.T
    return usual[:2_000], usual[2_000:], rng.normal(size=(100, 11))


def single(rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """One value of 30 out of its range."""
    usual = rng.lognormal(size=(3_000, 30))
    strange = rng.lognormal(size=(100, 30))
    strange[np.arange(100), rng.integers(0, 30, 100)] = np.exp(5.0)
    return usual[:2_000], usual[2_000:], strange


SETS = {
    "malignant tumours among benign": tumours,
    "values that do not go together": correlated,
    "one value of 30 out of range": single,
}


def ours(training: Floats, rows: Floats) -> Scored:
    p_values = fit(training).p_values(rows)
    return -p_values, p_values <= LEVEL


def _pyod(module: str, name: str) -> Callable[[Floats, Floats], Scored]:
    def score(training: Floats, rows: Floats) -> Scored:
        detector = getattr(importlib.import_module(f"pyod.models.{module}"), name)(
            contamination=LEVEL
        )
        detector.fit(training)
        return detector.decision_function(rows), detector.predict(rows) > 0

    return score


def detectors() -> dict[str, Callable[[Floats, Floats], Scored]]:
    """Return those that can run here."""
    found: dict[str, Callable[[Floats, Floats], Scored]] = {"mlops": ours}
    if importlib.util.find_spec("pyod"):
        kinds = ("iforest", "IForest"), ("ecod", "ECOD"), ("copod", "COPOD"), ("knn", "KNN")
        found |= {f"PyOD {name}": _pyod(module, name) for module, name in kinds}
    return found


def main() -> None:
    """Print a line for each detector and data set."""
    for data, draw in SETS.items():
        for name, detect in detectors().items():
            aurocs, shares, started = [], [], time.process_time()
            for seed in range(RUNS):
                training, usual, strange = draw(np.random.default_rng(seed))
                scores, flags = detect(training, np.concatenate([usual, strange]))
                truth = np.repeat([0, 1], [len(usual), len(strange)])
                aurocs.append(float(roc_auc_score(truth, scores)))
                shares.append(float(flags[: len(usual)].mean()))
            seconds = (time.process_time() - started) / RUNS
            print(
                f"{data}: {name}: AUROC {statistics.median(aurocs):.3f}, "
                f"{100 * statistics.median(shares):.1f} % of usual rows flagged, {seconds:.2f} s"
            )


if __name__ == "__main__":
    main()
