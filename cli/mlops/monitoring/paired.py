"""Two models on the same rows: fewer rows decide, where the truth is known. Pure.

An A/B test compares what one model earned on some requests with what another earned on others; most
of the noise is in the requests. Where a row's truth is known, every model can be asked about the
same row, and that noise cancels. The price: it measures the predictions alone, and not what people
do when they get one or the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlops.journal.records import LabelledRow
from mlops.monitoring.evidence import bounds_of
from mlops.monitoring.verdict import Comparison, Method, Verdict, decide
from mlops.rewards import Answer, Range, Reward, Terms, Value, capped, reward_called
from mlops.spec.deployment import DeploymentSpec
from mlops.stats.difference import bonferroni
from mlops.stats.paired import TIGHTEST_AT, paired_sequence
from mlops.stats.remaining import remaining_observations

PAIRED = Method(
    "anytime-valid asymptotic confidence sequence of the paired difference on the same rows"
    " (Waudby-Smith et al. 2021, arXiv:2103.06476)",
    "every arm was asked about the same rows",
)


@dataclass(frozen=True, slots=True)
class PairedReport:
    """Every arm on the same rows.

    Attributes:
        name: Name of the deployment.
        reward: Name of the reward.
        rows: Rows whose truth and features are in the journal.
        means: Mean reward of each arm on all of them, in the order of the arms.
        arms: Names of the arms.
        comparisons: Every other arm against the baseline; n counts units, each the mean of its
            rows: requests, or sticky units where there are any.
        verdict: Which arm predicts best.
        notes: What a reader must know.
    """

    name: str
    reward: str
    rows: int
    arms: tuple[str, ...]
    means: tuple[float, ...]
    comparisons: tuple[Comparison, ...]
    verdict: Verdict
    notes: tuple[str, ...]


def compare_paired(
    spec: DeploymentSpec,
    rows: Sequence[LabelledRow],
    predictions: Sequence[Sequence[Answer]],
    *,
    terms: Sequence[Terms] = (),
    alpha: float,
    baseline: int = 0,
    notes: tuple[str, ...] = (),
) -> PairedReport:
    """Compare the arms on rows they were all asked about.

    Args:
        spec: The experiment's newest spec; its reward must be a built-in.
        rows: (n,) rows in order of arrival.
        predictions: (k, n) predictions, one list per arm.
        terms: What the reward needs to know of each arm; empty for nothing.
        alpha: Probability of ever naming a false winner, over all comparisons.
        baseline: Position of the baseline.
        notes: Added to the report.

    Rows whose truth has no reward for some arm are left out, and counted in a note.
    """
    derive = reward_called(spec.reward)
    terms = terms or [Terms.of(costs=spec.costs)] * len(spec.arms)
    bounds = bounds_of(spec, terms)
    usable = [
        all(
            _has_reward(derive, values[index], row.truth, its)
            for values, its in zip(predictions, terms, strict=True)
        )
        for index, row in enumerate(rows)
    ]
    left_out = usable.count(False)
    if left_out:
        notes = (*notes, f"{left_out:,} rows were left out: their truth has no {spec.reward}.")
    rows = [row for row, use in zip(rows, usable, strict=True) if use]
    predictions = [
        [value for value, use in zip(values, usable, strict=True) if use] for values in predictions
    ]
    rewards = np.array(
        [
            _rewards(derive, bounds, rows, values, its)
            for values, its in zip(predictions, terms, strict=True)
        ]
    )
    means = tuple(float(arm.mean()) for arm in rewards) if rows else ()
    units = _by_unit(rows, rewards)
    others = [index for index in range(len(spec.arms)) if index != baseline]
    share = bonferroni(alpha, len(others))
    names = tuple(arm.name for arm in spec.arms)
    comparisons = tuple(
        _compared(names[index], names[baseline], units[index], units[baseline], share)
        for index in others
    )
    verdict = decide(
        comparisons, method=PAIRED, mismatch=False, mismatch_p=1.0, alpha=alpha, n=units.shape[1]
    )
    return PairedReport(
        spec.name, spec.reward, len(rows), names, means, comparisons, verdict, notes
    )


def _compared(
    arm: str,
    baseline: str,
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    alpha: float,
) -> Comparison:
    found = paired_sequence(ours, theirs, alpha=alpha)
    n = ours.size
    variance = float((ours - theirs).var(ddof=1)) if n > 1 else 0.0
    estimate = float(found.estimate[-1]) if n else math.nan
    known = variance > 0 and math.isfinite(estimate)
    return Comparison(
        arm=arm,
        baseline=baseline,
        n=n,
        estimate=estimate,
        lower=float(found.lower[-1]) if n else -math.inf,
        upper=float(found.upper[-1]) if n else math.inf,
        p_value=float(found.p_value[-1]) if n else 1.0,
        alpha=alpha,
        waiting_for=found.waiting_for and found.waiting_for.replace("arm 0", "this pair"),
        # One stream of differences is one arm that gets everything, against one that never varies.
        remaining=remaining_observations(
            estimate,
            (variance, 0.0),
            (1.0, 1.0),
            n,
            alpha=alpha,
            tightest_at=TIGHTEST_AT,
        )
        if known
        else None,
    )


def _has_reward(derive: Reward, prediction: Answer, truth: Value, terms: Terms) -> bool:
    try:
        derive(prediction, truth, terms)
    except ValueError:
        return False
    return True


def _rewards(
    derive: Reward,
    bounds: Range | None,
    rows: Sequence[LabelledRow],
    predictions: Sequence[Answer],
    terms: Terms,
) -> list[float]:
    return [
        capped(derive(prediction, row.truth, terms), bounds)
        for row, prediction in zip(rows, predictions, strict=True)
    ]


def _by_unit(rows: Sequence[LabelledRow], rewards: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average (k, n) rewards of rows into (k, u) rewards of units, in order of first arrival."""
    position: dict[bytes, int] = {}
    unit = [position.setdefault(row.unit or row.nonce, len(position)) for row in rows]
    totals = np.zeros((rewards.shape[0], len(position)))
    if rows:
        np.add.at(totals.T, unit, rewards.T)
    counts = np.bincount(unit, minlength=len(position)) if rows else np.ones(0)
    return totals / counts
