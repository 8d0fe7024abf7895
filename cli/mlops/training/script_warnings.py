"""What will keep a model from answering, known when it was trained: from its log and its signature.

MLflow asks a model about its own input example when it is logged, and about what is wrong it writes
to the script's output alone, where nothing is read after a training that ended well.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mlops.registry.details import Details
from mlops.tables.fit import NEVER_NULL

# `mlflow/models/model.py` of MLflow 3.
_REFUSED = "Failed to validate serving input example"
_REASON = "Got error: "
_MOST = 300


def example_warnings(log: Path) -> Iterator[str]:
    """Yield what MLflow said of models that fail on their own input example, each thing once.

    Args:
        log: File with everything that the script wrote.
    """
    said: set[str] = set()
    refused = False
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            refused = refused or _REFUSED in line
            if not refused or not line.startswith(_REASON):
                continue
            refused = False
            why = line.removeprefix(_REASON).strip()[:_MOST]
            if why not in said:
                said.add(why)
                yield (
                    "MLflow warned that a model fails on its own input example; `mlops deploy` "
                    f"refuses such a model: {why}"
                )


def optional_note(model: Details) -> str:
    """Return a note about columns that a row may lack, of types that have no null; else empty."""
    columns = [c for c in model.inputs if c.name and not c.required and c.type in NEVER_NULL]
    if not columns:
        return ""
    names = ", ".join(f"`{column.name}`" for column in columns)
    kinds = ", ".join(dict.fromkeys(column.type for column in columns))
    return (
        f"{names} may be missing, as the signature says, but MLflow takes no null in columns of "
        f"type {kinds}: to predict rows with a missing value, log such columns as float64 (type "
        "double)"
    )
