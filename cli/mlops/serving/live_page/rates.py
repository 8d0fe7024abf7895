"""Requests, errors and latencies of the last seconds, from counters that only grow."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from mlops.serving.counting import Counts
from mlops.spec.metrics import LATENCY_BOUNDS_S

#: Quantiles of the latency that are shown.
QUANTILES = (0.5, 0.95, 0.99)
#: Seconds over which rates are taken: a single second jumps.
WINDOW_S = 5


@dataclass(frozen=True, slots=True)
class Sample:
    """The counters of every arm at one moment.

    Attributes:
        time_s: When, seconds since 1970 in UTC.
        requests: Answered requests by arm.
        errors: Those answered with a status of 500 or more.
        refused: Those answered with a status of 400 to 499.
        buckets: Requests by latency, see `ArmCounters`.
    """

    time_s: float
    requests: dict[str, int]
    errors: dict[str, int]
    refused: dict[str, int]
    buckets: dict[str, list[int]]


def sample(counts: Counts, time_s: float) -> Sample:
    """Take what is needed out of counters, for the arms that are live."""
    requests: dict[str, int] = {}
    errors: dict[str, int] = {}
    refused: dict[str, int] = {}
    buckets: dict[str, list[int]] = {}
    live = counts.weights.get(counts.live, {})
    for key in live:
        arm = counts.arms.get(key)
        if arm is not None:
            requests[key[0]] = sum(arm.codes.values())
            errors[key[0]] = sum(n for code, n in arm.codes.items() if code >= 500)
            refused[key[0]] = sum(n for code, n in arm.codes.items() if 400 <= code < 500)
            buckets[key[0]] = list(arm.buckets)
    return Sample(time_s, requests, errors, refused, buckets)


class Rates:
    """The last samples, and what happened between them."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=WINDOW_S + 1)

    def add(self, taken: Sample) -> dict[str, list[float | None]]:
        """Add a sample.

        Returns:
            By arm requests/s, errors/s, the latency quantiles in ms, and refused requests/s.
        """
        self._samples.append(taken)
        first = self._samples[0]
        return {arm: _between(arm, first, taken) for arm in taken.requests}


def _between(arm: str, first: Sample, last: Sample) -> list[float | None]:
    seconds = last.time_s - first.time_s
    before = first.requests.get(arm, 0)
    # A worker that ended takes what it had not reported with it.
    if seconds <= 0 or last.requests[arm] < before:
        return [None] * (3 + len(QUANTILES))
    buckets = first.buckets.get(arm) or [0] * len(last.buckets[arm])
    new = [max(0, b - a) for a, b in zip(buckets, last.buckets[arm], strict=True)]
    requests, errors, refused = (
        round(max(0, now[arm] - then.get(arm, 0)) / seconds, 2)
        for then, now in (
            (first.requests, last.requests),
            (first.errors, last.errors),
            (first.refused, last.refused),
        )
    )
    quantiles = [quantile(new, each) for each in QUANTILES]
    latencies = [None if each is None else round(each * 1000, 3) for each in quantiles]
    return [requests, errors, *latencies, refused]


def quantile(buckets: Sequence[int], share: float) -> float | None:
    """Estimate a quantile of latencies in seconds, as Prometheus' `histogram_quantile` does.

    Args:
        buckets: One count per bound of `LATENCY_BOUNDS_S` and one beyond.
        share: In (0, 1).

    Returns:
        A point on the line through the bucket that holds it; the last bound if it is beyond; None
        without any.

    >>> quantile([0, 10, *[0] * 13], 0.5)
    0.00075
    """
    total = sum(buckets)
    if not total:
        return None
    rank, low, passed = share * total, 0.0, 0
    for bound, count in zip(LATENCY_BOUNDS_S, buckets, strict=False):
        if count and passed + count >= rank:
            return low + (bound - low) * (rank - passed) / count
        low, passed = bound, passed + count
    return LATENCY_BOUNDS_S[-1]
