"""Runtimes that are not right."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlops.protocols.base import Payload, Prediction
from mlops.runtimes.base import Batch, Runtime
from mlops.runtimes.folder import ModelFolder
from mlops.runtimes.native import open_native


class Changed(Runtime):
    """Answers as the model does, but for one change."""

    def __init__(self, model: ModelFolder) -> None:
        self._inner = open_native(model)

    def prepare(self, payload: Payload, parameters: Mapping[str, Any]) -> Batch:
        return self._inner.prepare(payload, parameters)

    def infer(self, batch: Batch) -> Prediction:
        return self.change(batch, np.asarray(self._inner.infer(batch)))

    def change(self, batch: Any, answer: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return answer


class Rounded(Changed):
    """As a float32 engine answers."""

    def change(self, batch: Any, answer: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return answer.astype(np.float32).astype(answer.dtype)


class Reordered(Changed):
    """As a sum in another order."""

    def change(self, batch: Any, answer: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return answer * (1 + 1e-15)


class Narrow(Changed):
    """As an engine that rounds rows to float32 before it compares with thresholds."""

    def change(self, batch: Any, answer: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        rows = type(batch)(batch.values.astype(np.float32).astype(float))
        return np.asarray(self._inner.infer(rows))


class Tolerant(Changed):
    """As an engine that answers rows with missing cells, which the model refuses."""

    def infer(self, batch: Any) -> Prediction:
        return super().infer(type(batch)(np.nan_to_num(batch.values)))


class Slow(Changed):
    """One that is right, and no faster."""

    def change(self, batch: Any, answer: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        time.sleep(0.02)
        return answer


def broken(model: ModelFolder) -> Runtime:
    """One whose converter fails."""
    raise RuntimeError("no converter for this")


def missing(model: ModelFolder) -> Runtime:
    """One whose library is not there."""
    raise ModuleNotFoundError("No module named 'treelite'", name="treelite")
