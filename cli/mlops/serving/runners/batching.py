"""Several requests in one call of the model, each with exactly its own answer.

A runtime gives batches equal keys only where it has shown that joining changes no digit. A joined
call that fails says nothing about its parts, so each is then predicted alone: another request's
bad row affects only that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from mlops.protocols.base import Prediction, ProtocolError
from mlops.runtimes.base import Batch, Runtime, split
from mlops.runtimes.failures import own_failure

#: Most rows of one joined call.
MAX_ROWS = 256

Result: TypeAlias = "Prediction | ProtocolError"


def infer_together(runtime: Runtime, batches: Sequence[Batch]) -> list[Result]:
    """Predict batches, in as few calls as their keys allow.

    Args:
        runtime: Has prepared them.
        batches: In order; together at most `MAX_ROWS` rows, or one.

    Returns:
        For each batch its prediction, or why it has none.
    """
    results: list[Result | None] = [None] * len(batches)
    groups: dict[object, list[int]] = {}
    for index, batch in enumerate(batches):
        groups.setdefault(index if batch.key is None else (batch.key,), []).append(index)
    for indices in groups.values():
        together = _joined(runtime, [batches[index] for index in indices])
        for position, index in enumerate(indices):
            results[index] = together[position] if together else infer_one(runtime, batches[index])
    return [result for result in results if result is not None]


def infer_one(runtime: Runtime, batch: Batch) -> Result:
    """Predict one batch; return why it has no prediction, if it has none."""
    try:
        return runtime.infer(batch)
    except ProtocolError as error:
        return error
    except Exception as error:  # noqa: BLE001 - whatever a model raises is its own caller's answer
        return own_failure(error)


def _joined(runtime: Runtime, batches: list[Batch]) -> Sequence[Prediction] | None:
    """Predict batches of one key in one call; None if each has to be predicted alone."""
    if len(batches) == 1:
        return None
    try:
        prediction = runtime.infer(type(batches[0]).join(batches))
    except Exception:  # noqa: BLE001 - which part is at fault is found by predicting each alone
        return None
    return split(prediction, [batch.n_rows for batch in batches])
