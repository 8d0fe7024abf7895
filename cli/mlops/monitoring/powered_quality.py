"""How good all answers are where few have a label, if labels come at random.

Offered only where the project says so (`[watch] labels = "random"`): see what must hold in
`mlops.stats.prediction_powered`. Losses of answers without a label are guessed from the answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mlops.journal.base import Journal
from mlops.journal.records import Observation
from mlops.journal.terms import terms_of
from mlops.monitoring.live_models import LiveModels, live_models
from mlops.monitoring.quality_measures import MEASURES, measures_for
from mlops.monitoring.quality_watch import counts
from mlops.rewards.base import Terms, Value
from mlops.rewards.kinds import is_number, same
from mlops.rewards.probabilities import probabilities
from mlops.stats.prediction_powered import FITTED, fit_proxy, powered_mean

_AT_ONCE = 20_000
_FAILED = 400
#: Fewer labelled rows, beside those that the proxy is fitted on, say nothing yet.
LEAST = 20


@dataclass(frozen=True, slots=True)
class PoweredMeasure:
    """One measure of one arm, over all of its answers.

    Attributes:
        arm: Name of the arm.
        measure: Name of the measure, or `positive_rate`: the share of the second of two classes
            among the truths.
        value: Estimate; None before there are `FITTED` + `LEAST` labelled rows.
        lower: Lower end of its confidence interval.
        upper: Upper end; None where the largest loss is not known.
        labelled: Rows that have a label.
        rows: Rows that were answered.
        by_labels_alone: Whether the answers say too little to be of use.
    """

    arm: str
    measure: str
    value: float | None
    lower: float | None
    upper: float | None
    labelled: int
    rows: int
    by_labels_alone: bool


@dataclass(frozen=True, slots=True)
class _Kind:
    """What is estimated: a loss, its least and largest value, and how a mean becomes a measure."""

    name: str
    loss: Callable[[Value, Value, Terms], float]
    span: tuple[float, float | None]
    of_mean: Callable[[float], float] = lambda x: x


@dataclass(slots=True)
class _Rows:
    """Answers of one model.

    Attributes:
        answers: Each row's.
        times_ms: When it was asked.
        nonces: Of which request it is.
        labelled: Rows with a label, in the order in which that came.
    """

    answers: list[Value] = field(default_factory=list)
    times_ms: list[int] = field(default_factory=list)
    nonces: list[bytes] = field(default_factory=list)
    labelled: list[Observation] = field(default_factory=list)


def _positive(prediction: Value, truth: Value, terms: Terms) -> float:
    found = probabilities(prediction, terms)
    if len(found) != 2 or not any(same(name, truth) for name, _ in found):
        raise ValueError("it is no probability of two classes")
    return float(same(found[1][0], truth))


def _kinds(names: Sequence[str], n_classes: int) -> list[_Kind]:
    spans: Mapping[str, tuple[float, float | None]] = {
        "rmse": (0.0, None),
        "mae": (0.0, None),
        "error_rate": (0.0, 1.0),
        "brier": (0.0, 1.0 if n_classes == 2 else 2.0),
        "calibration": (-1.0, 1.0),
    }
    found = [
        _Kind(name, each.loss, spans[name], each.of_mean)
        for name, each in MEASURES.items()
        if name in names
    ]
    if "calibration" in names and n_classes == 2:
        found.append(_Kind("positive_rate", _positive, (0.0, 1.0)))
    return found


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
    found = _read(journal, live)
    arms = dict(zip(live.arms, terms_of(events, live.spec), strict=True))
    plans = []
    for name, (_, key) in live.arms.items():
        rows, terms = found[key], arms[name]
        if rows.labelled:
            first = rows.labelled[0]
            names = measures_for(live.spec.reward, first.prediction, first.truth)
            size = len(_likely(first.prediction, terms))
            plans += [(name, rows, terms, kind) for kind in _kinds(names, size)]
    return tuple(
        _estimated(name, rows, terms, kind, alpha / len(plans)) for name, rows, terms, kind in plans
    )


def _read(journal: Journal, live: LiveModels) -> dict[str, _Rows]:
    found = {key: _Rows() for _, key in live.arms.values()}
    end, after, seen = journal.end(), 0, 0
    while after < end.decisions:
        some = journal.decisions(after, end.decisions, _AT_ONCE)
        if not len(some):
            break
        after = int(some.seqs[-1])
        for at in np.flatnonzero((some.propensities > 0) & (some.statuses < _FAILED)).tolist():
            rows = found.get(live.keys.get((int(some.revisions[at]), int(some.arms[at])), ""))
            answers = None if rows is None else some.predictions_of(at)
            if rows is None or answers is None:
                continue
            rows.answers += answers
            rows.times_ms += [int(some.times_ms[at])] * len(answers)
            rows.nonces += [some.nonces[at]] * len(answers)
    while seen < end.outcomes:
        outcomes, seen = journal.outcomes(seen, end.outcomes, _AT_ONCE)
        for each in outcomes:
            rows = found.get(live.keys.get((each.revision, each.arm), ""))
            if rows is not None and counts(each):
                rows.labelled.append(each)
    return found


def _estimated(name: str, rows: _Rows, terms: Terms, kind: _Kind, alpha: float) -> PoweredMeasure:
    labelled, losses = [], []
    for each in rows.labelled:
        try:
            losses.append(kind.loss(each.prediction, each.truth, terms))
        except ValueError:
            continue
        labelled.append(each)
    if len(losses) < FITTED + LEAST:
        return PoweredMeasure(name, kind.name, None, None, None, len(losses), len(rows.answers),
                              by_labels_alone=False)  # fmt: skip
    loss = np.array(losses)
    x = covariates([each.prediction for each in labelled], terms)
    begun = int(np.searchsorted(np.sort(rows.times_ms), labelled[FITTED - 1].time_ms, "right"))
    share = min(1.0, FITTED / max(begun, FITTED))
    proxy = fit_proxy(x[:FITTED], loss[:FITTED], kind.span, share)
    # Without the requests that it was fitted on.
    used = {each.nonce for each in labelled[:FITTED]}
    others = [at for at, nonce in enumerate(rows.nonces) if nonce not in used]
    every = proxy(covariates([rows.answers[at] for at in others], terms))
    rest = [at for at in range(FITTED, len(labelled)) if labelled[at].nonce not in used]
    if not len(every) or len(rest) < LEAST:
        return PoweredMeasure(name, kind.name, None, None, None, len(losses), len(rows.answers),
                              by_labels_alone=False)  # fmt: skip
    mean = powered_mean(proxy, every, proxy(x[rest]), loss[rest], alpha)
    value, lower, upper = (float(each[0]) for each in (mean.value, mean.lower, mean.upper))
    return PoweredMeasure(
        arm=name,
        measure=kind.name,
        value=kind.of_mean(max(value, kind.span[0])),
        lower=kind.of_mean(lower),
        upper=None if math.isinf(upper) else kind.of_mean(min(upper, kind.span[1] or upper)),
        labelled=len(losses),
        rows=len(rows.answers),
        by_labels_alone=proxy.is_constant,
    )


def covariates(answers: Sequence[Value], terms: Terms) -> NDArray[np.float64]:
    """Return what the answers say of their own loss, (n, 2)."""
    return np.array([_covariates(each, terms) for each in answers], dtype=np.float64).reshape(-1, 2)


def _covariates(answer: Value, terms: Terms) -> tuple[float, float]:
    likely = _likely(answer, terms)
    if len(likely) == 2:
        return likely[1], likely[0] * likely[1]
    if likely:
        return 1 - max(likely), sum(p * p for p in likely)
    if is_number(answer):
        number = float(np.clip(float(answer), -1e100, 1e100))
        return number, number * number
    return 0.0, 0.0


def _likely(answer: Value, terms: Terms) -> list[float]:
    if is_number(answer) and len(terms.classes) != 2 and not 0 <= float(answer) <= 1:
        return []
    try:
        return [p for _, p in probabilities(answer, terms)]
    except ValueError:
        return []
