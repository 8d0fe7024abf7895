"""Counters of the server, exposed for Prometheus at `/metrics`.

They are kept as plain numbers, because the request path adds to them, and turned into the families
of `mlops.spec.metrics` when scraped. What can be counted is there from the start, at 0: of a
series that appears with its first event, Prometheus would miss that event. A Prometheus counter
must not fall and rewards may be negative, so rewards are exported as the sums of their positive
and negative parts and a count.

Text format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from mlops.journal.records import Fate, Progress
from mlops.rewards.base import Value
from mlops.rewards.kinds import same
from mlops.serving.runners.base import RunnerStats
from mlops.spec import metrics as families
from mlops.spec.deployment import Revision
from mlops.spec.metrics import LATENCY_BOUNDS_S, Family

#: Late feedback is stored as well, so it is counted beside what became of it.
LATE = "late"
_FATES = (*(fate.value for fate in Fate), LATE)
#: Good answers, and what alerts are about: our own fault, or an endpoint's.
_USUAL_CODES = (200, 500, 502, 503, 504)


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
        if isinstance(prediction, int | float) and isinstance(truth, int | float):
            error = float(prediction) - float(truth)
            if not math.isfinite(self.squared + error * error):
                return
            self.truths += 1
            self.squared += error * error
            self.absolute += abs(error)
        else:
            self.labels += 1
            self.correct += same(prediction, truth)


class HasProgress(Protocol):
    """Knows how far the consumers of the journal are."""

    progress: list[Progress]


class Metrics:
    """All counters of one server.

    `arm` and its `ArmCounters.count` are called on the event loop only; `lock` guards what the
    journal's thread adds, and what those of shadows count.

    Args:
        deployment: Name of the deployment, a label of every series.
        single: Called at each scrape: families of one series for the server, and their values.
    """

    def __init__(self, deployment: str, single: Callable[[], Mapping[Family, float]]) -> None:
        self._deployment = deployment
        self._single = single
        self._arms: dict[tuple[str, str], ArmCounters] = {}
        self._shadows: dict[tuple[str, str], ArmCounters] = {}
        self._weights: dict[int, dict[tuple[str, str], float]] = {}
        self._live = 0
        self.endpoints: dict[str, bool] = {}
        self.consumers: HasProgress | None = None
        #: What the runners of the live arms have done, by name and version of the arm.
        self.runners: dict[tuple[str, str], RunnerStats] = {}
        self.lock = threading.Lock()
        #: Requests whose arm was drawn, by the number of the revision.
        self.draws: Counter[int] = Counter()
        self.refused: Counter[str] = Counter()
        self.feedback: Counter[str] = Counter()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def adopt(self, revision: Revision) -> None:
        """Expect the arms of `revision` to get their shares from now on."""
        weights = {(arm.name, arm.model.label): arm.weight for arm in revision.spec.arms}
        for name, version in weights:
            self.arm(name, version)
        self._weights[revision.number] = weights
        self._live = revision.number

    def arm(self, name: str, version: str) -> ArmCounters:
        """Return the counters of an arm, the same object each time."""
        return _of(self._arms, (name, version))

    def shadow(self, name: str, version: str) -> ArmCounters:
        """Return the counters of a shadow, the same object each time."""
        return _of(self._shadows, (name, version))

    def expose(self) -> bytes:
        """Write every series in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Give Prometheus' client the families; called by `expose`."""
        with self.lock:
            arms = [([self._deployment, *key], counters) for key, counters in self._arms.items()]
            yield from _requests(arms)
            yield from self._shares()
            yield from _runners(
                [([self._deployment, *key], stats) for key, stats in self.runners.items()]
            )
            yield from _rewards(arms)
            yield from _quality(arms)
            yield from _shadows(
                [([self._deployment, *key], each) for key, each in self._shadows.items()]
            )
            yield from self._server()

    def _shares(self) -> Iterator[Metric]:
        expected = _counter(families.EXPECTED)
        for key in self._arms:
            # Of all revisions of this process: counts under other weights are not pooled.
            total = sum(
                self.draws[number] * weights.get(key, 0.0)
                for number, weights in self._weights.items()
            )
            expected.add_metric([self._deployment, *key], total)
        yield expected
        weight = _gauge(families.WEIGHT)
        for key, share in self._weights.get(self._live, {}).items():
            weight.add_metric([self._deployment, *key], share)
        yield weight

    def _server(self) -> Iterator[Metric]:
        family = _counter(families.FEEDBACK)
        for fate in _FATES:
            family.add_metric([self._deployment, fate], self.feedback[fate])
        yield family
        family = _counter(families.REFUSED)
        for protocol, count in sorted(self.refused.items()):
            family.add_metric([self._deployment, protocol], count)
        yield family
        family_up = _gauge(families.ENDPOINT_UP)
        for arm, up in sorted(self.endpoints.items()):
            family_up.add_metric([self._deployment, arm], up)
        yield family_up
        yield from _consumers(self._deployment, self.consumers)
        for single, value in self._single().items():
            made = _counter(single) if single.kind == "counter" else _gauge(single)
            made.add_metric([self._deployment], value)
            yield made


def _of(counters: dict[tuple[str, str], ArmCounters], key: tuple[str, str]) -> ArmCounters:
    # Every request asks: nothing is made only to be thrown away.
    return counters.get(key) or counters.setdefault(key, ArmCounters())


_Arms = list[tuple[list[str], ArmCounters]]
_Runners = list[tuple[list[str], RunnerStats]]
_Counted = TypeVar("_Counted")


def _requests(arms: _Arms) -> Iterator[Metric]:
    yield _by_code(families.REQUESTS, arms)
    yield _latencies(families.DURATION, arms)
    yield _each(families.ROWS, arms, lambda arm: arm.rows)
    yield _each(families.FORCED, arms, lambda arm: arm.forced)
    yield _each(families.DRAWN, arms, lambda arm: arm.codes.total() - arm.forced)


def _rewards(arms: _Arms) -> Iterator[Metric]:
    yield _each(families.REWARDS, arms, lambda arm: arm.rewards)
    yield _each(families.REWARD_POSITIVE, arms, lambda arm: arm.positive)
    yield _each(families.REWARD_NEGATIVE, arms, lambda arm: arm.negative)


def _quality(arms: _Arms) -> Iterator[Metric]:
    yield _each(families.TRUTHS, arms, lambda arm: arm.truths)
    yield _each(families.SQUARED_ERROR, arms, lambda arm: arm.squared)
    yield _each(families.ABSOLUTE_ERROR, arms, lambda arm: arm.absolute)
    numeric = [item for item in arms if item[1].truths]
    yield _each(families.RMSE, numeric, lambda arm: math.sqrt(arm.squared / arm.truths))
    yield _each(families.MAE, numeric, lambda arm: arm.absolute / arm.truths)
    yield _each(families.LABELS, arms, lambda arm: arm.labels)
    yield _each(families.CORRECT, arms, lambda arm: arm.correct)
    labelled = [item for item in arms if item[1].labels]
    yield _each(families.ACCURACY, labelled, lambda arm: arm.correct / arm.labels)


def _shadows(shadows: _Arms) -> Iterator[Metric]:
    yield _by_code(families.SHADOW_REQUESTS, shadows)
    yield _latencies(families.SHADOW_DURATION, shadows)
    yield _each(families.SHADOW_DROPPED, shadows, lambda shadow: shadow.dropped)


def _by_code(family: Family, arms: _Arms) -> Metric:
    made = _counter(family)
    for values, arm in arms:
        for code, count in sorted(arm.codes.items()):
            made.add_metric([*values, str(code)], count)
    return made


def _runners(runners: _Runners) -> Iterator[Metric]:
    queued = ((values, stats.queued) for values, stats in runners)
    yield _histogram(families.QUEUE, ((v, each.buckets, each.total_s) for v, each in queued))
    model = ((values, stats.model) for values, stats in runners)
    yield _histogram(families.MODEL, ((v, each.buckets, each.total_s) for v, each in model))
    yield _each(families.CALLS, runners, lambda stats: stats.calls)
    yield _each(families.QUEUED, runners, lambda stats: stats.waiting)
    yield _each(families.RUNNING, runners, lambda stats: stats.running)
    yield _each(families.REJECTED, runners, lambda stats: stats.rejected)
    yield _each(families.EXPIRED, runners, lambda stats: stats.expired)


def _latencies(family: Family, arms: _Arms) -> Metric:
    return _histogram(family, ((values, arm.buckets, arm.latency_s) for values, arm in arms))


def _histogram(family: Family, series: Iterable[tuple[list[str], list[int], float]]) -> Metric:
    made = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for values, counts, total_s in series:
        total, buckets = 0, []
        for bound, count in zip([*map(str, LATENCY_BOUNDS_S), "+Inf"], counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        made.add_metric(values, buckets, total_s)
    return made


def _each(
    family: Family, arms: Sequence[tuple[list[str], _Counted]], value: Callable[[_Counted], float]
) -> Metric:
    made = _counter(family) if family.kind == "counter" else _gauge(family)
    for labels, arm in arms:
        made.add_metric(labels, value(arm))
    return made


def _counter(family: Family) -> CounterMetricFamily:
    return CounterMetricFamily(family.name, family.help, labels=family.labels)


def _gauge(family: Family) -> GaugeMetricFamily:
    return GaugeMetricFamily(family.name, family.help, labels=family.labels)


def _consumers(deployment: str, known: HasProgress | None) -> Iterator[Metric]:
    made: dict[Family, CounterMetricFamily | GaugeMetricFamily] = {
        families.CONSUMER_LAG: _gauge(families.CONSUMER_LAG),
        families.CONSUMER_LAG_SECONDS: _gauge(families.CONSUMER_LAG_SECONDS),
        families.CONSUMER_SENT: _counter(families.CONSUMER_SENT),
        families.CONSUMER_FAILED: _counter(families.CONSUMER_FAILED),
        families.CONSUMER_DROPPED: _counter(families.CONSUMER_DROPPED),
    }
    for each in known.progress if known else ():
        values = (each.lag_events, each.lag_seconds, each.sent, each.failed, each.dropped)
        for family, value in zip(made.values(), values, strict=True):
            family.add_metric([deployment, each.name], value)
    yield from made.values()
