"""What is unusual about rows on which a model failed: whose fault the failure is.

A signature does not say all that a model takes. MLflow lets null and numbers pass in a column of
texts, and its server answers 400 whatever the model then raises. Here a failure on rows with every
column, and in every cell a value of its type, is the model's (500), and counts as an error of its
arm; a failure on other rows is a refusal of these rows (400).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlops.tables.fit import RowFault
from mlops.tables.signature import Column

_TEXTS = "string"


def irregularity(rows: object, columns: Sequence[Column]) -> RowFault | None:
    """Return the first thing that is unusual about rows; None if there is none.

    Args:
        rows: What a model was called with: a frame, or arrays by name. Of others nothing is known.
        columns: Those of its signature.
    """
    import numpy as np
    import pandas as pd

    if not isinstance(rows, pd.DataFrame | dict):
        return None
    for column in columns:
        if column.name not in rows:
            return RowFault(f"there is no `{column.name}`", None)
        values = rows[column.name]
        # An array may hold one value, without rows to list.
        values = np.atleast_1d(values) if isinstance(values, np.ndarray) else values
        cells: Any = pd.Series(list(values), dtype=object)
        for row in cells.index[cells.map(_is_missing)][:1]:
            return RowFault("", row, f" has null in `{column.name}`")
        if column.type == _TEXTS:
            for row in cells.index[~cells.map(lambda cell: isinstance(cell, str))][:1]:
                shown = str(cells[row])[:40]
                return RowFault("", row, f" has `{shown}` in `{column.name}`, not text")
    return None


def _is_missing(cell: object) -> bool:
    """Whether a cell is None, NaN, NaT or NA; a list is a value, whatever is in it."""
    import pandas as pd

    return not hasattr(cell, "__len__") and bool(pd.isna(cell))
