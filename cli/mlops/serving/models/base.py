"""The contract of a model in the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mlops.errors import MODEL_REFUSED
from mlops.protocols.base import Payload, Prediction
from mlops.tables.signature import Signature


class ServableModel(Protocol):
    """Predicts. May be called from several threads at once; never changes its input."""

    def predict(self, payload: Payload, parameters: Mapping[str, Any]) -> Prediction:
        """Predict every row of `payload`.

        Args:
            payload: n rows, n at least 1.
            parameters: The request's parameters for the model, mostly empty.

        Raises:
            ProtocolError: `MISMATCH` if the signature refuses the rows, `MODEL_FAILED` if the
                model itself raised.
        """
        ...


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is loaded, warm and checked.

    Attributes:
        model: Calls the model.
        signature: What the model says it takes and gives.
        path_taken: `native`, `pyfunc` or `remote`, for status pages.
        example: A body for `/invocations` that the model answers; None if none is known.
        row_ms: Median time of a one-row prediction at warm-up in milliseconds; NaN without an
            example.
        notes: What a person should know, most severe first: packages that differ from training.
        classes: Classes that it chooses from, in the order of its probabilities; empty if unknown.
    """

    model: ServableModel
    signature: Signature
    path_taken: str
    example: dict[str, Any] | None
    row_ms: float
    notes: tuple[str, ...]
    classes: tuple[bool | int | float | str | None, ...] = ()


def first_line(error: Exception) -> str:
    """Return what an exception of a model says, without the advice that follows it."""
    return f"{MODEL_REFUSED}: {str(error).splitlines()[0] if str(error) else error!r}"
