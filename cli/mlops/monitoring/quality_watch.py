"""Whether models answer worse than in validation, where the truth arrives: a fold of the journal.

Each measure of each live model is tested for itself (`mlops.stats.losses`). All share one error
guarantee: with J measures of all arms, whether they have a truth yet or not, one alarms when its
e-value reaches J / alpha, so that P(any ever alarms though none is worse than its limit) is at most
alpha. Rows count in the order in which their truth came; of corrections the first counts, and
requests that a tester sent to an arm are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeAlias

import numpy as np

from mlops.journal.base import Journal
from mlops.journal.records import Observation
from mlops.journal.terms import terms_of
from mlops.monitoring.live_models import LiveModels, live_models
from mlops.monitoring.model_fold import ModelFold
from mlops.monitoring.quality_measures import (
    MEASURES,
    MeasureName,
    measures_for,
    most_measures,
    with_figures,
)
from mlops.monitoring.quality_streams import (
    QualityStream,
    WatchedMeasure,
    restored_measure,
    watch_measure,
)
from mlops.rewards.base import Terms, Value
from mlops.rewards.kinds import pair_of
from mlops.rewards.labels import UnknownLabels, is_unknown
from mlops.spec.deployment import Arm

#: Name of the consumer that stores what was seen.
CONSUMER = "quality"
#: P(any alarm, ever, though nothing is worse), by default.
ALPHA = 0.01
_AT_ONCE = 20_000
# How long the decision of an outcome may take to be stored.
_JOIN_MS = 60_000
#: What a model's run logged of its validation.
Figures: TypeAlias = Mapping[MeasureName, float]


@dataclass(frozen=True, slots=True)
class Judged:
    """How far the truth about one arm has come.

    Attributes:
        arm: Name of the arm.
        rows: Rows whose truth is known and was compared with the prediction.
        answered: Rows that it answered in all.
        up_to_ms: When the newest of the judged rows was asked about, milliseconds since 1970 in
            UTC; None before the first.
        unknown_labels: Rows whose label is none of the classes of the live models.
        unknown: The same as a sentence; empty for none.
        not_compared: Other rows whose truth is known and could not be compared.
        why_not: What prediction and truth of the first of them are; empty for none.
    """

    arm: str
    rows: int
    answered: int
    up_to_ms: int | None
    unknown_labels: int = 0
    unknown: str = ""
    not_compared: int = 0
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class QualityReport:
    """What was found.

    Attributes:
        name: Name of the deployment.
        revision: The live one.
        alpha: P(any alarm, ever, though nothing is worse) is at most this.
        threshold: J / alpha.
        judged: By arm.
        streams: By arm.
        notes: What a reader must know, as sentences.
    """

    name: str
    revision: int
    alpha: float
    threshold: float
    judged: tuple[Judged, ...]
    streams: tuple[QualityStream, ...]
    notes: tuple[str, ...] = ()

    @property
    def worse(self) -> tuple[QualityStream, ...]:
        """Return the measures that alarm."""
        return tuple(each for each in self.streams if each.alarm)


@dataclass(slots=True)
class _Model:
    """What was seen of one model.

    Attributes:
        measures: By name; empty before the first truth that can be compared.
        offset: Last outcome of the journal that was read.
        voided: How many outcomes were void when it began.
        judged: Rows whose truth was compared.
        up_to_ms: When the newest of them was asked about.
        unknown: Labels that are none of the classes.
        not_compared: Other rows whose truth could not be compared.
        why_not: What prediction and truth of the first of them are.
        complete: Whether all measures of its answers are among them; an earlier release watched
            probabilities by their error rate only, unless they were the reward.
    """

    measures: list[WatchedMeasure] = field(default_factory=list)
    offset: int = 0
    voided: int = 0
    judged: int = 0
    up_to_ms: int | None = None
    unknown: UnknownLabels = field(default_factory=UnknownLabels)
    not_compared: int = 0
    why_not: str = ""
    complete: bool = True

    def take(
        self, seen: Sequence[Observation], terms: Terms, known: Sequence[Collection[Value]]
    ) -> None:
        """Take outcomes in their order; `known` are the classes of every live model."""
        losses: dict[MeasureName, list[float]] = {each.name: [] for each in self.measures}
        times: dict[MeasureName, list[int]] = {each.name: [] for each in self.measures}
        for each in seen:
            compared = False
            for name, values in losses.items():
                try:
                    values.append(MEASURES[name].loss(each.prediction, each.truth, terms))
                except ValueError:
                    continue
                times[name].append(each.time_ms)
                compared = True
            self.judged += compared
            if "error_rate" in losses and is_unknown(each.prediction, each.truth, known):
                self.unknown.add(each.truth, wrong=compared)
            elif not compared:
                self.not_compared += 1
                self.why_not = self.why_not or pair_of(each.prediction, each.truth)
            if compared and each.decided_ms is not None:
                self.up_to_ms = max(self.up_to_ms or 0, each.decided_ms)
        for measure in self.measures:
            measure.take(np.array(losses[measure.name], dtype=np.float64), times[measure.name])

    def document(self) -> dict[str, Any]:
        """Return all that it knows, as JSON data."""
        return {
            "measures": [each.document() for each in self.measures],
            "offset": self.offset,
            "voided": self.voided,
            "judged": self.judged,
            "up_to_ms": self.up_to_ms,
            "unknown": asdict(self.unknown),
            "not_compared": self.not_compared,
            "why_not": self.why_not,
            "complete": self.complete,
        }


def _restored(document: Mapping[str, Any]) -> _Model:
    measures = [restored_measure(each) for each in document["measures"]]
    # A later version may have stored more, and been rolled back since.
    kept = {each.name for each in fields(_Model)} - {"measures", "unknown"}
    others = {name: value for name, value in document.items() if name in kept}
    others.setdefault("complete", False)
    # A state of an earlier version has not counted them.
    return _Model(measures, unknown=UnknownLabels(**document.get("unknown", {})), **others)


class QualityFold(ModelFold[_Model]):
    """What was seen of the models that are live, up to somewhere in the journal.

    Args:
        journal: Read from, and written to by `save` only.
        figures: Gives the validation figures of an arm's model; called once its first truth came.
        clock: Seconds since 1970. With one, an outcome waits for its decision, which another worker
            may store later, and those behind it wait too: what is saved has left none out.
    """

    consumer = CONSUMER

    def __init__(
        self,
        journal: Journal,
        figures: Callable[[Arm], Figures],
        clock: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(journal)
        self._figures, self._clock = figures, clock
        self._known: tuple[int, int] | None = None
        self._terms: dict[str, Terms] = {}
        self.live: LiveModels | None = None

    def follow(self) -> bool:
        """Watch what is live now; return whether anything is.

        What was voided cannot be taken out of a product: all is read again.
        """
        events, voided = self._journal.revision_events(), self._journal.count_voids()
        if self._known == (len(events), voided):
            return True
        live = live_models(events)
        if live is None:
            return False
        keys = [key for _, key in live.arms.values()]
        known = self._journal.remembered(CONSUMER, keys)
        models = {**{key: _restored(known[key]) for key in known}, **self._models}
        self._models = {
            key: models[key]
            if key in models and models[key].voided == voided
            else _Model(voided=voided, offset=self._journal.begin(live.revisions(key)).outcomes)
            for key in keys
        }
        terms = terms_of(events, live.spec)
        self._terms = dict(zip(keys, terms, strict=True))
        self.live, self._known = live, (len(events), voided)
        return True

    def read(self, end: int, limit: int) -> int:
        """Read on; return how many outcomes that were, 0 where the next one waits.

        Args:
            end: Last outcome that may be read.
            limit: Most to read.
        """
        assert self.live is not None
        some, upto = self._journal.outcomes(self.offset, end, limit)
        now_ms = int(self._clock() * 1000) if self._clock else 0
        if self._clock and (early := [e.seq for e in some if e.may_join(now_ms, _JOIN_MS)]):
            some, upto = [each for each in some if each.seq < early[0]], early[0] - 1
        mine: dict[str, list[Observation]] = {key: [] for key in self._models}
        for each in some:
            key = self.live.keys.get((each.revision, each.arm), "")
            if key in mine and each.seq > self._models[key].offset and counts(each):
                mine[key].append(each)
        for arm, key in self.live.arms.values():
            model, seen = self._models[key], mine[key]
            if seen and not (model.measures and model.complete):
                begun = {each.name for each in model.measures}
                new = [each for each in self._begin(arm, seen) if each.name not in begun]
                model.measures, model.complete = [*model.measures, *new], True
            model.take(seen, self._terms[key], self._classes)
            model.offset = max(model.offset, upto)
        return len(some)

    def _begin(self, arm: Arm, seen: Sequence[Observation]) -> list[WatchedMeasure]:
        assert self.live is not None
        reward = self.live.spec.reward
        found = (measures_for(reward, each.prediction, each.truth) for each in seen)
        names = next(filter(None, found), ())
        figures = self._figures(arm) if names else {}
        return [watch_measure(name, figures.get(name)) for name in with_figures(names, figures)]

    @property
    def _classes(self) -> list[tuple[Value, ...]]:
        return [terms.classes for terms in self._terms.values()]

    def answered(self) -> dict[str, int]:
        """Count the rows that each live model answered, by its key; reads the whole journal."""
        assert self.live is not None
        found: dict[str, int] = {}
        for each in self._journal.traffic():
            key = self.live.keys.get((each.revision, each.arm), "")
            found[key] = found.get(key, 0) + each.rows
        return found

    def report(
        self, name: str, alpha: float, answered: Mapping[str, int] | None = None,
        *, with_examples: bool = False,
    ) -> QualityReport:  # fmt: skip
        """Return what was found.

        Args:
            name: Name of the deployment.
            alpha: P(any alarm, ever, though nothing is worse).
            answered: Rows that each model answered, by its key; what was judged by default.
            with_examples: Whether to quote labels of single requests.
        """
        assert self.live is not None
        arms = [(arm, self._models[key], key) for arm, key in self.live.arms.values()]
        measures = [(arm.name, each) for arm, model, _ in arms for each in model.measures]
        # Also those of arms without a truth so far: an alarm must not depend on which came first.
        most = most_measures(self.live.spec.reward)
        threshold = sum(len(model.measures) or most for _, model, _ in arms) / alpha
        known = answered or {}
        return QualityReport(
            name=name,
            revision=self.live.revision,
            alpha=alpha,
            threshold=threshold,
            judged=tuple(
                Judged(
                    arm.name,
                    model.judged,
                    known.get(key, model.judged),
                    model.up_to_ms,
                    model.unknown.count,
                    model.unknown.sentence(self._classes, with_examples=with_examples),
                    model.not_compared,
                    model.why_not,
                )
                for arm, model, key in arms
            ),
            streams=tuple(each.stream(arm, threshold) for arm, each in measures),
        )


def counts(seen: Observation) -> bool:
    """Whether an outcome says something about what was answered to a drawn request."""
    told = seen.truth is not None and seen.prediction is not None
    return told and seen.propensity > 0 and not seen.ordinal


def watch_quality(
    journal: Journal, name: str, figures: Callable[[Arm], Figures], alpha: float
) -> QualityReport | None:
    """Look at all the truth that a journal holds about the arms that are live.

    Labels that are none of the classes are quoted: the report is for who may read the journal.

    Args:
        journal: Of one deployment.
        name: Its name.
        figures: Gives the validation figures of an arm's model.
        alpha: P(any alarm, ever, though nothing is worse).

    Returns:
        None where nothing was ever deployed.
    """
    fold = QualityFold(journal, figures)
    if not fold.follow():
        return None
    end = journal.end().outcomes
    while fold.offset < end:
        fold.read(end, _AT_ONCE)
    return fold.report(name, alpha, fold.answered(), with_examples=True)
