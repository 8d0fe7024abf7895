"""Rows of the journal, as the parts around it see them."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

#: One value as JSON has it.
Value: TypeAlias = bool | int | float | str | None
#: `Outcome.row` of feedback about a whole request.
WHOLE_REQUEST = -1


class Decision(NamedTuple):
    """One request that an arm was drawn for; a tuple, since one is made for each request.

    Attributes:
        nonce: Identity of the decision, 12 bytes; a retry has the same.
        time_ms: When the arm was drawn, milliseconds since 1970 in UTC.
        revision: Revision that answered.
        arm: Position of the arm in it, from 0.
        propensity: Probability in [0, 1] with which it was drawn; 0 if a tester forced it.
        n_rows: Rows of the request, at least 1.
        latency_us: From request read to answer written, microseconds.
        status: HTTP status of the answer.
        protocol: Name of the codec.
        client_id: The caller's own id, if any.
        unit: Keyed hash of the sticky unit, 8 bytes, if the deployment has one.
        features: The request's rows as `mlops.journal.features.features_of` writes them, or None
            where they are not kept.
        predictions: One JSON value per row, or None after a failure.
        epoch: Policy epoch of the revision whose probabilities were in force.
        key_id: Id of the API key, or of the token's client, that the caller sent; None for none.
    """

    nonce: bytes
    time_ms: int
    revision: int
    arm: int
    propensity: float
    n_rows: int
    latency_us: int
    status: int
    protocol: str
    client_id: str | None = None
    unit: bytes | None = None
    features: bytes | None = None
    predictions: list[Any] | None = None
    epoch: int = 0
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class ShadowDecision:
    """A shadow's answer to the copy of a request. Its answer was not returned.

    Attributes:
        nonce: Identity of the decision whose request it was.
        revision: Revision that answered.
        shadow: Position of the shadow in it, from 0.
        time_ms: When the shadow had answered, milliseconds since 1970 in UTC.
        latency_us: From its turn in the queue to its answer, microseconds.
        status: HTTP status that its answer would have had.
        predictions: One JSON value per row, or None after a failure.
    """

    nonce: bytes
    revision: int
    shadow: int
    time_ms: int
    latency_us: int
    status: int
    predictions: list[Any] | None = None


@dataclass(frozen=True, slots=True)
class ShadowPair:
    """A shadow's answer beside the one that was served.

    Attributes:
        revision: Revision that answered.
        shadow: Position of the shadow in it.
        status: Status that the shadow's answer would have had.
        latency_us: Its latency in microseconds.
        predictions: What it predicted, one JSON value per row; None after a failure.
        arm: Position of the arm that was served; None if its decision is not in the journal.
        served_status: Status of what was served.
        served_latency_us: Latency of what was served.
        served_predictions: What was served.
    """

    revision: int
    shadow: int
    status: int
    latency_us: int
    predictions: list[Any] | None
    arm: int | None
    served_status: int | None
    served_latency_us: int | None
    served_predictions: list[Any] | None


@dataclass(frozen=True, slots=True)
class ShadowTruth:
    """One row whose truth is known, with what a shadow and the served arm predicted for it.

    Attributes:
        revision: Revision that answered.
        shadow: Position of the shadow in it.
        arm: Position of the arm that was served.
        prediction: What the shadow predicted; None after a failure.
        served: What was served; None after a failure.
        truth: The true value.
    """

    revision: int
    shadow: int
    arm: int
    prediction: Value
    served: Value
    truth: Value


@dataclass(frozen=True, slots=True)
class NewOutcome:
    """Feedback about to be stored, its id already checked.

    Attributes:
        nonce: The decision it is about, or None where only the client's id is known.
        client_id: The client's own id, used where `nonce` is None.
        row: Row of the request from 0, or `WHOLE_REQUEST`.
        time_ms: When it arrived, milliseconds since 1970 in UTC.
        revision: From the request id; 0 if not known yet.
        arm: From the request id.
        propensity: From the request id.
        reward: Finite, higher is better; None if only the truth is known.
        truth: The true value, of several outputs a list or an object by name; None if only a reward
            is given.
        outcome_id: The sender's own id of this outcome; sent again with it, it is a duplicate.
        repeatable: Whether its row may have several outcomes, which correct the ones before or add
            to them.
        key_id: Id of the API key, or of the token's client, that its sender sent; None for none.
        of_rows: Rows that its request must have, as it came in a list of so many; 0 for any number.
        of_list: What it came in: the same object for all outcomes of one list, which follow each
            other, and for no others. None if it came alone.
        outputs_of: Says which outputs the arm that answered has, by name and in order, if they are
            known; called in the journal's thread with an outcome whose arm is known.
    """

    nonce: bytes | None
    client_id: str | None
    row: int
    time_ms: int
    revision: int
    arm: int
    propensity: float
    reward: float | None
    truth: Value
    outcome_id: str | None = None
    repeatable: bool = False
    key_id: str | None = None
    of_rows: int = 0
    of_list: object = field(default=None, compare=False, repr=False)
    outputs_of: Callable[[NewOutcome], Sequence[str]] | None = field(
        default=None, compare=False, repr=False
    )


class Fate(enum.Enum):
    """The status of one piece of feedback."""

    ACCEPTED = "accepted"
    """Stored, and joined to its decision."""
    UNMATCHED = "unmatched"
    """Stored and credited to its arm; the decision's row is not in the journal (yet)."""
    DUPLICATE = "duplicate"
    """The same outcome was stored before."""
    CONFLICT = "conflict"
    """This row of this request has another outcome, or another with its id; not stored."""
    UNKNOWN = "unknown"
    """No request has this client id; not stored."""
    AMBIGUOUS = "ambiguous"
    """Several requests have this client id; not stored."""
    NO_SUCH_ROW = "no_such_row"
    """The request has fewer rows; not stored."""
    MISFIT = "misfit"
    """Its list has not one value per row, or its truth not one value per output; not stored."""
    PART = "part"
    """Counted with the first outcome of its list, whose status is that of the whole list."""


@dataclass(frozen=True, slots=True)
class StoredOutcome:
    """The result of a `NewOutcome`, with what is known of its decision.

    Attributes:
        fate: Its status.
        outcome: The outcome, with revision and arm filled in where its decision is known.
        prediction: What was predicted for its row; None if unknown or for a whole request.
        single_row: Whether its request is known to have a single row; feedback about the whole of
            it is then stored as about row 0.
        ordinal: 0 for the first outcome of its row, else how many were stored before it.
        n_rows: Rows of its request; 0 if unknown.
        decided_ms: When its arm was drawn; None if its decision is not known.
        id_taken: Whether it is a conflict because its `outcome_id` is that of another outcome.
    """

    fate: Fate
    outcome: NewOutcome
    prediction: Value = None
    single_row: bool = False
    ordinal: int = 0
    n_rows: int = 0
    decided_ms: int | None = None
    id_taken: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """One stored outcome joined to its decision, as folds read it.

    Attributes:
        seq: Order of arrival.
        nonce: Identity of the decision.
        row: Row of the request, or `WHOLE_REQUEST`.
        time_ms: When the feedback arrived, milliseconds since 1970 in UTC.
        revision: Revision that answered.
        arm: Position of the arm in it.
        propensity: Probability with which it was drawn; 0 if forced.
        reward: Reward as sent, else None.
        truth: Truth as sent, else None.
        prediction: What was predicted for the row, if the decision is known.
        unit: Keyed hash of the sticky unit, if there is one.
        decided_ms: When the arm was drawn, if the decision is known.
        ordinal: 0 for the first outcome of its row, else how many were stored before it.
        key_id: API key that it came with; None for none.
    """

    seq: int
    nonce: bytes
    row: int
    time_ms: int
    revision: int
    arm: int
    propensity: float
    reward: float | None
    truth: Value
    prediction: Value
    unit: bytes | None
    decided_ms: int | None
    ordinal: int = 0
    key_id: str | None = None

    def may_join(self, now_ms: int, within_ms: float) -> bool:
        """Whether its decision is not there, and another worker may still store it.

        Args:
            now_ms: Now, milliseconds since 1970 in UTC.
            within_ms: How long that may take.
        """
        # One from a clock that is ahead is not waited for until then.
        return self.decided_ms is None and abs(now_ms - self.time_ms) < within_ms


@dataclass(frozen=True, slots=True)
class Void:
    """Outcomes of one revision that were voided together.

    Attributes:
        revision: Revision whose outcomes they were.
        time_ms: When they were voided, milliseconds since 1970 in UTC.
        reason: Why.
        by: Who did it.
        outcomes: How many.
    """

    revision: int
    time_ms: int
    reason: str
    by: str
    outcomes: int


@dataclass(frozen=True, slots=True)
class DrawnRequest:
    """One request for which the policy drew an arm, whether or not there is feedback about it.

    Attributes:
        nonce: Identity of the decision, 12 bytes.
        time_ms: When the arm was drawn, milliseconds since 1970 in UTC.
        revision: Revision that answered.
        arm: Position of the arm in it.
        propensity: Probability in (0, 1] with which it was drawn.
        status: HTTP status of the answer.
        unit: Keyed hash of the sticky unit, 8 bytes, if there is one.
        latency_us: From request read to answer written, microseconds.
        epoch: Policy epoch by which it was drawn; -1 if it is not known.
    """

    nonce: bytes
    time_ms: int
    revision: int
    arm: int
    propensity: float
    status: int
    unit: bytes | None
    latency_us: int = 0
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """One row whose features and truth are both known.

    Attributes:
        nonce: Identity of the decision it belongs to.
        unit: Keyed hash of the sticky unit, if there is one.
        features: Column name to cell; or the cells in order, where the request had no names.
        truth: The true value.
        arm: Position of the arm that was served.
        propensity: Probability with which it was drawn; 0 if forced.
        revision: Revision that answered.
        decided_ms: When its arm was drawn, milliseconds since 1970 in UTC.
        time_ms: When its truth arrived, likewise.
        key_id: API key that its truth came with; None for none.
        served: What was predicted for the row; None after a failure.
    """

    nonce: bytes
    unit: bytes | None
    features: dict[str, Any] | list[Any]
    truth: Value
    arm: int = 0
    propensity: float = 1.0
    revision: int = 0
    decided_ms: int = 0
    time_ms: int = 0
    key_id: str | None = None
    served: Value = None


@dataclass(frozen=True, slots=True)
class Traffic:
    """Decisions of one arm of one revision, counted.

    Attributes:
        revision: Revision.
        arm: Position of the arm in it.
        drawn: Requests for which the policy drew it, each sticky unit counted once as `units`.
        units: Distinct sticky units among them; equal to `drawn` where there are none.
        forced: Requests for which a tester chose it.
        errors: Requests answered with a status of 500 or more.
        rows: Rows predicted.
        latency_us_mean: Mean latency of drawn requests in microseconds.
        first_ms: Time of the first decision, milliseconds since 1970 in UTC.
        last_ms: Time of the last.
        refused: Drawn requests answered with a status of 400 to 499: the model refused the rows.
        alone: Drawn requests without a sticky unit, each a unit of its own.
    """

    revision: int
    arm: int
    drawn: int
    units: int
    forced: int
    errors: int
    rows: int
    latency_us_mean: float
    first_ms: int
    last_ms: int
    refused: int = 0
    alone: int = 0


@dataclass(frozen=True, slots=True)
class TrafficSlice:
    """Decisions of one arm of one revision during one stretch of time.

    Attributes:
        start_ms: Start of the stretch, milliseconds since 1970 in UTC; a multiple of its width.
        revision: Revision.
        arm: Position of the arm in it.
        drawn: Requests for which the policy drew it.
    """

    start_ms: int
    revision: int
    arm: int
    drawn: int


@dataclass(frozen=True, slots=True)
class RevisionEvent:
    """A revision went live, a server started, stopped or had no journal, or something was left.

    Attributes:
        revision: Revision concerned.
        time_ms: When, milliseconds since 1970 in UTC.
        event: `live`, `started`, `stopped`, `note`; `paired`; or `unwritable` and `writable`,
            between which the journal could not be written.
        spec: The revision's spec as JSON data, for `live` and `started`; the text of a `note`; the
            comparison on the same rows that was `paired` at the end of an experiment; in it, and of
            `stopped` alone, which `server` it was.
    """

    revision: int
    time_ms: int
    event: str
    spec: dict[str, Any] | None = None

    @property
    def server(self) -> str:
        """Host and folder of the server that it is about; empty in journals of older versions."""
        return str((self.spec or {}).get("server", ""))


@dataclass(frozen=True, slots=True)
class Loss:
    """Rows of a kind that had to be shed.

    Attributes:
        kind: `decision`, `shadow` for an answer of a shadow, `features` of a decision, or the
            `dropped_copies` of one shadow.
        count: How many.
        time_ms: When that was recorded, milliseconds since 1970 in UTC.
    """

    kind: str
    count: int
    time_ms: int


def dropped_copies(shadow: str, version: str) -> str:
    """Return the kind of loss of copies that a shadow was too slow for.

    >>> dropped_copies("try", "wine/3")
    'shadow:try:wine/3'
    """
    return f"shadow:{shadow}:{version}"


@dataclass(frozen=True, slots=True)
class PolicyEpoch:
    """The probabilities with which arms are drawn from a moment on.

    Attributes:
        revision: Revision whose arms they are.
        epoch: Its number within the revision, from 0; a decision names it.
        time_ms: When it came into force, milliseconds since 1970 in UTC.
        probabilities: One in [0, 1] per arm of the revision; where they depend on the request,
            what they are without knowledge of it.
        parameters: Whatever else a policy needs to go on, as JSON data. Of one of several vectors
            that requests are drawn by as their features say, `of`: the number of the first.
    """

    revision: int
    epoch: int
    time_ms: int
    probabilities: tuple[float, ...]
    parameters: dict[str, Any] | None = None

    @property
    def of_vectors(self) -> int | None:
        """Number of the first of the vectors that it is one of; None if it is no such vector."""
        found = (self.parameters or {}).get("of")
        return None if found is None else int(found)


#: What is recorded beside decisions and outcomes.
Fact: TypeAlias = ShadowDecision | Loss | RevisionEvent | PolicyEpoch
