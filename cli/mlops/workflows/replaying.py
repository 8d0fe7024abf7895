"""`mlops audit replay`: one prediction again, by the model as it was, and why that arm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import orjson

from mlops.deployment.isolation import isolate
from mlops.deployment.journals import open_journal
from mlops.deployment.runtime_files import pick_name, places, read_server_state
from mlops.errors import MlopsError, NotFoundError
from mlops.journal.features import not_kept
from mlops.journal.json_text import as_json
from mlops.journal.looking_up import StoredDecision
from mlops.journal.sql import SqlJournal
from mlops.policies.base import State
from mlops.policies.drawing import Draws
from mlops.policies.making import make_policy
from mlops.protocols.base import ProtocolError, Rows
from mlops.protocols.predictions import rows_of
from mlops.registry import fetched, open_registry
from mlops.registry.artifact_digest import read_content
from mlops.registry.ledger import Entry, Ledger
from mlops.registry.trust import check_trusted
from mlops.runtimes.load import load_model
from mlops.settings import Settings
from mlops.spec.deployment import Arm, DeploymentSpec
from mlops.spec.request_id import RequestId, has_fresh_nonce, read
from mlops.spec.unit import salt_of, unit_hash

Result: TypeAlias = Literal["same", "differs", "unknown"]

_FULL = 2.0**64
# A request id holds a propensity in 32 bits.
_ID_PRECISION = 1e-9


@dataclass(frozen=True, slots=True)
class ReplayedAnswer:
    """A repeated prediction beside the logged one.

    Attributes:
        result: Whether they are the same; unknown if one of them is not available.
        reason: Why, human-readable.
        logged: What was answered, one JSON value per row; None where it is not known.
        replayed: What the model answers now.
        largest_difference: Of two numbers in the same place; None where there are none.
        model: The model, as `wine/3`.
        content: Digest of its files now; empty where it was not loaded.
        content_then: Digest when its revision was deployed; empty if that was not recorded.
        runtime: What executed it now, and then; empty where that is not known.
    """

    result: Result
    reason: str
    logged: list[Any] | None
    replayed: list[Any] | None
    largest_difference: float | None
    model: str
    content: str
    content_then: str
    runtime: tuple[str, str]


@dataclass(frozen=True, slots=True)
class ReplayedChoice:
    """How an arm was chosen, recomputed.

    Attributes:
        result: Whether that leads to the arm that answered.
        reason: How, human-readable.
        how: `drawn`, `kept` for a sticky unit that came before, `forced`; empty if unknown.
        propensity: Probability with which it was drawn; 0 if a tester forced it.
        number: What was drawn, in [0, 1): from the unit's hash, else from the request's nonce.
        epoch: Policy epoch by which it was drawn.
        shares: Probabilities of the arms in that epoch.
        unit: Keyed hash of the sticky unit, hexadecimal; empty for none.
    """

    result: Result
    reason: str
    how: str
    propensity: float
    number: float | None
    epoch: int
    shares: tuple[float, ...]
    unit: str


@dataclass(frozen=True, slots=True)
class Replay:
    """One decision, recomputed.

    Attributes:
        name: Deployment.
        request_id: As the prediction gave it.
        time_ms: When its arm was drawn, milliseconds since 1970 in UTC.
        revision: Revision that answered.
        arm: Arm that answered.
        result: `same` if answer and arm are; `differs` if one of them does.
        answer: The prediction.
        choice: The arm.
        key_id: API key that the caller sent; empty for none.
    """

    name: str
    request_id: str
    time_ms: int
    revision: int
    arm: str
    result: Result
    answer: ReplayedAnswer
    choice: ReplayedChoice
    key_id: str


def replay(settings: Settings, name: str | None, request_id: str, unit: str = "") -> Replay:
    """Predict again for a request of the journal, and recompute its arm. Runs model code.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        request_id: As the prediction gave it.
        unit: Value of the sticky unit, to be compared with its hash; empty if it is not known.

    Raises:
        InvalidInputError: The id is not of this deployment.
        NotFoundError: Its revision is not in the ledger; or there is no such deployment.
        RemoteError: Ledger or journal cannot be read.
    """
    picked = pick_name(settings, name)
    where = places(settings, picked)
    if not where.key.exists():
        raise NotFoundError(f"The key that made this request id is not here: `{where.key}`.")
    key = where.key.read_bytes()
    rid = read(key, request_id)
    ledger = Ledger(open_registry(settings, reading=True), settings, picked)
    entry = ledger.entry(rid.revision)
    spec = entry.intent.spec
    journal = open_journal(settings, picked, read_server_state(where))
    try:
        stored = journal.decision(rid.nonce)
        choice = _Choosing(journal, ledger, entry, rid, stored, key).again(unit)
        answer = _answered(settings, ledger, entry, rid, stored)
    finally:
        journal.close()
    results = {answer.result, choice.result}
    both: Result = choice.result if len(results) == 1 else "unknown"
    return Replay(
        name=picked,
        request_id=request_id,
        time_ms=rid.time_ms,
        revision=rid.revision,
        arm=spec.arms[rid.arm].name,
        result="differs" if "differs" in results else both,
        answer=answer,
        choice=choice,
        key_id=(stored.decision.key_id if stored else "") or "",
    )


def _answered(
    settings: Settings, ledger: Ledger, entry: Entry, rid: RequestId, stored: StoredDecision | None
) -> ReplayedAnswer:
    """Predict again, as far as what is needed for that is there."""
    arm = entry.intent.spec.arms[rid.arm]
    then = str(ledger.contents(entry.number).get(arm.name, arm.model.digest))
    runtime = str(ledger.runtimes(entry.number).get(arm.name, {}).get("name", ""))
    logged = stored.decision.predictions if stored else None
    told = _Told(logged, arm.model.label, then, runtime)
    missing = _missing(arm, rid, stored)
    if missing:
        return told.unknown(missing)
    assert stored is not None
    assert stored.rows is not None
    try:
        with fetched([arm.model], settings) as (folder,):
            return _predicted(settings, entry.intent.spec, arm, folder, stored, told)
    except MlopsError as error:
        return told.unknown(f"the model cannot be loaded: {error.message}")


def _missing(arm: Arm, rid: RequestId, stored: StoredDecision | None) -> str:
    """Say what a prediction would need and is not there; empty if all is."""
    if stored is None:
        return "the request is not in the journal: it was shed under load, or is of another journal"
    decision = stored.decision
    if (decision.revision, decision.arm) != (rid.revision, rid.arm):
        return "the journal has another revision or arm for it than its id"
    if stored.rows is None:
        return (
            "its features were not kept (`[journal] features`; of rows without names also `hash` "
            "and `drop`), or are forgotten (`mlops journal prune`, `forget`)"
        )
    if decision.status >= 500:
        return f"it failed with status {decision.status}, which says nothing of its rows"
    if decision.status < 400 and decision.predictions is None:
        return "the model answered its rows as a whole, which the journal does not keep"
    if arm.model.endpoint is not None:
        return f"the model is behind {arm.model.endpoint.ref}, which may serve another one by now"
    return ""


def _predicted(
    settings: Settings,
    spec: DeploymentSpec,
    arm: Arm,
    folder: Path,
    stored: StoredDecision,
    told: _Told,
) -> ReplayedAnswer:
    now = read_content(folder).digest
    if told.content_then.startswith("sha256:") and now != told.content_then:
        return told.unknown("the files of the model are not those that were deployed", now)
    if now != told.content_then:
        # These files were not trusted by a deployment.
        check_trusted(settings, [arm.model], [folder])
    alone = replace(spec.only(arm.name), shadows=())
    pythons = isolate(settings, alone, [str(folder)], lambda _: None)
    loaded = load_model(folder, told.runtime_then or spec.runtime, python=next(iter(pythons), ""))
    try:
        told.content, told.runtime_now = now, loaded.path_taken
        rows = stored.rows
        assert rows is not None
        needed = {column.name for column in loaded.signature.columns if column.required}
        if lacking := not_kept(rows.names or needed, sorted(needed)):
            return told.unknown(lacking)
        names = tuple(rows.names) if rows.names else None
        try:
            prediction = loaded.model.predict(Rows(rows.rows, names), {})
        except ProtocolError as error:
            if stored.decision.status >= 400:
                return told.all("same", f"the model refuses its rows, as then: {error.message}")
            return told.all("differs", f"the model refuses its rows now: {error.message}")
        answers = rows_of(prediction, stored.decision.n_rows)
        return told.compared(None if answers is None else orjson.loads(as_json(answers)))
    finally:
        if loaded.process is not None:
            loaded.process.close()


@dataclass(slots=True)
class _Told:
    """What is known of an answer, whatever the result."""

    logged: list[Any] | None
    model: str
    content_then: str
    runtime_then: str
    content: str = ""
    runtime_now: str = ""

    def unknown(self, reason: str, content: str = "") -> ReplayedAnswer:
        self.content = content or self.content
        return self.all("unknown", reason)

    def all(
        self,
        result: Result,
        reason: str,
        replayed: list[Any] | None = None,
        difference: float | None = None,
    ) -> ReplayedAnswer:
        return ReplayedAnswer(
            result,
            reason,
            self.logged,
            replayed,
            difference,
            self.model,
            self.content,
            self.content_then,
            (self.runtime_now, self.runtime_then),
        )

    def compared(self, replayed: list[Any] | None) -> ReplayedAnswer:
        if replayed == self.logged:
            return self.all("same", "the model answers the same, to the last digit", replayed, 0.0)
        difference = _largest_difference(self.logged, replayed)
        if difference is None:
            return self.all("differs", "the model answers something else", replayed)
        said = f"the model answers other numbers, {difference:.3g} apart at most"
        return self.all("differs", said, replayed, difference)


def _largest_difference(one: object, other: object) -> float | None:
    """Largest difference of numbers in the same place; None where the rest is not equal."""
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        parts = [_largest_difference(*pair) for pair in zip(one, other, strict=True)]
        known = [part for part in parts if part is not None]
        return max(known, default=0.0) if len(known) == len(parts) else None
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return _largest_difference(list(one.values()), [other[name] for name in one])
    if isinstance(one, bool) or isinstance(other, bool):
        return 0.0 if one is other else None
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other)
    return 0.0 if one == other else None


@dataclass(slots=True)
class _Choosing:
    """Recomputes which arm a request was to get."""

    journal: SqlJournal
    ledger: Ledger
    entry: Entry
    rid: RequestId
    stored: StoredDecision | None
    key: bytes

    def again(self, unit: str) -> ReplayedChoice:
        rid, stored = self.rid, self.stored
        if rid.forced:
            return self._told("same", "the caller chose the arm; it is not counted", "forced")
        if stored is None:
            # The nonce is in the id, the unit is not.
            if self._spec.sticky_by:
                return self._told("unknown", "the request, and so its unit, is not in the journal")
            return self._drawn(rid.nonce[-8:], 0)
        decision = stored.decision
        if (decision.revision, decision.arm) != (rid.revision, rid.arm):
            if not has_fresh_nonce(rid):
                return self._told(
                    "unknown",
                    "another request with this Idempotency-Key was answered first, by another "
                    "revision or arm, and the journal keeps that",
                )
            return self._told("differs", "the journal has another revision or arm than the id")
        if not math.isclose(decision.propensity, rid.propensity, abs_tol=_ID_PRECISION):
            return self._told("differs", "the journal has another propensity than the id")
        if unit and self._hash(unit) != decision.unit:
            return self._told("differs", f"`{unit}` has another hash than the unit of this request")
        found = self._drawn(decision.unit or rid.nonce[-8:], decision.epoch)
        if found.result == "same" or decision.unit is None:
            return found
        return self._kept(decision.unit) or found

    @property
    def _spec(self) -> DeploymentSpec:
        return self.entry.intent.spec

    def _hash(self, unit: str) -> bytes | None:
        return unit_hash(unit, self.key, salt_of(self._spec.experiment))

    def _drawn(self, draw: bytes, epoch: int) -> ReplayedChoice:
        """Draw again: by the number that was drawn and the probabilities that were in force."""
        shares = self._shares(epoch)
        if shares is None:
            return self._told("unknown", f"policy epoch {epoch} is not in the journal", epoch=epoch)
        number = int.from_bytes(draw, "big") / _FULL
        choice = Draws(shares, epoch).choose(number)
        name = self._spec.arms[choice.arm].name
        start = sum(shares[: choice.arm])
        span = f"{start:.4g} to {start + choice.propensity:.4g}"
        right = choice.arm == self.rid.arm and math.isclose(
            choice.propensity, self.rid.propensity, abs_tol=_ID_PRECISION
        )
        said = f"{number:.6f} was drawn; {span} is `{name}` in policy epoch {epoch}"
        result: Result = "same" if right else "differs"
        return self._told(result, said, "drawn" if right else "", number, epoch, shares)

    def _shares(self, epoch: int) -> tuple[float, ...] | None:
        weights = tuple(arm.weight for arm in self._spec.arms)
        known = {each.epoch: each for each in self.journal.epochs([self.rid.revision])}
        if epoch not in known and epoch:
            return None
        state = State(0, weights)
        if epoch in known:
            its = known[epoch]
            state = State(its.epoch, its.probabilities, its.parameters or {})
        return tuple(make_policy(self._spec.policy, weights).probabilities({}, state))

    def _kept(self, unit: bytes) -> ReplayedChoice | None:
        """Check whether the unit came under an earlier revision, and kept the arm it had there."""
        earlier = [
            each.number
            for each in self.ledger.history()
            if each.number < self.rid.revision
            and each.intent.spec.experiment == self._spec.experiment
        ]
        first = self.journal.first_of_unit(unit, earlier) if earlier else None
        if first is None or first.decision.arm != self.rid.arm:
            return None
        if not math.isclose(first.decision.propensity, self.rid.propensity, abs_tol=_ID_PRECISION):
            return None
        said = f"its unit came under revision {first.decision.revision} first, and keeps that arm"
        return self._told("same", said, "kept", epoch=first.decision.epoch)

    def _told(
        self,
        result: Result,
        reason: str,
        how: str = "",
        number: float | None = None,
        epoch: int = 0,
        shares: Sequence[float] = (),
    ) -> ReplayedChoice:
        decision = self.stored.decision if self.stored else None
        unit = decision.unit if decision else None
        return ReplayedChoice(
            result,
            reason,
            how,
            decision.propensity if decision else self.rid.propensity,
            number,
            epoch,
            tuple(shares),
            unit.hex() if unit else "",
        )
