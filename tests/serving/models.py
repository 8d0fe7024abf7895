"""Small models, saved as MLflow saves them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

COLUMNS = ("fixed acidity", "alcohol", "sulphates")
#: Rows that the tests predict; any two differ.
ROWS = [[7.4, 9.4, 0.56], [7.8, 9.8, 0.68], [11.2, 12.5, 0.25], [6.0, 10.0, 1.0]]


def records(rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """Rows as objects."""
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def save_linear(path: Path, coefficients: Sequence[float]) -> Path:
    """Save a linear regression that has learnt exactly these coefficients."""
    import pandas as pd
    from sklearn.linear_model import LinearRegression

    features = pd.DataFrame(np.random.default_rng(1).uniform(0, 12, (40, 3)), columns=COLUMNS)
    return save_sklearn(path, LinearRegression().fit(features, features @ coefficients), features)


def save_sklearn(path: Path, model: Any, features: Any, *, example: bool = True) -> Path:
    """Save a fitted scikit-learn model with the signature of its training data."""
    import mlflow.sklearn
    from mlflow.models import infer_signature

    mlflow.sklearn.save_model(
        model,
        str(path),
        signature=infer_signature(features, model.predict(features)),
        input_example=features.head(2) if example else None,
        pip_requirements=["scikit-learn"],
    )
    return path


def save_detector(path: Path) -> None:
    """Store a detector of outliers with a model, for rows between 0 and 12."""
    from mlops.stats.outlier_document import OUTLIER_FILE, fit_rows, to_json
    from mlops.stats.profiles import profile_feature
    from mlops.stats.row_codes import codings

    rng = np.random.default_rng(2)
    columns = {name: rng.uniform(0, 12, 600).tolist() for name in COLUMNS}
    profiles = {name: profile_feature(cells) for name, cells in columns.items()}
    (path / OUTLIER_FILE).write_text(to_json(fit_rows(columns, codings(profiles))))
