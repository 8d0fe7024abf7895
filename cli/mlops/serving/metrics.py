"""Counters of one server process.

They are kept as plain numbers, because the request path adds to them, and turned into the families
of `mlops.spec.metrics` when scraped (see `exposing`).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

from mlops.journal.consumer_records import Progress, Reading
from mlops.policies.drawing import Draws
from mlops.serving.counting import ArmCounters, Counts, Key
from mlops.serving.exposing import LATE, expose
from mlops.serving.runners.base import RunnerStats
from mlops.spec.deployment import Revision
from mlops.spec.metrics import Family

# Policy epochs whose draws are still counted; earlier ones are over for every request.
_EPOCHS = 16


class HasProgress(Protocol):
    """Knows how far the consumers of the journal are, and what they measured last."""

    progress: list[Progress]
    readings: list[Reading]


class Metrics:
    """All counters of one process.

    `arm` and its `ArmCounters.count` are called on the event loop only; `lock` guards what the
    journal's thread adds, and what those of shadows count.

    Args:
        deployment: Name of the deployment, a label of every series.
        single: Called at each scrape: families of one series for the server, and their values.
    """

    def __init__(self, deployment: str, single: Callable[[], Mapping[Family, float]]) -> None:
        self._deployment = deployment
        self._single = single
        self._arms: dict[Key, ArmCounters] = {}
        self._shadows: dict[Key, ArmCounters] = {}
        self._weights: dict[int, dict[Key, float]] = {}
        self._shares: dict[tuple[int, int], dict[Key, float]] = {}
        self._expected: dict[Key, float] = {}
        self.endpoints: dict[str, bool] = {}
        self.consumers: HasProgress | None = None
        #: What the runners of the live arms have done, by name and version of the arm.
        self.runners: dict[Key, RunnerStats] = {}
        self.lock = threading.Lock()
        #: Requests whose arm was drawn, by the numbers of the revision and of the policy epoch.
        self.draws: Counter[tuple[int, int]] = Counter()
        self.refused: Counter[str] = Counter()
        self.feedback: Counter[str] = Counter()

    def adopt(self, revision: Revision, draws: Draws) -> None:
        """Expect the arms of `revision` to get the shares that are in force from now on."""
        keys = [(arm.name, arm.model.label) for arm in revision.spec.arms]
        for name, version in keys:
            self.arm(name, version)
        shares = dict(zip(keys, draws.probabilities, strict=True))
        self._weights[revision.number] = shares
        for each in draws.all:
            drawn = dict(zip(keys, each.probabilities, strict=True))
            # Those in force come last.
            self._shares.pop((revision.number, each.epoch), None)
            self._shares[revision.number, each.epoch] = drawn
        while len(self._shares) > _EPOCHS + len(draws.all):
            # Every request drawn by it is counted by now; only the sum is kept.
            self._expected = self._expecting(only := next(iter(self._shares)))
            del self._shares[only], self.draws[only]

    def _expecting(self, *epochs: tuple[int, int]) -> dict[Key, float]:
        """Add the expected draws of these epochs to those of earlier ones."""
        expected = dict(self._expected)
        for epoch in epochs:
            for key, share in self._shares[epoch].items():
                expected[key] = expected.get(key, 0.0) + self.draws[epoch] * share
        return expected

    def arm(self, name: str, version: str) -> ArmCounters:
        """Return the counters of an arm, the same object each time."""
        return _of(self._arms, (name, version))

    def shadow(self, name: str, version: str) -> ArmCounters:
        """Return the counters of a shadow, the same object each time."""
        return _of(self._shadows, (name, version))

    def counts(self) -> Counts:
        """Return what was counted so far: the counters themselves; the caller must hold `lock`."""
        return Counts(
            arms=self._arms,
            shadows=self._shadows,
            runners=self.runners,
            expected=self._expecting(*self._shares),
            refused=self.refused,
            feedback=self.feedback,
            endpoints=self.endpoints,
            consumers=self.consumers.progress if self.consumers else [],
            readings=self.consumers.readings if self.consumers else [],
            single=dict(self._single()),
            weights=self._weights,
        )

    def expose(
        self, counts: Counts | None = None, verdict: Mapping[Family, float] | None = None
    ) -> bytes:
        """Write every series in Prometheus' text format.

        Args:
            counts: What to write; what was counted here by default.
            verdict: Families of the verdict, which one process knows for all.
        """
        if counts is not None:
            return expose(self._deployment, counts, verdict or {})
        with self.lock:
            return expose(self._deployment, self.counts(), verdict or {})


def _of(counters: dict[Key, ArmCounters], key: Key) -> ArmCounters:
    # Called for every request: no object is created in vain.
    return counters.get(key) or counters.setdefault(key, ArmCounters())


__all__ = ["LATE", "ArmCounters", "Metrics"]
