"""Feedback: read, check the id, store, report the result."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from mlops.errors import PUBLIC
from mlops.journal.base import JournalFullError, JournalUnavailableError
from mlops.journal.outage import for_callers
from mlops.journal.records import WHOLE_REQUEST, Fate, NewOutcome, StoredOutcome
from mlops.journal.writer import JournalWriter
from mlops.protocols.base import (
    Kind,
    Outcome,
    ProtocolError,
    is_client_id,
)
from mlops.rewards import (
    LARGEST,
    Range,
    RewardFailedError,
    Terms,
    capped,
    is_within,
    reward_called,
    reward_range,
)
from mlops.rewards.choosing import fitting_reward, no_reward
from mlops.rewards.exact import EXACT
from mlops.rewards.kinds import outputs_in
from mlops.rewards.labels import unknown_label
from mlops.serving.dataplane import DataPlane
from mlops.serving.feedback_lists import expected
from mlops.serving.feedback_results import (
    ADVICE,
    CORRECT,
    REFUSALS,
    FeedbackResult,
    OutcomeResult,
    Problem,
    counts,
    warnings,
)
from mlops.serving.metrics import LATE, Metrics
from mlops.spec.attribution import write_duration
from mlops.spec.deployment import Arm, DeploymentSpec
from mlops.spec.request_id import ForgedRequestIdError, RequestId, read

# A database that neither answers nor refuses must not block its senders forever.
_PATIENCE_S = 20.0
# As many as `mlops feedback` sends lines at once.
_MAX_PROBLEMS = 1_000
# Much longer than a decision waits to be written, unless the journal has a fault.
_FRESH_MS = 5_000
_STORED = (Fate.ACCEPTED, Fate.UNMATCHED)


class FeedbackService:
    """Takes feedback for one deployment.

    Args:
        plane: Knows the key and the live revision.
        metrics: Takes the counts.
        specs: The spec of each known revision; read at each use.
        patience_s: How long the journal may take.
        client_ids: Whether feedback may name a request by its caller's own id.
        settled: Awaited before feedback about a fresh request is stored, where another process may
            have answered it: until that has written its decision.
        look_for: Awaited with the revisions that feedback names where some are not in `specs`:
            another replica may serve a newer one.
    """

    def __init__(
        self,
        plane: DataPlane,
        metrics: Metrics,
        specs: Mapping[int, DeploymentSpec],
        *,
        patience_s: float = _PATIENCE_S,
        client_ids: bool = True,
        settled: Callable[[], Awaitable[None]] | None = None,
        look_for: Callable[[Collection[int]], Awaitable[None]] | None = None,
    ) -> None:
        self._plane = plane
        self._metrics = metrics
        self._specs = specs
        self._patience_s = patience_s
        self._client_ids = client_ids
        self._settled = settled
        self._look_for = look_for

    async def take(
        self, outcomes: Sequence[Outcome], writer: JournalWriter, key_id: str | None = None
    ) -> list[OutcomeResult]:
        """Store outcomes and return a receipt for each, in order, once they are durable.

        A list that does not fit its request has one receipt, as has one that is the truth of
        several outputs of one row.

        Args:
            outcomes: Feedback on requests.
            writer: Stores them.
            key_id: Id of the API key that they came with; None for none.

        Raises:
            JournalUnavailableError: None of them was stored; or, where the journal takes too long,
                that is not known yet.
        """
        receipts = await self._take(outcomes, writer, key_id)
        return [each for each in receipts if each is not None]

    async def _take(
        self, outcomes: Sequence[Outcome], writer: JournalWriter, key_id: str | None
    ) -> list[OutcomeResult | None]:
        """Store outcomes; of those of a list that have one receipt all but the first get None."""
        now_ms = time.time_ns() // 1_000_000
        ids = [self._read(outcome) for outcome in outcomes]
        named = {rid.revision for rid in ids if isinstance(rid, RequestId)}
        if self._look_for and not named <= self._specs.keys():
            await self._look_for(named)
        checked = [
            rid if isinstance(rid, OutcomeResult) else self._check(outcome, rid, now_ms, key_id)
            for outcome, rid in zip(outcomes, ids, strict=True)
        ]
        genuine = [item for item in checked if isinstance(item, NewOutcome)]
        stored: list[StoredOutcome] = []
        if genuine:
            if self._settled and any(_is_fresh(rid, now_ms) for rid in ids):
                await self._settled()
            stored = await self._store(genuine, writer)
        fates = iter(stored)
        receipts = [
            item if isinstance(item, OutcomeResult) else self._receipt(next(fates), rid)
            for item, rid in zip(checked, ids, strict=True)
        ]
        self._count([each for each in receipts if each is not None])
        return receipts

    async def answer(
        self, outcomes: Sequence[Outcome], writer: JournalWriter, key_id: str | None = None
    ) -> FeedbackResult:
        """Store the outcomes of one request, and return their results; as `take`.

        Raises:
            JournalUnavailableError: As `take`.
        """
        taken = await self._take(outcomes, writer, key_id)
        problems = [
            Problem(
                index,
                receipt.fate,
                receipt.expected or self.advice(outcomes[index], receipt.fate),
            )
            for index, receipt in enumerate(taken)
            if receipt is not None and receipt.fate in REFUSALS
        ]
        receipts = [receipt for receipt in taken if receipt is not None]
        only = receipts[0] if len(receipts) == 1 else None
        return FeedbackResult(
            counts(receipts),
            None if problems else only,
            warnings(receipts),
            problems[:_MAX_PROBLEMS],
            only.fate if only and problems else "",
            sum(receipt.unknown_label for receipt in receipts),
            sum(bool(receipt.window) for receipt in receipts),
        )

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
                reason=PUBLIC,
            ) from None

    def _read(self, outcome: Outcome) -> RequestId | OutcomeResult | None:
        """Read the id of an outcome, None if it has a client's; the receipt if that decides."""
        if outcome.request_id is not None:
            try:
                return read(self._plane.key, outcome.request_id)
            except ForgedRequestIdError:
                return OutcomeResult("forged")
        if not self._client_ids:
            return OutcomeResult("not_allowed")
        if outcome.client_id is not None and not is_client_id(outcome.client_id):
            # No prediction has such an id, and not every database can be asked for it.
            return OutcomeResult(Fate.UNKNOWN.value)
        return None

    def _check(
        self, outcome: Outcome, rid: RequestId | None, now_ms: int, key_id: str | None
    ) -> NewOutcome | OutcomeResult:
        """Convert an outcome to what is stored; the receipt if it cannot be."""
        if _too_large(outcome) or self._is_out_of_range(outcome.reward, rid):
            return OutcomeResult("out_of_range")
        repeatable = self._is_repeatable(rid)
        if repeatable and outcome.outcome_id is None and self._needs_ids(rid):
            return OutcomeResult("no_outcome_id")
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
            outcome_id=outcome.outcome_id,
            repeatable=repeatable,
            key_id=key_id,
            of_rows=outcome.of_rows,
            of_list=outcome.of_list,
            outputs_of=self._outputs,
        )

    def _is_repeatable(self, rid: RequestId | None) -> bool:
        """Whether the revision that answered lets a row have several outcomes."""
        spec = self._spec_of(rid)
        return spec is not None and spec.attribution.repeated != "first"

    def _needs_ids(self, rid: RequestId | None) -> bool:
        """Whether the revision that answered needs an id of each of them."""
        spec = self._spec_of(rid)
        return spec is not None and spec.attribution.outcome_ids

    def _spec_of(self, rid: RequestId | None) -> DeploymentSpec | None:
        # A client's own id does not say which revision answered: the newest decides.
        return self._specs.get(rid.revision if rid else max(self._specs, default=0))

    def _is_out_of_range(self, reward: float | None, rid: RequestId | None) -> bool:
        """Whether no revision that this may be about takes such a reward."""
        if reward is None:
            return False
        # A client's own id does not say which revision answered.
        specs = list(self._specs.values()) if rid is None else [self._specs.get(rid.revision)]
        return bool(specs) and all(spec and not is_within(reward, _range(spec)) for spec in specs)

    def advice(self, outcome: Outcome, fate: str) -> str:
        """Explain one of the `REFUSALS` for an outcome."""
        if fate != "out_of_range":
            return ADVICE[fate]
        if name := _too_large(outcome):
            return f"the {name} is larger than {LARGEST:g} in size, more than statistics can take"
        spec = self._plane.live.served.revision.spec
        if outcome.request_id is not None:
            spec = self._specs.get(read(self._plane.key, outcome.request_id).revision, spec)
        low, high = _range(spec) or (-math.inf, math.inf)
        return f"the reward {outcome.reward:g} is outside the declared range, {low:g} to {high:g}"

    def _receipt(
        self, stored: StoredOutcome, rid: RequestId | OutcomeResult | None
    ) -> OutcomeResult | None:
        if stored.fate is Fate.PART:
            return None
        if stored.fate in (Fate.UNKNOWN, Fate.AMBIGUOUS):
            return OutcomeResult(stored.fate.value)
        if stored.fate is Fate.MISFIT:
            return OutcomeResult(
                stored.fate.value, expected=expected(stored, self._outputs(stored.outcome))
            )
        if stored.id_taken:
            return OutcomeResult(stored.fate.value, expected=self._id_taken(stored.outcome))
        revision = stored.outcome.revision
        arm = self._arm(stored.outcome)
        # A newer one is live on another replica.
        late = revision < self._plane.live.served.revision.number
        unknown = warning = ""
        if stored.fate is Fate.ACCEPTED:
            unknown = self._unknown_label(stored)
            warning = unknown or self._warning(stored)
        name = arm.name if arm else ""
        window = self._missed_window(stored, rid)
        return OutcomeResult(
            stored.fate.value, name, revision, late, warning, bool(unknown), window
        )

    def _missed_window(self, stored: StoredOutcome, rid: RequestId | OutcomeResult | None) -> str:
        """Return the feedback window that an outcome came after, empty if there is none.

        That of a sticky unit begins with its first request, which only a report knows.
        """
        spec = self._specs.get(stored.outcome.revision)
        if spec is None or not spec.attribution.window_s or stored.fate not in _STORED:
            return ""
        began_ms = stored.decided_ms
        if began_ms is None:
            began_ms = rid.time_ms if isinstance(rid, RequestId) else stored.outcome.time_ms
        closed_ms = began_ms + round(spec.attribution.window_s * 1000)
        missed = stored.outcome.time_ms > closed_ms
        return write_duration(spec.attribution.window_s) if missed else ""

    def _id_taken(self, outcome: NewOutcome) -> str:
        spec = self._specs.get(outcome.revision)
        how = CORRECT[spec.attribution.repeated if spec else "first"]
        return f"this `outcome_id` was stored with another value, which counts; {how}"

    def _unknown_label(self, stored: StoredOutcome) -> str:
        """Say that a label is a wrong answer whatever is answered; a number only where it is."""
        spec, truth = self._specs.get(stored.outcome.revision), stored.outcome.truth
        if not isinstance(truth, str) and (spec is None or spec.reward != EXACT.name):
            return ""
        known = [each.loaded.classes for each in self._plane.live.arms]
        return unknown_label(stored.prediction, truth, known)

    def _warning(self, stored: StoredOutcome) -> str:
        """Say why there will be no reward, while its sender can still do something about it."""
        spec, outcome = self._specs.get(stored.outcome.revision), stored.outcome
        if spec is None or outcome.reward is not None or stored.prediction is None:
            return ""
        terms = self._terms(spec, outcome.arm)
        try:
            reward_called(spec.reward)(stored.prediction, outcome.truth, terms)
        except RewardFailedError as error:
            # Another reward is no cure for a fault in this one.
            return no_reward(str(error), "")
        except ValueError as error:
            return no_reward(str(error), fitting_reward(stored.prediction, outcome.truth, terms))
        return ""

    def _outputs(self, outcome: NewOutcome) -> tuple[str, ...]:
        """Names of the outputs of the arm that answered; empty if it is not live or names none."""
        arm = self._arm(outcome)
        same = (each for each in self._plane.live.arms if arm and each.arm.model == arm.model)
        return next((each.signature.outputs for each in same), ())

    def _terms(self, spec: DeploymentSpec, arm: int) -> Terms:
        """What the reward needs of an arm; its classes only while it is loaded."""
        name = spec.arms[arm].name if arm < len(spec.arms) else ""
        loaded = (a.loaded.classes for a in self._plane.live.arms if a.arm.name == name)
        return Terms.of(next(loaded, ()), spec.costs, spec.decides_by)

    def _arm(self, outcome: NewOutcome) -> Arm | None:
        """Return the arm an outcome is credited to; None if its revision is not known here."""
        spec = self._specs.get(outcome.revision)
        return spec.arms[outcome.arm] if spec and outcome.arm < len(spec.arms) else None

    def _count(self, receipts: Sequence[OutcomeResult]) -> None:
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
                        value = self._derived(item)
                # A counter cannot take back what a correction replaces.
                if value is not None and not (item.ordinal and _corrects(self._specs, outcome)):
                    counters.reward(value)

    def _derived(self, item: StoredOutcome) -> float | None:
        spec = self._specs[item.outcome.revision]
        terms = self._terms(spec, item.outcome.arm)
        try:
            reward = reward_called(spec.reward)(item.prediction, item.outcome.truth, terms)
        except ValueError:
            return None
        return capped(reward, _range(spec, terms))


def _is_fresh(rid: RequestId | OutcomeResult | None, now_ms: int) -> bool:
    """Whether the decision may not be written yet; of a client's own id it is not known."""
    if isinstance(rid, RequestId):
        # The clock may have been set back in between.
        return abs(now_ms - rid.time_ms) < _FRESH_MS
    return rid is None


def _corrects(specs: Mapping[int, DeploymentSpec], outcome: NewOutcome) -> bool:
    return specs[outcome.revision].attribution.repeated == "last"


def _range(spec: DeploymentSpec, terms: Terms | None = None) -> Range | None:
    return reward_range(spec.reward, spec.reward_range, terms or Terms.of(costs=spec.costs))


def _too_large(outcome: Outcome) -> str:
    """Name the number of an outcome that is too large for statistics; empty if none is."""
    for name, value in (("reward", outcome.reward), ("truth", outcome.truth)):
        if any(isinstance(each, int | float) and abs(each) > LARGEST for each in outputs_in(value)):
            return name
    return ""


def _normal(truth: object) -> Any:  # noqa: ANN401 - a JSON value
    """Write whole numbers as doubles, so that 6 and 6.0 are one truth in the journal."""
    if isinstance(truth, dict):
        return {name: _normal(each) for name, each in truth.items()}
    if isinstance(truth, list):
        return [_normal(each) for each in truth]
    return float(truth) if isinstance(truth, int) and not isinstance(truth, bool) else truth


def journal_fault(fault: JournalUnavailableError) -> ProtocolError:
    """Tell the sender of feedback that nothing was stored, and that it may be sent again."""
    kind = Kind.DISK_FULL if isinstance(fault, JournalFullError) else Kind.NOT_READY
    return ProtocolError(kind, for_callers(fault))
