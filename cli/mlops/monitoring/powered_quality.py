"""How good all answers are where few have a label, if labels come at random.

Offered only where the project says so (`[watch] labels = "random"`): see what must hold in
`mlops.stats.prediction_powered`. Losses of answers without a label are guessed from the answers.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mlops.journal.base import Journal
from mlops.journal.records import Observation
from mlops.journal.streaming import Decisions
from mlops.journal.terms import terms_of
from mlops.monitoring.live_models import LiveModels, live_models
from mlops.monitoring.powered_losses import (
    PoweredKind,
    covariates,
    covariates_of,
    likely_of,
    powered_kinds,
)
from mlops.monitoring.quality_measures import measures_for
from mlops.monitoring.quality_watch import counts
from mlops.rewards.base import Terms, Value
from mlops.stats.prediction_powered import FITTED, Proxy, Sums, fit_proxy, powered_mean

_AT_ONCE = 20_000
_FAILED = 400
#: Fewer labelled rows, beside those that the proxy is fitted on, say nothing yet.
LEAST = 20
_TOO_FEW = f"not before {FITTED + LEAST} rows have a label"
_TOGETHER = (
    "not estimated: {:,} rows are of {:,} requests and sticky units, and rows that "
    "belong together are no independent sample, which an interval needs"
)
_UNKNOWN = (
    "not estimated: {count:,} of {labels:,} labels cannot be compared with their answers, such as "
    "{truth!r}, and the others are no random sample; `mlops journal void` takes out wrong ones"
)


@dataclass(frozen=True, slots=True)
class PoweredMeasure:
    """One measure of one arm, over all of its answers.

    Attributes:
        arm: Name of the arm.
        measure: Name of the measure, or `positive_rate`: the share of the second of two classes
            among the truths.
        value: Estimate; None where `why_not` says why.
        lower: Lower end of its confidence interval.
        upper: Upper end; None where the largest loss is not known.
        labelled: Rows that have a label.
        rows: Rows that were answered.
        by_labels_alone: Whether the answers say too little to be of use.
        why_not: Why there is no estimate; else empty.
    """

    arm: str
    measure: str
    value: float | None
    lower: float | None
    upper: float | None
    labelled: int
    rows: int
    by_labels_alone: bool
    why_not: str = ""


@dataclass(slots=True)
class _Estimate:
    """What is known of one measure of one arm.

    Attributes:
        kind: The measure.
        losses: Of the labelled rows that have one.
        unknown: Labels that have none, how many.
        example: One of them.
        proxy: g, once `FITTED` rows have a label.
        sums: Of g of all rows but those.
    """

    kind: PoweredKind
    losses: array[float] = field(default_factory=lambda: array("d"))
    unknown: int = 0
    example: Value = None
    proxy: Proxy | None = None
    sums: Sums = field(default_factory=lambda: Sums.of(np.empty(0), 0.0))

    def take(self, seen: Observation, terms: Terms) -> None:
        """Take a label."""
        try:
            self.losses.append(self.kind.loss(seen.prediction, seen.truth, terms))
        except ValueError:
            self.unknown += 1
            self.example = seen.truth

    def fitted(self, x: NDArray[np.float64], share: float) -> Proxy:
        """Fit g on the first labelled rows."""
        return fit_proxy(x[:FITTED], np.array(self.losses[:FITTED]), self.kind.span, share)


@dataclass(slots=True)
class _Arm:
    """The answers of one arm and their labels.

    Attributes:
        name: Its name.
        terms: What its answers mean.
        measures: None before its first label.
        x: Covariates of the labelled rows, two each.
        first: Nonces of the first `FITTED` labelled rows.
        first_ms: When the last of them got its label.
        labelled: Rows with a label.
        rows: Rows that were answered.
        begun: Those answered up to `first_ms`.
        alone: Requests without a sticky unit.
        units: The first eight bytes of each other's.
    """

    name: str
    terms: Terms
    measures: list[_Estimate] = field(default_factory=list)
    x: array[float] = field(default_factory=lambda: array("d"))
    first: set[bytes] = field(default_factory=set)
    first_ms: int = 0
    labelled: int = 0
    rows: int = 0
    begun: int = 0
    alone: int = 0
    units: array[int] = field(default_factory=lambda: array("Q"))

    def label(self, seen: Observation, reward: str) -> None:
        """Take a label, in the order in which they came."""
        if not self.measures:
            # A truth that cannot be compared counts as such.
            names = measures_for(reward, seen.prediction, seen.truth) or ("error_rate",)
            kinds = powered_kinds(names, len(likely_of(seen.prediction, self.terms)))
            self.measures = [_Estimate(kind) for kind in kinds]
        for each in self.measures:
            each.take(seen, self.terms)
        self.x.extend(covariates_of(seen.prediction, self.terms))
        self.labelled += 1
        if self.labelled <= FITTED:
            self.first.add(seen.nonce)
            self.first_ms = seen.time_ms

    def fit(self) -> None:
        """Fit what may be of use, once all labels are read and before any row is."""
        for each in self.measures:
            if len(each.losses) >= FITTED and not each.unknown:
                each.proxy = each.fitted(self.covariates(), 0.0)

    def covariates(self) -> NDArray[np.float64]:
        """Return those of the labelled rows, (n, 2)."""
        return np.array(self.x).reshape(-1, 2)

    def take(self, some: Decisions, at: Sequence[int]) -> None:
        """Take rows that it answered, those of the requests `at`."""
        answers: list[Value] = []
        for request in at:
            found = some.predictions_of(request)
            if not found:
                continue
            unit = some.units[request]
            if unit is None:
                self.alone += 1
            else:
                self.units.append(int.from_bytes(unit[:8], "big"))
            self.rows += len(found)
            self.begun += len(found) * (int(some.times_ms[request]) <= self.first_ms)
            if some.nonces[request] not in self.first:
                answers += found
        x = covariates(answers, self.terms)
        for each in self.measures:
            if each.proxy is not None:
                each.sums += Sums.of(each.proxy(x), each.proxy.intercept)

    def estimates(self, alpha: float) -> list[PoweredMeasure]:
        """Return all measures; `alpha` is of all of them together."""
        clusters = self.alone + len(np.unique(np.array(self.units, dtype=np.uint64)))
        together = "" if self.rows <= clusters else _TOGETHER.format(self.rows, clusters)
        share = alpha / max(len(self.measures), 1)
        return [self._estimate(each, share, together) for each in self.measures]

    def _estimate(self, each: _Estimate, alpha: float, why_not: str) -> PoweredMeasure:
        if each.unknown:
            why_not = why_not or _UNKNOWN.format(
                count=each.unknown, labels=self.labelled, truth=each.example
            )
        if not each.sums.counts.all() or self.labelled < FITTED + LEAST:
            why_not = why_not or _TOO_FEW
        if why_not:
            return PoweredMeasure(self.name, each.kind.name, None, None, None, self.labelled,
                                  self.rows, by_labels_alone=False, why_not=why_not)  # fmt: skip
        x = self.covariates()
        proxy = each.fitted(x, min(1.0, FITTED / max(self.begun, FITTED)))
        rest = np.array(each.losses[FITTED:])
        mean = powered_mean(proxy, each.sums, proxy(x[FITTED:]), rest, alpha)
        value, lower, upper = (float(end[0]) for end in (mean.value, mean.lower, mean.upper))
        low, high = each.kind.span
        high = math.inf if high is None else high
        return PoweredMeasure(
            arm=self.name,
            measure=each.kind.name,
            value=each.kind.of_mean(min(max(value, low), high)),
            lower=each.kind.of_mean(lower),
            upper=None if math.isinf(upper) else each.kind.of_mean(min(upper, high)),
            labelled=self.labelled,
            rows=self.rows,
            by_labels_alone=proxy.is_constant,
        )


def powered_quality(
    journal: Journal, alpha: float, live: LiveModels | None = None
) -> tuple[PoweredMeasure, ...]:
    """Estimate how good all answers of the live models are.

    Args:
        journal: Of one deployment.
        alpha: Probability that any interval of any arm ever leaves the truth out.
        live: The live models; by default those of the journal.
    """
    events = journal.revision_events()
    live = live or live_models(events)
    if live is None:
        return ()
    terms = terms_of(events, live.spec)
    arms = {
        key: _Arm(name, its) for (name, (_, key)), its in zip(live.arms.items(), terms, strict=True)
    }
    end, after, seen = journal.end(), 0, 0
    while seen < end.outcomes:
        outcomes, seen = journal.outcomes(seen, end.outcomes, _AT_ONCE)
        for each in outcomes:
            arm = arms.get(live.keys.get((each.revision, each.arm), ""))
            if arm is not None and counts(each):
                arm.label(each, live.spec.reward)
    for arm in arms.values():
        arm.fit()
    while after < end.decisions:
        some = journal.decisions(after, end.decisions, _AT_ONCE)
        if not len(some):
            break
        after = int(some.seqs[-1])
        mine: dict[str, list[int]] = {}
        for at in np.flatnonzero((some.propensities > 0) & (some.statuses < _FAILED)).tolist():
            key = live.keys.get((int(some.revisions[at]), int(some.arms[at])), "")
            mine.setdefault(key, []).append(at)
        for key, requests in mine.items():
            if key in arms and arms[key].measures:
                arms[key].take(some, requests)
    # An arm has its share from the beginning, so that what it says needs none of the others.
    return tuple(each for arm in arms.values() for each in arm.estimates(alpha / len(arms)))
