"""Two models on the same rows: fewer rows decide, where the truth is known. Pure.

An A/B test compares what one model earned on some requests with what another earned on others; most
of the noise is in the requests. Where a row's truth is known, every model can be asked about the
same row, and that noise cancels. The price: it measures the predictions alone, and not what users
do when they get one or the other.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlops.journal.records import LabelledRow
from mlops.monitoring.arm_lines import LABELLED
from mlops.monitoring.evidence import bounds_of
from mlops.monitoring.gates import Gate
from mlops.monitoring.verdict import Comparison, Method, Verdict, decide
from mlops.rewards import Answer, Range, Reward, Terms, Value, capped, reward_called
from mlops.spec.deployment import DeploymentSpec
from mlops.stats.bounded import bounded_mean_sequence
from mlops.stats.difference import bonferroni
from mlops.stats.missing import MissingFeedback
from mlops.stats.paired import TIGHTEST_AT, labels_depend, paired_sequence
from mlops.stats.sample_ratio import ALPHA
from mlops.stats.sample_size import remaining_observations
from mlops.stats.sequence import ConfidenceSequence
from mlops.stats.weakest import turning_loss
from mlops.stats.worth import conclude

PAIRED = Method(
    "anytime-valid asymptotic confidence sequence of the paired difference on the same rows"
    " (Waudby-Smith et al. 2021, arXiv:2103.06476)",
    "every arm was asked about the same rows",
)
PAIRED_RANGE = Method(
    "anytime-valid confidence sequence of the paired difference on the same rows by betting, exact"
    " at every sample size (Waudby-Smith, Ramdas 2024, arXiv:2010.09686)",
    "every arm was asked about the same rows, and the reward has a range",
)
# Distinct pairs of answers; the rest count as one.
_PATTERNS = 12


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
        decision_rule: As in `Report`.
    """

    name: str
    reward: str
    rows: int
    arms: tuple[str, ...]
    means: tuple[float, ...]
    comparisons: tuple[Comparison, ...]
    verdict: Verdict
    notes: tuple[str, ...]
    decision_rule: str = ""


def compare_paired(
    spec: DeploymentSpec,
    rows: Sequence[LabelledRow],
    predictions: Sequence[Sequence[Answer]],
    *,
    terms: Sequence[Terms] = (),
    weights: Mapping[int, Sequence[float]] | None = None,
    feedback: MissingFeedback | None = None,
    alpha: float,
    baseline: int = 0,
    worth: float | None = None,
    notes: tuple[str, ...] = (),
) -> PairedReport:
    """Compare the arms on rows they were all asked about.

    Args:
        spec: The experiment's newest spec; its reward must be a built-in.
        rows: (n,) rows in order of arrival.
        predictions: (k, n) predictions, one list per arm.
        terms: What the reward needs of each arm; empty for nothing.
        weights: Shares of the arms by revision, to test whether a label depends on the answer that
            was served; None to leave that test out.
        feedback: The test of how many requests of each arm have feedback, which is part of that.
        alpha: Probability of ever naming a false winner, over all comparisons.
        baseline: Position of the baseline.
        worth: The smallest difference worth having, in units of reward; None for none declared.
        notes: Added to the report.

    Rows whose truth has no reward for some arm are left out, and counted in a note.
    """
    derive = reward_called(spec.reward)
    terms = terms or [Terms.of(costs=spec.costs, rule=spec.decides_by)] * len(spec.arms)
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
        _compared(
            names[index], names[baseline], units[index], units[baseline], bounds, share, worth
        )
        for index in others
    )
    gate = _labels(rows, predictions, weights, baseline, feedback) if weights is not None else None
    verdict = decide(
        comparisons, method=_method(bounds), mismatch=False, mismatch_p=1.0, alpha=alpha,
        n=units.shape[1], gates=[gate] if gate else [], units=LABELLED,
    )  # fmt: skip
    return PairedReport(
        spec.name, spec.reward, len(rows), names, means, comparisons, verdict, notes,
        spec.decides_by,
    )  # fmt: skip


def _method(bounds: Range | None) -> Method:
    return PAIRED if bounds is None else PAIRED_RANGE


def _labels(
    rows: Sequence[LabelledRow],
    predictions: Sequence[Sequence[Answer]],
    weights: Mapping[int, Sequence[float]],
    baseline: int,
    feedback: MissingFeedback | None,
) -> Gate:
    """Test whether a label depends on the answer that was served.

    Labelled rows show it by their answers, which needs many in a ramp, where most sticky units have
    kept an arm that was not drawn by today's weights; the shares of requests with feedback tell
    as well, by the requests that have none.
    """
    drawn = _draws(rows, weights)
    arms = np.array([rows[index].arm for index in drawn], dtype=np.int64)
    shares = np.array([weights[rows[index].revision] for index in drawn], dtype=np.float64)
    labelled = np.ones(arms.size, dtype=bool)
    p_values = [1.0]
    for candidate in range(len(predictions)):
        if candidate != baseline and arms.size:
            pattern = _pattern(predictions[candidate], predictions[baseline])[drawn]
            p_values.append(labels_depend(arms, shares, labelled, pattern).p_value)
    p_value = min(1.0, min(p_values) * max(len(p_values) - 1, 1))
    if feedback is not None:
        p_value = min(1.0, 2 * min(p_value, feedback.p_value))
    if p_value > ALPHA:
        return Gate("labels", True, p_value, "Labels do not depend on the answer that was served.")
    return Gate(
        "labels",
        False,
        p_value,
        "Labels depend on the answer that was served, so rows with one are not like the others.",
        "Compare what was earned instead, or get labels for rows whatever was answered.",
    )


def _draws(rows: Sequence[LabelledRow], weights: Mapping[int, Sequence[float]]) -> list[int]:
    """Positions of one row of every unit whose arm was drawn by the weights of its revision.

    The rows of a unit have one draw. Sticky units of later revisions may have kept an older one.
    """
    oldest = min(weights, default=0)
    first: dict[bytes, int] = {}
    for index, row in enumerate(rows):
        own = math.isclose(row.propensity, weights[row.revision][row.arm], rel_tol=1e-6)
        if own and (row.unit is None or row.revision == oldest):
            first.setdefault(row.unit or row.nonce, index)
    return list(first.values())


def _pattern(ours: Sequence[Answer], theirs: Sequence[Answer]) -> NDArray[np.int64]:
    """How two arms' answers compare, (n,): by sign where they are numbers, else by the pair."""
    try:
        gap = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    except (TypeError, ValueError):
        gap = np.zeros((0, 0))
    if gap.ndim == 1:
        return np.sign(gap).astype(np.int64)
    pairs = [json.dumps([a, b], default=str) for a, b in zip(ours, theirs, strict=True)]
    common = [pair for pair, _ in Counter(pairs).most_common(_PATTERNS)]
    known = {pair: index for index, pair in enumerate(common)}
    return np.array([known.get(pair, _PATTERNS) for pair in pairs], dtype=np.int64)


def _compared(
    arm: str,
    baseline: str,
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    bounds: Range | None,
    alpha: float,
    worth: float | None,
) -> Comparison:
    if bounds is None:
        found = paired_sequence(ours, theirs, alpha=alpha)
    else:
        width = bounds[1] - bounds[0]
        found = bounded_mean_sequence(ours - theirs, value_range=(-width, width), alpha=alpha)
    n = ours.size
    lower = float(found.lower[-1]) if n else -math.inf
    upper = float(found.upper[-1]) if n else math.inf
    variance = float((ours - theirs).var(ddof=1)) if n > 1 else 0.0
    estimate = float(found.estimate[-1]) if n else math.nan
    known = variance > 0 and math.isfinite(estimate)
    return Comparison(
        arm=arm,
        baseline=baseline,
        n=n,
        estimate=estimate,
        lower=lower,
        upper=upper,
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
        conclusion=conclude(lower, upper, worth),
        weakest=_weakest(found, arm if lower > 0 else baseline),
    )


def _weakest(found: ConfidenceSequence, leader: str) -> str:
    """Name the rare large loss that would reverse a decision."""
    turning = turning_loss(found, (1.0, 1.0)) if found.opening is not None else None
    if turning is None:
        return ""
    return (
        f"One row on which `{leader}` is worse by {turning.loss:.3g} among the next "
        f"{turning.within:,} would turn this; what is rarer than 1 in "
        f"{1 / turning.unseen_rate:,.0f} may be unseen so far."
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
