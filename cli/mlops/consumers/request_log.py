"""The request log: hands what the journal holds to one sink.

At least once and in the order of the journal. Events go in pieces, and a piece that the sink has is
not sent again while this process lives; after a crash the events since the stored offset are, under
the same ids. What a sink refuses for good, as a document that its index cannot hold, is counted as
dropped and reported; it stays in the journal.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal

from mlops.consumers.base import Batch, Consumed, Context
from mlops.errors import InvalidInputError
from mlops.journal.base import Journal
from mlops.journal.consumer_records import Offset
from mlops.journal.features import KeptRows
from mlops.journal.records import WHOLE_REQUEST, Observation
from mlops.journal.streaming import Decisions
from mlops.journal.terms import is_spec
from mlops.sinks import SINKS, Event, Refused, Sink, open_sink
from mlops.sinks.base import rfc3339
from mlops.spec.deployment import Arm, from_dict
from mlops.spec.request_id import mint
from mlops.spec.request_log import LogSink, sink_from_dict
from mlops.spec.unit import cell_hash
from mlops.stats.outlier_document import LEVEL

_ALL = 2**64


class RequestLog:
    """Feeds one sink.

    Args:
        context: Its options are a `LogSink`.

    Raises:
        MlopsError: There is no such kind of sink.
    """

    # A class has it, too, for inspection.
    start: Literal["beginning", "end"] = "beginning"
    join_s = 60.0

    def __init__(self, context: Context) -> None:
        spec = sink_from_dict(context.options)
        kind = SINKS.load(spec.kind)
        self.start = "beginning" if spec.start == "beginning" else "end"
        # Not more than is worth sending again after a crash.
        self.at_once = max(kind.at_once, 1_000)
        self.wait_s = float(spec.options.get("wait_s", kind.wait_s))
        self._piece = kind.at_once
        self._spec = spec
        self._events = Events(context.journal, context.deployment, context.key, spec)
        self._deployment = context.deployment
        self._sink: Sink | None = None
        self._done = Offset()
        # Of the batch under way, in this attempt and those that failed.
        self._sent = 0
        self._refused, self._last = 0, Refused("", "")

    def consume(self, batch: Batch) -> Consumed:
        """See `Consumer.consume`."""
        # Here, so that a sink that cannot be opened is a fault that is told, and is tried again.
        sink = self._sink = self._sink or open_sink(self._spec, self._deployment)
        events = self._events.of(batch, self._done)
        for piece in _pieces(events, self._piece):
            refused = sink.send(piece)
            self._sent += len(piece) - len(refused)
            if refused:
                self._refused, self._last = self._refused + len(refused), refused[-1]
            self._done = _later(self._done, piece)
        sent, self._sent = min(self._sent, len(batch)), 0
        return Consumed(sent, len(batch) - sent, self._warning())

    def close(self) -> None:
        """See `Consumer.close`."""
        if self._sink is not None:
            self._sink.close()

    def _warning(self) -> str:
        if not self._refused:
            return ""
        return (
            f"The sink `{self._spec.name}` has refused {self._refused:,} events, the last "
            f"{self._last.id}: {self._last.reason}. They are in the journal."
        )


class Events:
    """Makes events from what the journal holds.

    Args:
        journal: Says which arms there are.
        deployment: Name of the deployment.
        key: Its key; without it requests are named by their nonces.
        spec: Says what the sink gets.

    Raises:
        InvalidInputError: Features are to be hashed, and there is no key.
    """

    def __init__(self, journal: Journal, deployment: str, key: bytes, spec: LogSink) -> None:
        if spec.hash and not key:
            raise InvalidInputError(f"[log.sinks.{spec.name}]: `hash` needs the deployment's key.")
        self._journal, self._deployment = journal, deployment
        self._key, self._spec = key, spec
        self._arms: dict[int, tuple[Arm, ...]] = {}
        #: Gives the p-values of the rows of requests, by position in a batch; see `mlops.stats
        #: .outliers`. None where outliers are not tagged.
        self.p_values: Callable[[Decisions], Mapping[int, list[float]]] | None = None
        self._selected = lru_cache(maxsize=256)(self._select)

    def of(self, batch: Batch, done: Offset = Offset()) -> Iterator[Event]:  # noqa: B008 - frozen
        """Yield the events of a batch that are in the sample, requests first.

        Args:
            batch: From the journal.
            done: Events up to this offset are left out.
        """
        decisions = batch.decisions
        p_values = None if self.p_values is None else self.p_values(decisions)
        for position in range(len(decisions)):
            if decisions.seqs[position] > done.decisions:
                unit, nonce = decisions.units[position], decisions.nonces[position]
                if self._is_sampled(unit or nonce):
                    event = self._request(decisions, position)
                    if p_values is not None:
                        event.fields.update(tag_of(p_values.get(position)))
                    yield event
        for seen in batch.outcomes if self._spec.outcomes else ():
            if seen.seq > done.outcomes and self._is_sampled(seen.unit or seen.nonce):
                yield self._outcome(seen)

    def _is_sampled(self, unit: bytes) -> bool:
        """Whether a unit is in the sample: always the same ones, and those of a smaller sample."""
        if self._spec.sample >= 1:
            return True
        digest = hashlib.blake2b(bytes(unit), digest_size=8, person=b"sample").digest()
        return int.from_bytes(digest, "big") < self._spec.sample * _ALL

    def _request(self, decisions: Decisions, position: int) -> Event:
        nonce, time_ms = bytes(decisions.nonces[position]), int(decisions.times_ms[position])
        revision, arm = int(decisions.revisions[position]), int(decisions.arms[position])
        propensity = float(decisions.propensities[position])
        unit = decisions.units[position]
        request_id = self._id(nonce, time_ms, revision, arm, propensity)
        name, model = self._named(revision, arm)
        event_id = request_id or nonce.hex()
        names, rows = self._features(decisions.kept(position))
        fields: dict[str, Any] = {
            "request_id": request_id,
            "nonce": nonce.hex(),
            "time": rfc3339(time_ms),
            "deployment": self._deployment,
            "revision": revision,
            "arm": name,
            "model": model,
            "propensity": propensity,
            "epoch": int(decisions.epochs[position]),
            "unit": unit.hex() if unit else None,
            "status": int(decisions.statuses[position]),
            "latency_ms": int(decisions.latencies_us[position]) / 1000,
            "protocol": decisions.protocols[position],
            "client_id": decisions.client_ids[position],
            "n_rows": int(decisions.n_rows[position]),
            "predictions": decisions.predictions_of(position),
        }
        return Event(
            "request", event_id, int(decisions.seqs[position]), time_ms,
            fields["unit"] or event_id, name, names, rows, fields,
        )  # fmt: skip

    def _outcome(self, seen: Observation) -> Event:
        request_id = None
        if seen.decided_ms is not None:
            request_id = self._id(
                seen.nonce, seen.decided_ms, seen.revision, seen.arm, seen.propensity
            )
        name, model = self._named(seen.revision, seen.arm)
        row = None if seen.row == WHOLE_REQUEST else seen.row
        # By the nonce: the request's time may become known later, and the id must not change.
        event_id = f"{seen.nonce.hex()}/{'all' if row is None else row}/{seen.ordinal}"
        unit = seen.unit.hex() if seen.unit else None
        fields: dict[str, Any] = {
            "request_id": request_id,
            "nonce": seen.nonce.hex(),
            "time": rfc3339(seen.time_ms),
            "deployment": self._deployment,
            "row": row,
            "ordinal": seen.ordinal,
            "revision": seen.revision,
            "arm": name,
            "model": model,
            "propensity": seen.propensity,
            "unit": unit,
            "reward": seen.reward,
            "truth": seen.truth,
            "prediction": seen.prediction,
        }
        key = unit or request_id or seen.nonce.hex()
        return Event("outcome", event_id, seen.seq, seen.time_ms, key, name, None, None, fields)

    def _id(
        self, nonce: bytes, time_ms: int, revision: int, arm: int, propensity: float
    ) -> str | None:
        if not self._key:
            return None
        return mint(
            self._key, nonce=nonce, time_ms=time_ms, revision=revision, arm=arm,
            propensity=propensity,
        )  # fmt: skip

    def arm_of(self, revision: int, arm: int) -> Arm | None:
        """Return an arm by its position; None where the journal does not know it."""
        if revision not in self._arms:
            events = [each for each in self._journal.revision_events() if is_spec(each)]
            specs = {each.revision: from_dict(each.spec) for each in events if each.spec}
            self._arms = {number: spec.arms for number, spec in specs.items()}
            self._arms.setdefault(revision, ())
        arms = self._arms[revision]
        return arms[arm] if arm < len(arms) else None

    def _named(self, revision: int, arm: int) -> tuple[str, str]:
        """Return name and model of an arm."""
        found = self.arm_of(revision, arm)
        return (str(arm), "") if found is None else (found.name, found.model.public_label)

    def _features(self, kept: KeptRows | None) -> tuple[list[str] | None, list[Any] | None]:
        """Return what the sink gets of the rows of a request."""
        spec = self._spec
        if kept is None or spec.features == "none":
            return None, None
        if kept.names is None:
            # They cannot be told apart, and what must not be sent could be among them.
            open_to_all = spec.features == "all" and not spec.hash and not spec.drop
            return None, kept.rows if open_to_all else None
        names, picked = self._selected(tuple(kept.names))
        if len(picked) == len(kept.names) and not any(hashed for _, hashed in picked):
            return kept.names, kept.rows
        return names, [
            [
                cell_hash(names[at], row[index], self._key)
                if hashed and row[index] is not None
                else row[index]
                for at, (index, hashed) in enumerate(picked)
            ]
            for row in kept.rows
        ]

    def _select(self, names: tuple[str, ...]) -> tuple[list[str], list[tuple[int, bool]]]:
        spec = self._spec
        picked = [
            (index, name in spec.hash)
            for index, name in enumerate(names)
            if name not in spec.drop
            and (spec.features == "all" or name in spec.features or name in spec.hash)
        ]
        return [names[index] for index, _ in picked], picked


def tag_of(p_values: list[float] | None) -> dict[str, Any]:
    """Return what a request says of its rows, by their p-values.

    Args:
        p_values: One of each row; None where they cannot be looked at.
    """
    if not p_values:
        return {"outlier": None, "outlier_p_values": None}
    return {"outlier": min(p_values) <= LEVEL, "outlier_p_values": p_values}


def _pieces(events: Iterator[Event], size: int) -> Iterator[list[Event]]:
    """Yield pieces of one kind each, so that more requests do not cut the outcomes otherwise."""
    for _, some in itertools.groupby(events, lambda event: event.kind):
        while piece := list(itertools.islice(some, size)):
            yield piece


def _later(done: Offset, piece: list[Event]) -> Offset:
    requests = [event.seq for event in piece if event.kind == "request"]
    outcomes = [event.seq for event in piece if event.kind == "outcome"]
    return Offset(max([done.decisions, *requests]), max([done.outcomes, *outcomes]))
