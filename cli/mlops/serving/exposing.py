"""What is counted, written for Prometheus at `/metrics`.

What can be counted is there from the start, at 0: of a series that appears with its first event,
Prometheus would miss that event. A Prometheus counter must not fall and rewards may be negative, so
rewards are exported as the sums of their positive and negative parts and a count.

Text format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from mlops.journal.consumer_records import Progress, Reading
from mlops.journal.records import Fate
from mlops.serving.counting import ArmCounters, Counts, Key
from mlops.serving.runners.base import RunnerStats
from mlops.spec import metrics as families
from mlops.spec.metrics import LATENCY_BOUNDS_S, Family

_Counted = TypeVar("_Counted")
#: Late feedback is stored as well, so it is counted beside its status.
LATE = "late"
# What is part of a list is counted with its first.
_FATES = (*(fate.value for fate in Fate if fate is not Fate.PART), LATE)


def expose(deployment: str, counts: Counts, verdict: Mapping[Family, float]) -> bytes:
    """Write every series in Prometheus' text format.

    Args:
        deployment: Name of the deployment, a label of every series.
        counts: What was counted.
        verdict: Families of one series that no process counts.
    """
    registry = CollectorRegistry(auto_describe=False)
    counts = replace(counts, single={**counts.single, **verdict})
    registry.register(_Collector(deployment, counts))
    return generate_latest(registry)


@dataclass(frozen=True, slots=True, eq=False)
class _Collector:
    deployment: str
    counts: Counts

    def collect(self) -> Iterator[Metric]:
        """Give Prometheus' client the families."""
        counts = self.counts
        arms = self._labelled(counts.arms)
        yield from _requests(arms)
        yield from self._shares()
        # Runners that are gone with their revision have no more to report.
        here = counts.weights.get(counts.live, counts.runners)
        yield from _runners(
            self._labelled({key: each for key, each in counts.runners.items() if key in here})
        )
        yield from _rewards(arms)
        yield from _quality(arms)
        yield from _shadows(self._labelled(counts.shadows))
        yield from self._server()

    def _labelled(self, series: dict[Key, _Counted]) -> list[tuple[list[str], _Counted]]:
        return [([self.deployment, *key], each) for key, each in series.items()]

    def _shares(self) -> Iterator[Metric]:
        counts = self.counts
        expected = _counter(families.EXPECTED)
        for key in counts.arms:
            expected.add_metric([self.deployment, *key], counts.expected.get(key, 0.0))
        yield expected
        weight = _gauge(families.WEIGHT)
        for key, share in counts.weights.get(counts.live, {}).items():
            weight.add_metric([self.deployment, *key], share)
        yield weight

    def _server(self) -> Iterator[Metric]:
        counts = self.counts
        family = _counter(families.FEEDBACK)
        for fate in _FATES:
            family.add_metric([self.deployment, fate], counts.feedback[fate])
        yield family
        family = _counter(families.REFUSED)
        for protocol, count in sorted(counts.refused.items()):
            family.add_metric([self.deployment, protocol], count)
        yield family
        family_up = _gauge(families.ENDPOINT_UP)
        for arm, up in sorted(counts.endpoints.items()):
            family_up.add_metric([self.deployment, arm], up)
        yield family_up
        yield from _consumers(self.deployment, counts.consumers)
        yield from _readings(self.deployment, counts.readings)
        for single, value in counts.single.items():
            made = _counter(single) if single.kind == "counter" else _gauge(single)
            made.add_metric([self.deployment], value)
            yield made


_Arms = list[tuple[list[str], ArmCounters]]
_Runners = list[tuple[list[str], RunnerStats]]


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


def _readings(deployment: str, readings: Iterable[Reading]) -> Iterator[Metric]:
    made = {each.name: _gauge(each) for each in families.READINGS}
    for each in readings:
        # A consumer of another version may know others.
        if each.family in made:
            made[each.family].add_metric([deployment, *each.labels], each.value)
    yield from made.values()


def _consumers(deployment: str, progress: Iterable[Progress]) -> Iterator[Metric]:
    made: dict[Family, CounterMetricFamily | GaugeMetricFamily] = {
        families.CONSUMER_LAG: _gauge(families.CONSUMER_LAG),
        families.CONSUMER_LAG_SECONDS: _gauge(families.CONSUMER_LAG_SECONDS),
        families.CONSUMER_SENT: _counter(families.CONSUMER_SENT),
        families.CONSUMER_FAILED: _counter(families.CONSUMER_FAILED),
        families.CONSUMER_DROPPED: _counter(families.CONSUMER_DROPPED),
    }
    for each in progress:
        values = (each.lag_events, each.lag_seconds, each.sent, each.failed, each.dropped)
        for family, value in zip(made.values(), values, strict=True):
            family.add_metric([deployment, each.name], value)
    yield from made.values()
