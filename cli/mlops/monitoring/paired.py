"""Two models on the same rows: fewer rows decide, where the truth is known. Pure.

An A/B test compares what one model earned on some requests with what another earned on others; most
of the noise is in the requests. Where a row's truth is known, every model can be asked about the
same row, and that noise cancels. The price: it measures the predictions alone, and not what people
do when they get one or the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlops.journal.records import LabelledRow, Value
from mlops.rewards import REWARDS, Reward
from mlops.spec.deployment import DeploymentSpec
from mlops.stats.difference import bonferroni
from mlops.stats.paired import paired_sequence

METHOD = (
    "anytime-valid asymptotic confidence sequence of the paired difference on the same rows"
    " (Waudby-Smith et al. 2021, arXiv:2103.06476)"
)


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """One arm against the baseline on the same rows.

    Attributes:
        arm: Name of the arm.
        baseline: Name of the baseline.
        n: Units, each the mean of its rows: requests, or sticky units where there are any.
        estimate: Mean reward of the arm minus that of the baseline; NaN before the first.
        lower: Anytime-valid lower bound, -inf during the burn-in.
        upper: Anytime-valid upper bound.
        alpha: Its share of the error probability.
        waiting_for: What the burn-in still needs, None once it is over.
    """

    arm: str
    baseline: str
    n: int
    estimate: float
    lower: float
    upper: float
    alpha: float
    waiting_for: str | None


@dataclass(frozen=True, slots=True)
class PairedReport:
    """Every arm on the same rows.

    Attributes:
        name: Name of the deployment.
        reward: Name of the reward.
        rows: Rows whose truth and features are in the journal.
        means: Mean reward of each arm on all of them, in the order of the arms.
        arms: Names of the arms.
        comparisons: Every other arm against the baseline.
        method: How the intervals were found.
        notes: What a reader must know.
    """

    name: str
    reward: str
    rows: int
    arms: tuple[str, ...]
    means: tuple[float, ...]
    comparisons: tuple[PairedComparison, ...]
    method: str
    notes: tuple[str, ...]


def compare_paired(
    spec: DeploymentSpec,
    rows: Sequence[LabelledRow],
    predictions: Sequence[Sequence[Value]],
    *,
    alpha: float,
    baseline: int = 0,
    notes: tuple[str, ...] = (),
) -> PairedReport:
    """Compare the arms on rows they were all asked about.

    Args:
        spec: The experiment's newest spec; its reward must be a built-in.
        rows: (n,) rows in order of arrival.
        predictions: (k, n) predictions, one list per arm.
        alpha: Probability of ever naming a false winner, over all comparisons.
        baseline: Position of the baseline.
        notes: Added to the report.

    Rows whose truth has no reward for some arm are left out, and counted in a note.
    """
    derive = REWARDS.load(spec.reward)
    usable = [
        all(_has_reward(derive, values[index], row.truth) for values in predictions)
        for index, row in enumerate(rows)
    ]
    left_out = usable.count(False)
    if left_out:
        notes = (*notes, f"{left_out:,} rows were left out: their truth has no {spec.reward}.")
    rows = [row for row, use in zip(rows, usable, strict=True) if use]
    predictions = [
        [value for value, use in zip(values, usable, strict=True) if use] for values in predictions
    ]
    rewards = np.array([_rewards(derive, rows, values) for values in predictions])
    means = tuple(float(arm.mean()) for arm in rewards) if rows else ()
    units = _by_unit(rows, rewards)
    others = [index for index in range(len(spec.arms)) if index != baseline]
    comparisons = []
    for index in others:
        share = bonferroni(alpha, len(others))
        found = paired_sequence(units[index], units[baseline], alpha=share)
        known = units.shape[1] > 0
        comparisons.append(
            PairedComparison(
                arm=spec.arms[index].name,
                baseline=spec.arms[baseline].name,
                n=units.shape[1],
                estimate=float(found.estimate[-1]) if known else float("nan"),
                lower=float(found.lower[-1]) if known else float("-inf"),
                upper=float(found.upper[-1]) if known else float("inf"),
                alpha=share,
                waiting_for=found.waiting_for and found.waiting_for.replace("arm 0", "this pair"),
            )
        )
    names = tuple(arm.name for arm in spec.arms)
    return PairedReport(
        spec.name, spec.reward, len(rows), names, means, tuple(comparisons), METHOD, notes
    )


def _has_reward(derive: Reward, prediction: Value, truth: Value) -> bool:
    try:
        derive(prediction, truth)
    except ValueError:
        return False
    return True


def _rewards(
    derive: Reward, rows: Sequence[LabelledRow], predictions: Sequence[Value]
) -> list[float]:
    return [
        derive(prediction, row.truth) for row, prediction in zip(rows, predictions, strict=True)
    ]


def _by_unit(
    rows: Sequence[LabelledRow], rewards: np.ndarray[tuple[int, int], np.dtype[np.float64]]
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Average (k, n) rewards of rows into (k, u) rewards of units, in order of first arrival."""
    position: dict[bytes, int] = {}
    unit = [position.setdefault(row.unit or row.nonce, len(position)) for row in rows]
    totals = np.zeros((rewards.shape[0], len(position)))
    if rows:
        np.add.at(totals.T, unit, rewards.T)
    counts = np.bincount(unit, minlength=len(position)) if rows else np.ones(0)
    return totals / counts
