"""The contract of a wire protocol: bytes in, one internal request; one internal answer, bytes out.

A codec only transforms. It never touches a socket, a model, a clock or the journal, keeps no
state and may be called from any thread; the codec that read a request writes its answer.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from mlops.tables.signature import Signature

if TYPE_CHECKING:
    import numpy as np

    from mlops.tables.fit import RowFault

#: One cell of a request, as JSON has it.
Cell: TypeAlias = bool | int | float | str | None
#: The signature of a model that has none.
UNSIGNED = Signature()
#: Longest id of a caller's own, in characters. It is indexed, and echoed in headers.
MAX_CLIENT_ID = 256
#: Header, or gRPC metadata, with the caller's own id, in protocols that have no field for one.
CLIENT_ID_HEADER = "x-mlops-client-id"
#: Longest truth that is a text, in characters.
MAX_TRUTH = 10_000
#: Most outcomes in one request.
MAX_OUTCOMES = 10_000
#: What a model answers: an array (n,) or (n, k); a table as column name -> (n,) values; a list
#: of n JSON values (strings, objects) for models that answer neither; or one value for all rows.
Prediction: TypeAlias = "np.ndarray[Any, Any] | dict[str, Any] | list[Any] | Whole"


class Series(dict[str, Any]):
    """The one column of a pandas Series: a table to MLflow's clients, an array to all others."""


@dataclass(frozen=True, slots=True)
class Whole:
    """One answer to a whole request: a text, an object, a number for any number of rows."""

    value: Any


@dataclass(frozen=True, slots=True)
class Source:
    """What rows were made of, where a model may want that rather than the rows.

    Attributes:
        form: `inputs` or `instances`, `body` for a body that has neither, as of a chat, or `csv`.
        value: The JSON value; None for CSV.
    """

    form: str
    value: Any


# Payloads and requests are not frozen, which costs a microsecond or two for each that is made; they
# are never changed anyway.
@dataclass(slots=True)
class Rows:
    """n rows of k cells in column order; `names` (k,) where the protocol carries them."""

    values: Sequence[Sequence[Any]]
    names: tuple[str, ...] | None = None
    source: Source | None = field(default=None, compare=False)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.values)


@dataclass(slots=True)
class Records:
    """n objects, column name to cell; keys may differ from row to row."""

    values: Sequence[Mapping[str, Any]]
    source: Source | None = field(default=None, compare=False)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.values)


@dataclass(slots=True)
class Columns:
    """Named columns, each a list or array of n values; at least one column."""

    values: Mapping[str, Any]
    source: Source | None = field(default=None, compare=False)

    @property
    def n_rows(self) -> int:
        """Number of rows, that of the first column; the codec has checked that all agree."""
        return len(next(iter(self.values.values())))


@dataclass(slots=True)
class Tensor:
    """One unnamed array (n, …), as a NumPy array or a nested list; with a source also ragged."""

    values: Any
    source: Source | None = field(default=None, compare=False)

    @property
    def n_rows(self) -> int:
        """Size of the first axis."""
        return len(self.values)


Payload: TypeAlias = Rows | Records | Columns | Tensor


@dataclass(slots=True)
class InferenceRequest:
    """One prediction request, independent of its protocol.

    Attributes:
        payload: The rows to predict; at least one row, but for MLflow's protocol.
        client_id: The caller's own id (`puid`, V2 `id`, `X-Mlops-Client-Id`); echoed where the
            protocol echoes it.
        parameters: Request-level parameters meant for the model.
        wanted: The codec's own note on the form of the answer (for Seldon v1 `ndarray` or
            `tensor`, for V2 the requested outputs); opaque to all other code.
    """

    payload: Payload
    client_id: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    wanted: Any = None

    @property
    def n_rows(self) -> int:
        """Number of rows to predict."""
        return self.payload.n_rows


@dataclass(slots=True)
class InferenceResponse:
    """One answer, before it is written in a protocol's form.

    Attributes:
        prediction: What the arm's model answered, n rows.
        request_id: The id minted by the router; feedback names it.
        deployment: Name of the deployment, the model's name in protocols that have one.
        revision: Number of the revision that answered, from 1.
        arm: Name of the arm that answered.
        arm_index: Its position in the revision, from 0.
        version: The model version of the arm, as callers see it, for example `wine/3`.
        client_id: The caller's own id, if it sent one.
        output_names: Names of the k output columns, if the model's signature has them.
    """

    prediction: Prediction
    request_id: str
    deployment: str
    revision: int
    arm: str
    arm_index: int
    version: str
    client_id: str | None = None
    output_names: tuple[str, ...] | None = None


class Kind(enum.Enum):
    """Why a request was refused or failed; each transport maps it to a code of its own."""

    MALFORMED = enum.auto()
    """The body is not of the protocol's form: bad JSON, wrong key, ragged rows."""
    MISMATCH = enum.auto()
    """Well formed, but the model's signature refuses it."""
    UNKNOWN_MODEL = enum.auto()
    SLOW_BODY = enum.auto()
    TOO_LARGE = enum.auto()
    UNSUPPORTED_MEDIA = enum.auto()
    MODEL_FAILED = enum.auto()
    UPSTREAM = enum.auto()
    """The server that has the model cannot be reached, or answers nonsense."""
    NOT_READY = enum.auto()
    BUSY = enum.auto()
    """As much as there is room for is under way already; the same may be sent again."""
    DEADLINE = enum.auto()
    DISK_FULL = enum.auto()
    UNAUTHENTICATED = enum.auto()
    """The caller is not known: the key or token is missing, wrong, or over."""
    FORBIDDEN = enum.auto()
    """It is known who asks, and they may not."""
    TOO_MANY = enum.auto()
    """Their key has sent more than it may; the same may be sent again later."""


class ProtocolError(Exception):
    """A request that cannot be answered with a prediction.

    Args:
        kind: What sort of failure it is.
        message: For the caller: the offending name, value, row or size, and what was expected.
        fault: Of one row: what the message says.
    """

    def __init__(self, kind: Kind, message: str, fault: RowFault | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self._fault = fault

    def counted_from(self, first: int) -> str:
        """Return the message for a caller in whose data the first row has this number."""
        return self._fault.counted_from(first) if self._fault else self.message


@dataclass(slots=True)
class Encoded:
    """An answer in a protocol's form.

    Attributes:
        status: HTTP status.
        body: The whole body.
        content_type: Its media type.
        headers: Further headers of this protocol, lower-case names; the router's own headers
            (`x-mlops-request-id`, `x-mlops-arm`, `x-mlops-revision`) are added by the server.
    """

    status: int
    body: bytes
    content_type: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """One piece of feedback as a client sends it, before it is checked and stored.

    Attributes:
        request_id: The router's id of the prediction, if the client has it.
        client_id: Else the client's own id of the request; it must be unique to be accepted.
        row: Row of the request it is about, from 0; None for the whole request.
        reward: Higher is better; finite. None if only the truth is known.
        truth: The true value (number, string or bool), of several outputs a list or an object by
            name. None if only a reward is given.
        outcome_id: The client's own id of this piece of feedback, by which a retry is known.
        of_rows: Rows that the request must have, as it came in a list of so many; 0 for any number.
        of_list: What it came in: the same object for all outcomes of one list, and for no others;
            None if it came alone.
    """

    request_id: str | None
    client_id: str | None = None
    row: int | None = None
    reward: float | None = None
    truth: Any = None
    outcome_id: str | None = None
    of_rows: int = 0
    of_list: object = field(default=None, compare=False, repr=False)


def is_client_id(text: str) -> bool:
    r"""Whether `text` may be a caller's own id: neither endless nor with control characters.

    >>> is_client_id("order 7"), is_client_id("a\0b")
    (True, False)
    """
    return len(text) <= MAX_CLIENT_ID and text.isprintable()


def client_id_of(headers: Mapping[str, str]) -> str | None:
    """Return the caller's own id of a request whose body has no field for one.

    Gateways set `X-Request-Id` themselves, so our own header goes before it.

    >>> client_id_of({"x-request-id": "set by nginx", "x-mlops-client-id": "order 7"})
    'order 7'
    >>> client_id_of({"x-request-id": "order 7"})
    'order 7'
    """
    return headers.get(CLIENT_ID_HEADER) or headers.get("x-request-id") or None


class Codec(Protocol):
    """Reads requests and writes answers of one protocol. Stateless, thread-safe.

    A codec of another package has `paths` too: those to which its clients post predictions.
    """

    def decode(
        self, body: bytes, headers: Mapping[str, str], signature: Signature = UNSIGNED
    ) -> InferenceRequest:
        """Read a request.

        Args:
            body: The whole body, at most the server's size limit.
            headers: Header names in lower case.
            signature: What the live models take: cells of CSV are text, and have no type but that.

        Raises:
            ProtocolError: `MALFORMED` or `UNSUPPORTED_MEDIA`; any bytes whatever give this or a
                request, never another exception.
        """
        ...

    def encode(self, response: InferenceResponse, request: InferenceRequest) -> Encoded:
        """Write the answer to `request`, which this codec has read.

        Raises:
            ProtocolError: `MODEL_FAILED` if the prediction has no form in this protocol.
        """
        ...

    def encode_error(self, error: ProtocolError) -> Encoded:
        """Write a failure in the shape this protocol's clients expect."""
        ...
