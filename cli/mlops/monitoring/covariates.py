"""What was known of a unit before its arm was drawn: a feature, or its own history.

Values come from the first request of a unit, so that no arm can have touched them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mlops.errors import InvalidInputError
from mlops.journal.base import Journal
from mlops.journal.records import Observation, Value
from mlops.journal.terms import is_spec
from mlops.monitoring.evidence import Evidence
from mlops.monitoring.units import key_of
from mlops.rewards import Terms, reward_called
from mlops.spec.analysis import HISTORY
from mlops.spec.deployment import from_dict
from mlops.stats.adjusted import adjusted_rewards


def adjust(journal: Journal, evidence: Evidence) -> Evidence:
    """Adjust rewards by what was known before (CUPED), for a narrower interval.

    Args:
        journal: Where features and earlier rewards are.
        evidence: Of the experiment, whose analysis says by what.

    Returns:
        The same evidence with adjusted rewards, which have no range any more. Differences of means
        are the same; see `mlops.stats.adjusted`. Where nothing is known yet there is nothing to
        take out, and a note says so.
    """
    by = evidence.spec.analysis.adjust
    if not by or not evidence.arms.size:
        return evidence
    try:
        known = _history(journal, evidence) if by == HISTORY else _numbers(journal, evidence, by)
    except InvalidInputError as error:
        note = f"Rewards are not adjusted by `{by}` so far: {error.message}"
        known = np.zeros(evidence.arms.size)
        evidence = replace(evidence, notes=(*evidence.notes, note))
    return replace(
        evidence,
        rewards=adjusted_rewards(evidence.rewards, _filled(known)),
        bounds=None,
        adjusted=by,
    )


def feature_of_units(journal: Journal, evidence: Evidence, column: str) -> list[Value]:
    """Return the feature of the first request of each unit with a reward; None where unknown.

    Raises:
        InvalidInputError: No request has it.
    """
    cells = {
        nonce.rstrip(b"\0"): value for nonce, value in journal.cells(evidence.revisions, column)
    }
    values = [cells.get(nonce) for nonce in evidence.nonces.tolist()]
    if values and all(value is None for value in values):
        raise InvalidInputError(
            f"No request with feedback has a feature `{column}` in the journal.",
            hint='`[journal] features = "all"` keeps all but those in `hash` and `drop`; '
            "`mlops journal export` shows them.",
        )
    return values


def _numbers(journal: Journal, evidence: Evidence, column: str) -> NDArray[np.float64]:
    cells = feature_of_units(journal, evidence, column)
    numbers = np.array(
        [float(cell) if isinstance(cell, int | float) else math.nan for cell in cells]
    )
    if not np.isfinite(numbers).any():
        raise InvalidInputError(f"The feature `{column}` has no numbers to adjust rewards by.")
    return numbers


def _history(journal: Journal, evidence: Evidence) -> NDArray[np.float64]:
    """Mean reward of each unit from before the experiment, under other revisions; NaN without."""
    # One hash draws a unit's arm in all revisions of an experiment: what an arm earned before is
    # what it earns now, and would be taken out.
    same: set[int] = set()
    classes: dict[tuple[int, int], Sequence[Value]] = {}
    for event in journal.revision_events():
        if event.spec is None or not is_spec(event):
            continue
        spec = from_dict(event.spec)
        if spec.experiment == evidence.spec.experiment:
            same.add(event.revision)
        known = event.spec.get("classes") or {}
        for at, arm in enumerate(spec.arms):
            classes[event.revision, at] = known.get(arm.name, ())
    others = sorted({traffic.revision for traffic in journal.traffic()} - same)
    begin_ms = evidence.asked.span_ms[0] if evidence.asked.span_ms else 0
    sums: dict[bytes, list[float]] = {}
    costs, rule = evidence.spec.costs, evidence.spec.decides_by
    terms = {key: Terms.of(names, costs, rule) for key, names in classes.items()}
    unknown = Terms.of((), costs, rule)
    for seen in journal.observations(others) if others else ():
        if seen.unit is None or seen.time_ms >= begin_ms:
            continue
        its = terms.get((seen.revision, seen.arm), unknown)
        reward = _reward(evidence, seen, its)
        if reward is not None:
            # As in `evidence.units`: NumPy drops zeros at the end of bytes.
            sums.setdefault(key_of(seen.unit).rstrip(b"\0"), []).append(reward)
    means = {key: float(np.mean(rewards)) for key, rewards in sums.items()}
    if not any(unit in means for unit in evidence.units.tolist()):
        raise InvalidInputError("No unit of this experiment has a reward from before it.")
    return np.array([means.get(unit, math.nan) for unit in evidence.units.tolist()])


def _reward(evidence: Evidence, seen: Observation, terms: Terms) -> float | None:
    if seen.reward is not None:
        return seen.reward
    try:
        return reward_called(evidence.spec.reward)(seen.prediction, seen.truth, terms)
    except (TypeError, ValueError):
        return None


def _filled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fill gaps with the mean of earlier values, so that nothing comes from the future."""
    known = np.isfinite(values)
    numbers = np.where(known, values, 0.0)
    count = np.cumsum(known) - known
    mean = (np.cumsum(numbers) - numbers) / np.maximum(count, 1)
    filled: NDArray[np.float64] = np.where(known, numbers, mean)
    return filled
