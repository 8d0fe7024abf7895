"""Whether requests still look like the training data, at every look: a fold of the journal.

Each feature of each arm, and what the arm answers, is a stream of values with a test of its own:
`mlops.stats.exchangeability`. All share one error guarantee: with J streams a stream alarms when
its e-value reaches J / alpha, so that P(any ever alarms without drift) is at most alpha.

Values are taken in the order of the journal, so that one look at the end and a thousand looks on
the way see the same. What was seen of a model is a fold of the journal; the consumer `drift` stores
it there, beside the log, with how far it goes. A later look continues from it, also where the
features before it were pruned.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mlops.journal.base import Journal
from mlops.journal.streaming import Decisions
from mlops.monitoring.drift_model import WatchedModel
from mlops.monitoring.drift_streams import Stream, WatchedStream
from mlops.monitoring.live_models import LiveModels, live_models
from mlops.monitoring.model_fold import ModelFold
from mlops.spec.deployment import Arm
from mlops.spec.metrics import PREDICTION
from mlops.stats.joint import LEAST_KNOWN, LEAST_ROWS, MOST_NUMBERS, JointFeature
from mlops.stats.profiles import FeatureProfile

#: Name of the consumer that stores what was seen.
CONSUMER = "drift"
#: P(any alarm, ever, without drift), by default.
ALPHA = 0.01
_AT_ONCE = 50_000
# Streams of an arm that metrics and report show: a model may have thousands of features.
_MOST_SHOWN = 100
# Revisions, or features, that a note names.
_NAMED = 4
_NO_CORRELATIONS = (
    "Correlations of `{}` are not watched: its reference profile has none. They need "
    f"{LEAST_ROWS} training rows, 2 to {MOST_NUMBERS} numbers that are known in "
    f"{LEAST_KNOWN * 100:.0f} % of them, and a model trained since correlations are watched."
)
_BY_REQUEST = (
    "In revision{} the policy chose the arm by the request, so that the requests of one arm are no "
    "sample of those that came: there every arm's features are compared in the requests of all "
    "arms, and answers are not compared."
)
_SEVERAL = "not compared, as an answer has several values: outputs, or probabilities by class"
_ANSWERS_HELD = "not compared, as the policy chooses the arm by the request"
#: Name of each feature of a model, or of a statistic of several, to what its training data had;
#: None if not known.
Features: TypeAlias = Mapping[str, FeatureProfile | JointFeature | None]


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What was found.

    Attributes:
        name: Name of the deployment.
        revision: The live one.
        alpha: P(any alarm, ever, without drift) is at most this.
        threshold: J / alpha.
        requests: Requests that were examined.
        left_out: Rows left out because their unit had one on that day at that model.
        without_features: Requests of which the journal has no features.
        streams: By arm, in the order of the model's features, the answers last.
        notes: What could not be compared, as sentences.
    """

    name: str
    revision: int
    alpha: float
    threshold: float
    requests: int
    left_out: int
    without_features: int
    streams: tuple[Stream, ...]
    notes: tuple[str, ...] = ()

    @property
    def drifted(self) -> tuple[Stream, ...]:
        """Return the streams that alarm."""
        return tuple(each for each in self.streams if each.alarm)

    @property
    def shown(self) -> tuple[Stream, ...]:
        """At most 100 streams of each arm: its answers, alarms, then those of most evidence."""

        def first(at: int) -> tuple[bool, bool, float]:
            each = self.streams[at]
            return each.feature != PREDICTION, not each.alarm, -each.e_value

        chosen: list[int] = []
        for arm in dict.fromkeys(each.arm for each in self.streams):
            its = [at for at, each in enumerate(self.streams) if each.arm == arm]
            chosen += sorted(sorted(its, key=first)[:_MOST_SHOWN])
        return tuple(self.streams[at] for at in chosen)


def watch(
    journal: Journal,
    name: str,
    features: Callable[[Arm], Features],
    alpha: float,
    on_progress: Callable[[int], None] = lambda _: None,
    season_ms: int = 0,
) -> DriftReport | None:
    """Look for drift in all that a journal holds of the arms that are live.

    Args:
        journal: Of one deployment.
        name: Its name.
        features: Gives the features of an arm's model.
        alpha: P(any alarm, ever, without drift).
        on_progress: Called with the number of requests read.
        season_ms: Length of a season whose requests are compared together; 0 for none.

    Returns:
        None if nothing was deployed.
    """
    fold = DriftFold(journal, features, season_ms)
    if not fold.follow():
        return None
    end = journal.end().decisions
    while fold.offset < end:
        fold.read(end, _AT_ONCE)
        on_progress(fold.requests)
    return fold.report(name, alpha)


class DriftFold(ModelFold[WatchedModel]):
    """What was seen of the models that are live, up to somewhere in the journal.

    Args:
        journal: Read from, and written to by `save` only.
        features: Gives the features of an arm's model; called for one that nothing is known of.
        season_ms: Length of a season; 0 for none. What was stored with another is not used.
    """

    consumer = CONSUMER

    def __init__(
        self, journal: Journal, features: Callable[[Arm], Features], season_ms: int = 0
    ) -> None:
        super().__init__(journal)
        self._features, self._season_ms = features, season_ms
        self._events = -1
        self._keys: Mapping[tuple[int, int], str] = {}
        self._by_request: Mapping[str, Sequence[int]] = {}
        self.revision = 0
        #: The live arms, each with the key of its model.
        self.arms: Mapping[str, tuple[Arm, str]] = {}

    @property
    def requests(self) -> int:
        """Requests that were examined."""
        return sum(model.requests for model in self._models.values())

    def follow(self) -> bool:
        """Watch what is live now; return whether anything is.

        Models that are no longer live are dropped: the caller stores them first if needed.
        """
        events = self._journal.revision_events()
        if len(events) != self._events:
            live = live_models(events)
            if live is None:
                return False
            self._begin(live)
            self._events = len(events)
        return True

    def _begin(self, live: LiveModels) -> None:
        arms = live.arms
        new = [key for _, key in arms.values() if key not in self._models]
        stored = self._journal.remembered(CONSUMER, new)
        known = {k: d for k, d in stored.items() if d["answers"]["season_ms"] == self._season_ms}
        models = {}
        for arm, key in arms.values():
            models[key] = self._models.get(key) or (
                WatchedModel.restored(known[key])
                if key in known
                else WatchedModel(
                    self._features(arm),
                    self._season_ms,
                    self._journal.begin(live.revisions(key)).decisions,
                )
            )
        self._keys, self.arms, self.revision = live.keys, arms, live.revision
        by_request = live.by_request()
        self._by_request = {key: sorted(by_request & live.revisions(key)) for key in models}
        for key in new:
            models[key].recall(partial(self._taken_by, key), self._journal)
        self._models = models

    def _taken_by(self, key: str, decisions: Decisions) -> NDArray[np.bool_]:
        answered: NDArray[np.bool_] = self._keys_of(decisions) == key
        return answered | self._chosen(key, decisions)

    def _chosen(self, key: str, decisions: Decisions) -> NDArray[np.bool_]:
        """Return which requests a policy sent, by what they are, to this model or another."""
        return np.isin(decisions.revisions, self._by_request[key])

    def _keys_of(self, decisions: Decisions) -> NDArray[np.str_]:
        """Return the key of the model that answered each request."""
        pairs = zip(decisions.revisions.tolist(), decisions.arms.tolist(), strict=True)
        return np.array([self._keys.get(pair, "") for pair in pairs], dtype=np.str_)

    def read(self, end: int, limit: int) -> int:
        """Read further; return the number of decisions read.

        Args:
            end: Last decision that may be read.
            limit: Most to read.
        """
        decisions = self._journal.decisions(self.offset, end, limit)
        if not len(decisions):
            for model in self._models.values():
                model.offset = max(model.offset, end)
            return 0
        tables, keys = decisions.features(), self._keys_of(decisions)
        for key, model in self._models.items():
            model.take(decisions, tables, keys == key, self._chosen(key, decisions))
        return len(decisions)

    def report(self, name: str, alpha: float) -> DriftReport:
        """Return what was found."""
        watched = list(self._all())
        threshold = max(len(watched), 1) / alpha
        models = self._models.values()
        return DriftReport(
            name=name,
            revision=self.revision,
            alpha=alpha,
            threshold=threshold,
            requests=self.requests,
            left_out=sum(model.left_out for model in models),
            without_features=sum(model.without for model in models),
            streams=tuple(
                self._found(each.stream(arm, feature, threshold)) for arm, feature, each in watched
            ),
            notes=(
                *(
                    _NO_CORRELATIONS.format(arm)
                    for arm, (_, key) in self.arms.items()
                    if self._models[key].lacks_correlations
                ),
                *self._personal_notes(),
                *self._by_request_note(),
            ),
        )

    def _found(self, stream: Stream) -> Stream:
        """Say of answers that are not compared now why."""
        key = self.arms[stream.arm][1]
        if stream.feature != PREDICTION:
            return stream
        if self.revision in self._by_request[key]:
            return replace(stream, why_not=_ANSWERS_HELD)
        many = self._models[key].several and not stream.rows
        return replace(stream, why_not=_SEVERAL) if many else stream

    def _personal_notes(self) -> Iterator[str]:
        """Say of which features little or nothing is compared, since their values are private."""
        models = self._models.values()
        different = {name for model in models for name in model.different}
        if different:
            yield (
                f"Of {_listed(different)} nearly every value is another, so that only the share of "
                "missing values is compared."
            )
        unseen = {name for model in models for name in model.unseen}
        if unseen:
            yield (
                f"The journal has no values of {_listed(unseen)}, so nothing of them is compared: "
                "not kept (`[journal] features`, `drop` or `hash`), or not sent."
            )

    def _by_request_note(self) -> Iterator[str]:
        numbers = sorted({number for each in self._by_request.values() for number in each})
        if numbers:
            more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
            listed = ", ".join(map(str, numbers[-_NAMED:]))
            yield _BY_REQUEST.format(f"{'s' if len(numbers) > 1 else ''} {listed}{more}")

    def _all(self) -> Iterator[tuple[str, str, WatchedStream]]:
        for arm, (_, key) in self.arms.items():
            model = self._models[key]
            for feature, watched in model.streams.items():
                yield arm, feature, watched
            yield arm, PREDICTION, model.answers


def _listed(names: Collection[str]) -> str:
    first = sorted(names)
    more = f" and {len(first) - _NAMED} more" if len(first) > _NAMED else ""
    return ", ".join(f"`{name}`" for name in first[:_NAMED]) + more


__all__ = ["ALPHA", "CONSUMER", "PREDICTION", "DriftFold", "DriftReport", "Features", "watch"]
