"""Global importance: by how much each feature moves the answers to newest requests, on average.

The mean of |share| over rows. Its standard error is that of these rows, as if they were
independent: where one unit asks in bursts it is larger, and the error of the background is not in
it. Where shares are sampled, the error of their Monte Carlo is; which makes a share of nothing look
like about that error, since its sign is lost.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mlops.errors import InvalidInputError
from mlops.explaining.base import Rows
from mlops.explaining.choosing import Explainable, explain

#: Rows that are explained.
ROWS = 50
#: Fewer requests say little: a row that is explained by itself alone has shares of 0.
LEAST = 20


@dataclass(frozen=True, slots=True)
class FeatureImportance:
    """One feature.

    Attributes:
        feature: Its name.
        mean: Mean of |share|, in units of the output.
        error: Its standard error over the rows.
    """

    feature: str
    mean: float
    error: float


@dataclass(frozen=True, slots=True)
class Importance:
    """The features of one arm.

    Attributes:
        arm: Name of the arm.
        method: As that of an `Explanation`.
        exact: Whether shares have no error of Monte Carlo.
        output: What is explained.
        rows: Rows that were explained.
        features: The most important first.
    """

    arm: str
    method: str
    exact: bool
    output: str
    rows: int
    features: tuple[FeatureImportance, ...]

    def document(self) -> dict[str, Any]:
        """Return all of it as JSON data."""
        return asdict(self)

    @staticmethod
    def read(document: dict[str, Any]) -> Importance:
        """Read what `document` has written."""
        features = tuple(FeatureImportance(**each) for each in document["features"])
        return Importance(**{**document, "features": features})


def importance(arm: str, model: Explainable, requests: Rows) -> Importance:
    """Return how important the features are to an arm.

    Args:
        arm: Name of the arm.
        model: Its model.
        requests: The newest ones, which shares count from; `ROWS` of them are explained.

    Raises:
        InvalidInputError: The model refuses them, or answers them as a whole; or there are fewer
            than `LEAST`.
    """
    n = len(next(iter(requests.values())))
    if n < LEAST:
        raise InvalidInputError(
            f"Importance needs {LEAST} requests with all features; of the newest, {n} are such.",
            hint="Look again after more requests.",
        )
    picked = np.unique(np.linspace(0, n - 1, min(n, ROWS)).astype(int)).tolist()
    rows = {name: [cells[at] for at in picked] for name, cells in requests.items()}
    found = explain(model, rows, requests)
    sizes = np.abs(found.shares)
    means = sizes.mean(axis=0)
    errors = sizes.std(axis=0, ddof=1) / math.sqrt(len(picked))
    features = [
        FeatureImportance(name, mean, error)
        for name, mean, error in zip(found.names, means.tolist(), errors.tolist(), strict=True)
    ]
    features.sort(key=lambda each: -each.mean)
    exact = found.errors is None
    return Importance(arm, found.method, exact, found.output, len(picked), tuple(features))
