"""Feedback at the door: read, check the id, store, tell what became of it."""

from __future__ import annotations

import asyncio
import io
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from mlops.journal.base import JournalUnavailableError
from mlops.journal.records import WHOLE_REQUEST, Fate, NewOutcome, StoredOutcome
from mlops.journal.writer import JournalWriter
from mlops.protocols.base import (
    MAX_OUTCOMES,
    MAX_TRUTH,
    Kind,
    Outcome,
    ProtocolError,
    is_client_id,
)
from mlops.protocols.json_body import shown
from mlops.rewards import REWARDS, Range, capped, is_within, reward_range
from mlops.serving.engine import Engine
from mlops.serving.metrics import LATE, Metrics
from mlops.spec.deployment import Arm, DeploymentSpec
from mlops.spec.request_id import ForgedRequestIdError, RequestId, read

# A database that neither answers nor refuses must not hold its senders for ever.
_PATIENCE_S = 20.0
_MAX_ROW = 1_000_000
_MAX_ID = 10_000
_STORED = (Fate.ACCEPTED, Fate.UNMATCHED)

#: Statuses by which a single piece of feedback tells its sender that it was not stored.
REFUSALS = {
    "forged": 400,
    "unknown": 404,
    "ambiguous": 409,
    "no_such_row": 422,
    "out_of_range": 422,
}
_ADVICE = {
    "forged": "this request id was not made by this deployment",
    "unknown": "no request has this client id",
    "ambiguous": "several requests have this client id; name the request id instead",
    "no_such_row": "the request has fewer rows",
}


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one sender is told of one outcome.

    Attributes:
        fate: `accepted`, `unmatched`, `duplicate`, or one of `REFUSALS`.
        arm: Name of the arm that is credited, where it is known.
        revision: Number of its revision, 0 if unknown.
        late: Whether that revision is no longer live.
    """

    fate: str
    arm: str = ""
    revision: int = 0
    late: bool = False


class OutcomeDesk:
    """Takes feedback for one deployment.

    Args:
        engine: Knows the key and the live revision.
        metrics: Takes the counts.
        specs: What each revision that is known here was; read at each use.
        patience_s: How long the journal may take.
    """

    def __init__(
        self,
        engine: Engine,
        metrics: Metrics,
        specs: Mapping[int, DeploymentSpec],
        *,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._specs = specs
        self._patience_s = patience_s

    async def take(self, outcomes: Sequence[Outcome], writer: JournalWriter) -> list[Receipt]:
        """Store outcomes and return a receipt for each, in order, once they are durable.

        Raises:
            JournalUnavailableError: None of them was stored; or, where the journal takes too long,
                nobody knows yet.
        """
        now_ms = time.time_ns() // 1_000_000
        checked = [self._check(outcome, now_ms) for outcome in outcomes]
        genuine = [item for item in checked if isinstance(item, NewOutcome)]
        stored: list[StoredOutcome] = []
        if genuine:
            stored = await self._store(genuine, writer)
        fates = iter(stored)
        receipts = [
            item if isinstance(item, Receipt) else self._receipt(next(fates)) for item in checked
        ]
        self._count(receipts)
        return receipts

    async def _store(
        self, outcomes: Sequence[NewOutcome], writer: JournalWriter
    ) -> list[StoredOutcome]:
        future = asyncio.wrap_future(writer.add_outcomes(outcomes))
        try:
            return await asyncio.wait_for(future, self._patience_s)
        except TimeoutError:
            raise JournalUnavailableError(
                f"The journal did not answer within {self._patience_s:g} s.",
                hint="Send it again later; what was stored after all is not counted twice.",
            ) from None

    def _check(self, outcome: Outcome, now_ms: int) -> NewOutcome | Receipt:
        """Read the id of an outcome; the receipt if that decides already."""
        rid: RequestId | None = None
        if outcome.request_id is not None:
            try:
                rid = read(self._engine.key, outcome.request_id)
            except ForgedRequestIdError:
                return Receipt("forged")
        elif outcome.client_id is not None and not is_client_id(outcome.client_id):
            # No prediction has such an id, and not every database can be asked for it.
            return Receipt(Fate.UNKNOWN.value)
        if self._is_out_of_range(outcome.reward, rid):
            return Receipt("out_of_range")
        return NewOutcome(
            nonce=rid.nonce if rid else None,
            client_id=outcome.client_id,
            row=WHOLE_REQUEST if outcome.row is None else outcome.row,
            time_ms=now_ms,
            revision=rid.revision if rid else 0,
            arm=rid.arm if rid else 0,
            propensity=rid.propensity if rid else 0.0,
            reward=outcome.reward,
            truth=_normal(outcome.truth),
        )

    def _is_out_of_range(self, reward: float | None, rid: RequestId | None) -> bool:
        """Whether no revision that this may be about takes such a reward."""
        if reward is None:
            return False
        # A client's own id does not say which revision answered.
        specs = list(self._specs.values()) if rid is None else [self._specs.get(rid.revision)]
        return bool(specs) and all(spec and not is_within(reward, _range(spec)) for spec in specs)

    def advice(self, outcome: Outcome, fate: str) -> str:
        """Say why an outcome met one of the `REFUSALS`."""
        if fate != "out_of_range":
            return _ADVICE[fate]
        spec = self._engine.live.served.revision.spec
        if outcome.request_id is not None:
            spec = self._specs.get(read(self._engine.key, outcome.request_id).revision, spec)
        low, high = _range(spec) or (-math.inf, math.inf)
        return f"the reward {outcome.reward:g} is outside the declared range, {low:g} to {high:g}"

    def _receipt(self, stored: StoredOutcome) -> Receipt:
        if stored.fate in (Fate.UNKNOWN, Fate.AMBIGUOUS):
            return Receipt(stored.fate.value)
        revision = stored.outcome.revision
        arm = self._arm(stored.outcome)
        late = revision != self._engine.live.served.revision.number
        return Receipt(stored.fate.value, arm.name if arm else "", revision, late)

    def _arm(self, outcome: NewOutcome) -> Arm | None:
        """Return the arm an outcome is credited to; None if its revision is not known here."""
        spec = self._specs.get(outcome.revision)
        return spec.arms[outcome.arm] if spec and outcome.arm < len(spec.arms) else None

    def _count(self, receipts: Sequence[Receipt]) -> None:
        with self._metrics.lock:
            for receipt in receipts:
                self._metrics.feedback[receipt.fate] += 1
                if receipt.late and receipt.fate in ("accepted", "unmatched"):
                    self._metrics.feedback[LATE] += 1

    def learn(self, stored: Sequence[StoredOutcome]) -> None:
        """Add stored outcomes to the metrics; called in the journal's thread after the commit."""
        with self._metrics.lock:
            for item in stored:
                outcome = item.outcome
                arm = self._arm(outcome)
                if item.fate not in _STORED or arm is None or outcome.propensity == 0:
                    continue
                counters = self._metrics.arm(arm.name, arm.model.label)
                value = outcome.reward
                if outcome.truth is not None and item.prediction is not None:
                    counters.truth(item.prediction, outcome.truth)
                    if value is None:
                        value = _derived(self._specs[outcome.revision], item)
                if value is not None:
                    counters.reward(value)


def _derived(spec: DeploymentSpec, item: StoredOutcome) -> float | None:
    if spec.reward not in REWARDS:
        return None
    try:
        reward = REWARDS.load(spec.reward)(item.prediction, item.outcome.truth)
    except ValueError:
        return None
    return capped(reward, _range(spec))


def _range(spec: DeploymentSpec) -> Range | None:
    return reward_range(spec.reward, spec.reward_range)


def _normal(truth: Any) -> Any:  # noqa: ANN401 - a JSON value
    """Write whole numbers as doubles, so that 6 and 6.0 are one truth in the journal."""
    return float(truth) if isinstance(truth, int) and not isinstance(truth, bool) else truth


def counts(receipts: Sequence[Receipt]) -> dict[str, int]:
    """Count receipts by fate, and the late ones among the stored."""
    found = Counter(receipt.fate for receipt in receipts)
    found["late"] = sum(
        receipt.late for receipt in receipts if receipt.fate in ("accepted", "unmatched")
    )
    return {name: count for name, count in found.items() if count}


def read_outcomes(body: bytes, content_type: str) -> list[Outcome]:
    """Read feedback in our own form.

    One JSON object with `request_id` (or `client_id`), `reward` or `truth` or both, and
    optionally `row`; or an object with a list of them in `outcomes`; or, as
    `application/x-ndjson`, one object a line. A `truth` or `reward` that is a list holds one
    value per row of the request.

    Raises:
        ProtocolError: `MALFORMED` or `TOO_LARGE`; nothing of the body may be used.
    """
    outcomes: list[Outcome] = []
    for number, document in enumerate(_documents(body, content_type)):
        outcomes += _outcomes(document, number)
        _check_count(len(outcomes))
    if not outcomes:
        raise ProtocolError(Kind.MALFORMED, "There is no feedback in this request.")
    return outcomes


def _documents(body: bytes, content_type: str) -> Iterator[Any]:
    """Yield the JSON value of each outcome."""
    if "ndjson" in content_type:
        for number, line in enumerate(io.BytesIO(body), 1):
            if line.strip():
                yield _json(line, number)
        return
    document = _json(body, 0)
    if not isinstance(document, dict) or "outcomes" not in document:
        yield document
    elif isinstance(document["outcomes"], list):
        yield from document["outcomes"]


def _check_count(count: int) -> None:
    if count > MAX_OUTCOMES:
        raise ProtocolError(
            Kind.TOO_LARGE, f"More than {MAX_OUTCOMES} outcomes in one request; send fewer."
        )


def _json(text: bytes, line: int) -> Any:  # noqa: ANN401 - a JSON value
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        where = f"line {line}: " if line else ""
        raise ProtocolError(Kind.MALFORMED, f"{where}not JSON: {error}") from None


def _outcomes(document: Any, number: int) -> list[Outcome]:  # noqa: ANN401 - a JSON value
    def fault(text: str) -> ProtocolError:
        return ProtocolError(Kind.MALFORMED, f"feedback {number}: {text}")

    if not isinstance(document, dict):
        raise fault(f"an object is expected, not {shown(document)}")
    unknown = set(document) - {"request_id", "client_id", "row", "reward", "truth"}
    if unknown:
        raise fault(f"unknown key {shown(min(unknown))}")
    ids = {name: document.get(name) for name in ("request_id", "client_id")}
    for name, value in ids.items():
        if value is not None and not (isinstance(value, str) and 0 < len(value) <= _MAX_ID):
            raise fault(f"`{name}` must be text, not {shown(value)}")
    if all(value is None for value in ids.values()):
        raise fault("`request_id` is missing")
    row = document.get("row")
    if row is not None and (
        isinstance(row, bool) or not isinstance(row, int) or not 0 <= row < _MAX_ROW
    ):
        raise fault(f"`row` must be a whole number from 0, not {shown(row)}")
    try:
        pairs = _pairs(document.get("reward"), document.get("truth"), row)
    except ValueError as error:
        raise fault(str(error)) from None
    # An id of our own decides; the client's is then only its label.
    client_id = None if ids["request_id"] else ids["client_id"]
    return [Outcome(ids["request_id"], client_id, *pair) for pair in pairs]


def _pairs(reward: Any, truth: Any, row: int | None) -> list[tuple[int | None, float | None, Any]]:  # noqa: ANN401 - JSON values
    if reward is None and truth is None:
        raise ValueError("`reward` or `truth` is needed")
    if not isinstance(reward, list) and not isinstance(truth, list):
        return [(row, _reward(reward), _truth(truth))]
    if row is not None:
        raise ValueError("a list holds one value per row and goes without `row`")
    size = len(reward if isinstance(reward, list) else truth)
    _check_count(size)
    rewards = reward if isinstance(reward, list) else [reward] * size
    truths = truth if isinstance(truth, list) else [truth] * size
    if len(rewards) != len(truths) or not size:
        raise ValueError("`reward` and `truth` must have one value per row")
    pairs: list[tuple[int | None, float | None, Any]] = [
        (i, _reward(r), _truth(t)) for i, (r, t) in enumerate(zip(rewards, truths, strict=True))
    ]
    # Null says that a row is not known yet; stored, it would make the real one a duplicate.
    known = [pair for pair in pairs if pair[1] is not None or pair[2] is not None]
    if not known:
        raise ValueError("every row is null")
    return known


def _reward(value: Any) -> float | None:  # noqa: ANN401 - a JSON value
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"a reward must be a finite number, not {shown(value)}")
    return float(value)


def _truth(value: Any) -> Any:  # noqa: ANN401 - a JSON value
    if isinstance(value, dict | list) or (isinstance(value, str) and len(value) > MAX_TRUTH):
        raise ValueError("a truth must be a number, a text or a boolean")
    return value


__all__ = ["JournalUnavailableError", "OutcomeDesk", "Receipt", "counts", "read_outcomes"]
