"""What a server counts, as plain numbers; those of several processes can be added up."""

from __future__ import annotations

import math
import pickle
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, TypeAlias

from mlops.journal.consumer_records import Progress, Reading
from mlops.rewards.base import Value
from mlops.rewards.kinds import pairs_of, same
from mlops.serving.runners.base import RunnerStats
from mlops.spec import metrics as families
from mlops.spec.metrics import LATENCY_BOUNDS_S, Family

#: Good answers, and what alerts are about: faults of the server, or of an endpoint.
_USUAL_CODES = (200, 500, 502, 503, 504)
#: Name and version of an arm or shadow.
Key: TypeAlias = tuple[str, str]


@dataclass(slots=True)
class ArmCounters:
    """What one model version did as one arm, since the server started.

    Attributes:
        codes: Requests by HTTP status.
        forced: Requests whose arm a tester chose; they are in `codes` too.
        rows: Rows predicted.
        latency_s: Sum of latencies in seconds.
        buckets: Requests by latency, one count per bound of `LATENCY_BOUNDS_S` and one beyond.
        rewards: Rewards received.
        positive: Sum of the positive ones.
        negative: Sum of the negative ones, as a positive number.
        truths: Numeric truths that met a numeric prediction.
        squared: Sum of squared errors.
        absolute: Sum of absolute errors.
        labels: Truths of other kinds that met a prediction.
        correct: How many of them were equal to it.
        dropped: For a shadow: copies that found its queue full.
    """

    codes: Counter[int] = field(default_factory=lambda: Counter(dict.fromkeys(_USUAL_CODES, 0)))
    forced: int = 0
    rows: int = 0
    latency_s: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_S) + 1))
    rewards: int = 0
    positive: float = 0.0
    negative: float = 0.0
    truths: int = 0
    squared: float = 0.0
    absolute: float = 0.0
    labels: int = 0
    correct: int = 0
    dropped: int = 0

    def count(self, status: int, rows: int, latency_s: float, *, forced: bool) -> None:
        """Add one answered request."""
        self.codes[status] += 1
        self.forced += forced
        self.rows += rows
        self.latency_s += latency_s
        self.buckets[bisect_left(LATENCY_BOUNDS_S, latency_s)] += 1

    def reward(self, value: float) -> None:
        """Add one reward."""
        self.rewards += 1
        if value >= 0:
            self.positive += value
        else:
            self.negative -= value

    def truth(self, prediction: Value, truth: Value) -> None:
        """Add one truth that met its prediction; an error too large to square is left out."""
        pairs = pairs_of(prediction, truth) or [(prediction, truth)]
        numbers = [(p, t) for p, t in pairs if _is_numeric(p) and _is_numeric(t)]
        if len(numbers) < len(pairs):
            self.labels += 1
            self.correct += all(same(*pair) for pair in pairs)
            return
        # Of several outputs the mean counts, as a reward.
        errors = [float(p) - float(t) for p, t in numbers]  # type: ignore[arg-type]  # see above
        squared = sum(error * error for error in errors) / len(errors)
        if math.isfinite(self.squared + squared):
            self.truths += 1
            self.squared += squared
            self.absolute += sum(map(abs, errors)) / len(errors)


def _is_numeric(value: Value) -> bool:
    return isinstance(value, int | float)


@dataclass(slots=True)
class Counts:
    """Everything that one process has counted, or several together.

    Attributes:
        arms: What each arm did, since the server started.
        shadows: What each shadow did.
        runners: What the runners of the live arms have done.
        expected: Drawn requests that each arm should have got, by the shares in force.
        refused: Requests that could not be read, by protocol.
        feedback: Feedback by its status.
        endpoints: Whether the endpoint of an arm or shadow answers, by its name.
        consumers: How far the consumers of the journal are.
        readings: What they measured last.
        faults: Why the runner of an arm cannot answer, by the arm's name.
        single: Values of the families that have one series.
        weights: Newest share of each arm by revision, of all that were live.
    """

    arms: dict[Key, ArmCounters] = field(default_factory=dict)
    shadows: dict[Key, ArmCounters] = field(default_factory=dict)
    runners: dict[Key, RunnerStats] = field(default_factory=dict)
    expected: dict[Key, float] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    feedback: Counter[str] = field(default_factory=Counter)
    endpoints: dict[str, bool] = field(default_factory=dict)
    consumers: list[Progress] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    single: dict[Family, float] = field(default_factory=dict)
    weights: dict[int, dict[Key, float]] = field(default_factory=dict)

    @property
    def live(self) -> int:
        """Number of the live revision."""
        return int(self.single.get(families.REVISION, 0))

    def ended(self) -> Counts:
        """Return what stays true once the process has ended: counters do, gauges do not."""
        return replace(
            self,
            endpoints={},
            consumers=[],
            readings=[],
            faults={},
            runners={k: replace(each, waiting=0, running=0) for k, each in self.runners.items()},
            single={k: value for k, value in self.single.items() if k.kind == "counter"},
        )


def packed(counts: Counts) -> bytes:
    """Return counts as bytes for another process of this server."""
    return pickle.dumps(counts)


def unpacked(content: bytes) -> Counts:
    """Read what `packed` has written, in this process or another of this server."""
    counts: Counts = pickle.loads(content)  # noqa: S301 - see above; clients send none
    return counts


def total(several: Iterable[Counts]) -> Counts:
    """Add up what several processes have counted.

    An endpoint is up if all reach it, and the live revision is the newest that one of them has.
    """
    found = Counts()
    for counts in several:
        live = max(found.live, counts.live)
        found = Counts(
            arms=_sum(found.arms, counts.arms),
            shadows=_sum(found.shadows, counts.shadows),
            runners=_sum(found.runners, counts.runners),
            expected=_sum(found.expected, counts.expected),
            refused=_sum(found.refused, counts.refused),
            feedback=_sum(found.feedback, counts.feedback),
            endpoints={
                name: found.endpoints.get(name, True) and counts.endpoints.get(name, True)
                for name in (found.endpoints | counts.endpoints)
            },
            # One process looks after them for all.
            consumers=found.consumers or counts.consumers,
            readings=found.readings or counts.readings,
            faults={**found.faults, **counts.faults},
            single={**_sum(found.single, counts.single), families.REVISION: live},
            weights={**found.weights, **counts.weights},
        )
    return found


def _sum(one: Any, other: Any) -> Any:  # noqa: ANN401 - two of the same type
    """Add numbers, and containers of numbers part by part."""
    if isinstance(one, dict):
        keys = dict.fromkeys((*one, *other))
        both = one.keys() & other.keys()
        return type(one)(
            {
                key: _sum(one[key], other[key]) if key in both else one.get(key, other.get(key))
                for key in keys
            }
        )
    if isinstance(one, list):
        return [_sum(mine, theirs) for mine, theirs in zip(one, other, strict=True)]
    if is_dataclass(one):
        parts = {f.name: _sum(getattr(one, f.name), getattr(other, f.name)) for f in fields(one)}
        return type(one)(**parts)  # type: ignore[misc]  # an instance, not a class
    return one + other
