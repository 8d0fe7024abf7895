"""The contract of a runtime, which executes a model in this process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from mlops.errors import MODEL_REFUSED
from mlops.protocols.base import Kind, Payload, Prediction, ProtocolError, Series
from mlops.protocols.predictions import by_row
from mlops.tables.fit import Misfit
from mlops.tables.signature import Signature

if TYPE_CHECKING:
    from mlops.runtimes.folder import ModelFolder
    from mlops.runtimes.isolated import IsolatedModel
    from mlops.runtimes.proof import Proof


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


class Batch(Protocol):
    """Rows that were checked, in the form in which one runtime takes them. Never changed."""

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        ...

    @property
    def key(self) -> Hashable | None:
        """Batches of one runtime with equal keys may be joined; None is never joined.

        A runtime gives a key only where joining changes no digit of any answer.
        """
        ...

    @classmethod
    def join(cls, batches: Sequence[Self]) -> Self:
        """Return the rows of all `batches`, at least one, in order. Their keys are equal."""
        ...


class Runtime(ABC):
    """Executes one model; also a `ServableModel`.

    May be called from several threads at once, and never changes its input.
    """

    @abstractmethod
    def prepare(self, payload: Payload, parameters: Mapping[str, Any]) -> Batch:
        """Check rows against the signature and make them what the model takes. Runs no model code.

        Args:
            payload: n rows, n at least 1.
            parameters: The request's parameters for the model, mostly empty.

        Raises:
            ProtocolError: `MISMATCH`: the signature refuses the rows.
        """

    @abstractmethod
    def infer(self, batch: Batch) -> Prediction:
        """Predict every row of a batch that this runtime has prepared, or joined of such.

        Raises:
            ProtocolError: `MODEL_FAILED` if the model raised; `MISMATCH` if it refused the rows,
                as many do with missing values. Of a joined batch no row is answered then, and
                each of its parts is to be predicted alone.
        """

    def allow_joining(self) -> None:  # noqa: B027 - one that never joins has nothing to do
        """Give batches keys from now on. Call it once joining is known to change no answer."""

    def restrict(self, group: str) -> bool:
        """Leave some rows to the model's own code.

        Args:
            group: `missing` for rows with a missing cell, `extreme` for such with a number beyond
                float32; others are never left.

        Returns:
            Whether anything is different from now on.
        """
        return False

    def borders(self) -> Sequence[tuple[int, float]]:
        """Return numbers at which an answer may jump, each with its column's position."""
        return ()

    def predict(self, payload: Payload, parameters: Mapping[str, Any]) -> Prediction:
        """See `ServableModel.predict`."""
        return self.infer(self.prepare(payload, parameters))


class Factory(Protocol):
    """Makes a runtime of a model."""

    def __call__(self, model: ModelFolder) -> Runtime:
        """Make the runtime. May take seconds, and run the model's code.

        Raises:
            UnsuitableError: This runtime cannot execute this model.
        """
        ...


class UnsuitableError(Exception):
    """A runtime cannot execute a model. Its text says why, human-readable."""


class OutOfTimeError(UnsuitableError):
    """Time ran out; it may succeed on a less busy machine."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is loaded, warm and checked.

    Attributes:
        model: Calls the model: a `Runtime`, unless another server answers.
        signature: What the model says it takes and gives.
        path_taken: A name of `RUNTIMES`, or `remote`, for status pages.
        example: A body for `/invocations` that the model answers; None if none is known.
        row_ms: Median time of a one-row prediction at warm-up in milliseconds; NaN without an
            example.
        notes: What the user should know, most severe first: packages that differ from training.
        classes: Classes that it chooses from, in the order of its probabilities; empty if unknown.
        joined_row_ms: The same for one of several requests in one call; NaN if they may not share.
        proof: That its runtime answers as pyfunc does; None for pyfunc.
        reasons: Why it has no other runtime, one sentence each.
        process: The process that it runs in; None if it is this one.
    """

    model: ServableModel
    signature: Signature
    path_taken: str
    example: dict[str, Any] | None
    row_ms: float
    notes: tuple[str, ...]
    classes: tuple[bool | int | float | str | None, ...] = ()
    joined_row_ms: float = float("nan")
    proof: Proof | None = None
    reasons: tuple[str, ...] = ()
    process: IsolatedModel | None = None

    @property
    def runtime(self) -> dict[str, Any]:
        """What executes the model, and why, as JSON data."""
        proof = None if self.proof is None else asdict(self.proof)
        return {"name": self.path_taken, "proof": proof, "reasons": list(self.reasons)}


def split(prediction: Prediction, counts: Sequence[int]) -> list[Prediction] | None:
    """Return the part of a joined batch's answer that belongs to each of its parts, in order.

    Args:
        prediction: The answer to all rows.
        counts: Numbers of rows of the parts.

    Returns:
        None if the answer is not one value per row, and cannot be split.

    >>> split(["a", "b", "c"], [1, 2])
    [['a'], ['b', 'c']]
    """
    whole = by_row(prediction, sum(counts))
    if whole is None or whole is not prediction:
        return None
    parts: list[Prediction] = []
    start = 0
    for count in counts:
        stop = start + count
        parts.append(_cut(prediction, start, stop))
        start = stop
    return parts


def _cut(prediction: Any, start: int, stop: int) -> Prediction:  # noqa: ANN401 - a Prediction of rows
    if not isinstance(prediction, dict):
        part: Prediction = prediction[start:stop]
        return part
    cells = {name: column[start:stop] for name, column in prediction.items()}
    return Series(cells) if isinstance(prediction, Series) else cells


def refusal_of(misfit: Misfit) -> ProtocolError:
    """Return the error for a cell that does not fit its column.

    A missing value is the caller's data, not a mistake in the request: the model refuses that row.
    """
    fault = misfit.fault
    if misfit.is_null:
        fault = fault.within(f"{MODEL_REFUSED}: ", f" {misfit.hint}")
    return ProtocolError(Kind.MISMATCH, str(fault), fault)


def first_line(error: Exception) -> str:
    """Return what an exception of a model says, without the advice that follows it."""
    return f"{MODEL_REFUSED}: {str(error).splitlines()[0] if str(error) else error!r}"
