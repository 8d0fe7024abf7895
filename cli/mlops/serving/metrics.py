"""Counters of the server, exposed for Prometheus at `/metrics`.

They are kept as plain numbers, because the request path adds to them, and turned into Prometheus
families when scraped. A Prometheus counter must not fall and rewards may be negative, so rewards
are exported as the sums of their positive and negative parts and a count.

Text format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from mlops.rewards.base import Value
from mlops.rewards.exact import exact

_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ARM = ["deployment", "arm", "version"]
_SHADOW = ["deployment", "shadow", "version"]


@dataclass(slots=True)
class ArmCounters:
    """What one model version did as one arm, since the server started.

    Attributes:
        codes: Requests by HTTP status.
        forced: Requests whose arm a tester chose; they are in `codes` too.
        rows: Rows predicted.
        latency_s: Sum of latencies in seconds.
        buckets: Requests by latency, one count per bound of `_BOUNDS_S` and one beyond.
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

    codes: Counter[int] = field(default_factory=Counter)
    forced: int = 0
    rows: int = 0
    latency_s: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(_BOUNDS_S) + 1))
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
        self.buckets[bisect_left(_BOUNDS_S, latency_s)] += 1

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
            self.correct += exact(prediction, truth) == 1


class Metrics:
    """All counters of one server.

    `arm` and its `ArmCounters.count` are called on the event loop only; `lock` guards what the
    journal's thread adds, and what those of shadows count.

    Args:
        deployment: Name of the deployment, a label of every series.
        gauges: Called at each scrape: name, help text and value of single numbers.
    """

    def __init__(self, deployment: str, gauges: Callable[[], list[tuple[str, str, float]]]) -> None:
        self._deployment = deployment
        self._gauges = gauges
        self._arms: dict[tuple[str, str], ArmCounters] = {}
        self._shadows: dict[tuple[str, str], ArmCounters] = {}
        self.endpoints: dict[str, bool] = {}
        self.lock = threading.Lock()
        self.refused: Counter[str] = Counter()
        self.feedback: Counter[str] = Counter()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def arm(self, name: str, version: str) -> ArmCounters:
        """Return the counters of an arm, the same object each time."""
        return self._arms.setdefault((name, version), ArmCounters())

    def shadow(self, name: str, version: str) -> ArmCounters:
        """Return the counters of a shadow, the same object each time."""
        return self._shadows.setdefault((name, version), ArmCounters())

    def expose(self) -> bytes:
        """Write every series in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Give Prometheus' client the families; called by `expose`."""
        with self.lock:
            arms = [([self._deployment, *key], counters) for key, counters in self._arms.items()]
            yield from _requests(arms)
            yield from _rewards(arms)
            yield from _quality(arms)
            yield from _shadows(
                [([self._deployment, *key], each) for key, each in self._shadows.items()]
            )
            yield from self._server()

    def _server(self) -> Iterator[Metric]:
        labels = ["deployment", "outcome"]
        family = CounterMetricFamily(
            "mlops_feedback", "Feedback by what became of it.", labels=labels
        )
        for fate, count in sorted(self.feedback.items()):
            family.add_metric([self._deployment, fate], count)
        yield family
        family = CounterMetricFamily(
            "mlops_refused_requests",
            "Requests that could not be read, by protocol.",
            labels=["deployment", "protocol"],
        )
        for protocol, count in sorted(self.refused.items()):
            family.add_metric([self._deployment, protocol], count)
        yield family
        family_up = GaugeMetricFamily(
            "mlops_endpoint_up",
            "Whether the endpoint of an arm or shadow answered the last probe.",
            labels=["deployment", "arm"],
        )
        for arm, up in sorted(self.endpoints.items()):
            family_up.add_metric([self._deployment, arm], up)
        yield family_up
        for name, text, value in self._gauges():
            gauge = GaugeMetricFamily(name, text, labels=["deployment"])
            gauge.add_metric([self._deployment], value)
            yield gauge


_Arms = list[tuple[list[str], ArmCounters]]


def _requests(arms: _Arms) -> Iterator[Metric]:
    yield _by_code("mlops_requests", "Answered prediction requests.", _ARM, arms)
    text = "From request read to answer written."
    yield _latencies("mlops_request_duration_seconds", text, _ARM, arms)
    yield _counter("mlops_rows", "Rows predicted.", arms, lambda arm: arm.rows)
    yield _counter(
        "mlops_forced_requests", "Requests whose arm a tester chose.", arms, lambda arm: arm.forced
    )


def _shadows(shadows: _Arms) -> Iterator[Metric]:
    yield _by_code("mlops_shadow_requests", "Copies that a shadow answered.", _SHADOW, shadows)
    text = "From a copy's turn to the shadow's answer."
    yield _latencies("mlops_shadow_duration_seconds", text, _SHADOW, shadows)
    family = CounterMetricFamily(
        "mlops_shadow_dropped", "Copies that found a shadow's queue full.", labels=_SHADOW
    )
    for labels, shadow in shadows:
        family.add_metric(labels, shadow.dropped)
    yield family


def _by_code(name: str, text: str, labels: list[str], arms: _Arms) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[*labels, "code"])
    for values, arm in arms:
        for code, count in sorted(arm.codes.items()):
            family.add_metric([*values, str(code)], count)
    return family


def _latencies(name: str, text: str, labels: list[str], arms: _Arms) -> HistogramMetricFamily:
    histogram = HistogramMetricFamily(name, text, labels=labels)
    for values, arm in arms:
        total, buckets = 0, []
        for bound, count in zip([*map(str, _BOUNDS_S), "+Inf"], arm.buckets, strict=True):
            total += count
            buckets.append((bound, float(total)))
        histogram.add_metric(values, buckets, arm.latency_s)
    return histogram


def _rewards(arms: _Arms) -> Iterator[Metric]:
    yield _counter("mlops_rewards", "Rewards received.", arms, lambda arm: arm.rewards)
    yield _counter(
        "mlops_reward_positive", "Sum of positive rewards.", arms, lambda arm: arm.positive
    )
    yield _counter(
        "mlops_reward_negative",
        "Sum of negative rewards, sign dropped.",
        arms,
        lambda arm: arm.negative,
    )


def _quality(arms: _Arms) -> Iterator[Metric]:
    yield _counter("mlops_truths", "Numeric truths received.", arms, lambda arm: arm.truths)
    yield _counter("mlops_squared_error", "Sum of squared errors.", arms, lambda arm: arm.squared)
    yield _counter(
        "mlops_absolute_error", "Sum of absolute errors.", arms, lambda arm: arm.absolute
    )
    numeric = [item for item in arms if item[1].truths]
    yield _gauge(
        "mlops_rmse",
        "Root mean squared error against the truth.",
        numeric,
        lambda arm: math.sqrt(arm.squared / arm.truths),
    )
    yield _gauge(
        "mlops_mae",
        "Mean absolute error against the truth.",
        numeric,
        lambda arm: arm.absolute / arm.truths,
    )
    labelled = [item for item in arms if item[1].labels]
    yield _gauge(
        "mlops_accuracy",
        "Share of predictions equal to the truth.",
        labelled,
        lambda arm: arm.correct / arm.labels,
    )


def _counter(
    name: str, text: str, arms: _Arms, value: Callable[[ArmCounters], float]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=_ARM)
    for labels, arm in arms:
        family.add_metric(labels, value(arm))
    return family


def _gauge(
    name: str, text: str, arms: _Arms, value: Callable[[ArmCounters], float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=_ARM)
    for labels, arm in arms:
        family.add_metric(labels, value(arm))
    return family
