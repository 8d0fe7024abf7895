"""Every arm asked about the labelled rows of an experiment, as part of its report.

The caller differs: a command asks a running server, and the server itself asks its models. What is
made of the answers is the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from mlops.errors import InvalidInputError, NotFoundError
from mlops.journal.base import Journal
from mlops.journal.caps import Caps
from mlops.monitoring.evidence import Evidence
from mlops.monitoring.gates import feedback_test
from mlops.monitoring.paired import PairedReport, compare_paired
from mlops.rewards import REWARDS, Answer, reward_called
from mlops.spec.deployment import DeploymentSpec

#: Asks every arm of the experiment of this identity about rows, and gives a list of predictions for
#: each. Raises a `MlopsError` where it cannot, as where another experiment is live.
Ask: TypeAlias = Callable[[str, Sequence[Any]], Sequence[Sequence[Answer]]]

#: Most rows that a report asks every arm about; the first ones, since a look may not choose.
MAX_ROWS = 50_000
_BATCH = 1_000


def live_alpha(spec: DeploymentSpec, alpha: float) -> float:
    """Share of alpha of the comparison of what arms earned; the other is that of the same rows."""
    return alpha / 2 if spec.paired else alpha


def ask_all(
    journal: Journal, evidence: Evidence, ask: Ask, *, alpha: float, worth: float | None
) -> PairedReport:
    """Compare the arms on all rows of an experiment whose truth and features were kept.

    Args:
        journal: Where the rows are.
        evidence: Of the experiment.
        ask: Asks the arms.
        alpha: Probability of ever naming a false winner, over both comparisons.
        worth: The smallest difference worth having, in units of reward; None for none declared.

    Raises:
        NotFoundError: No such row is in the journal.
        InvalidInputError: There is one arm, or the reward is not derived from the truth.
        MlopsError: The arms cannot be asked.
    """
    spec = evidence.spec
    if len(spec.arms) < 2:
        raise InvalidInputError(
            f"`{spec.name}` has one arm, so there is nothing to compare.", hint=_instead(spec)
        )
    if not reward_called(spec.reward).is_derived:
        derived = ", ".join(name for name in REWARDS if REWARDS.load(name).is_derived)
        raise InvalidInputError(
            f"The reward `{spec.reward}` is not derived from the truth, so other arms' answers "
            "have none.",
            hint=f"A paired comparison needs one of {derived}.",
        )
    since_ms = evidence.since_ms
    labelled = (
        row
        for row in Caps(spec.attribution).within(journal.labelled_rows(evidence.revisions))
        if row.decided_ms >= since_ms
    )
    rows = list(itertools.islice(labelled, MAX_ROWS))
    if not rows:
        raise NotFoundError(
            "No row of this experiment has both its truth and its features in the journal.",
            hint='Keep `[journal] features = "all"`, with no input of a model in `hash` or `drop`, '
            "and send truth with `mlops feedback`.",
        )
    predictions: list[list[Answer]] = [[] for _ in spec.arms]
    for start in range(0, len(rows), _BATCH):
        batch = [row.features for row in rows[start : start + _BATCH]]
        for arm, values in zip(predictions, ask(spec.experiment, batch), strict=True):
            arm.extend(values)
    return compare_paired(
        spec,
        rows,
        predictions,
        terms=evidence.terms,
        weights=_weights(evidence),
        feedback=feedback_test(evidence),
        alpha=live_alpha(spec, alpha),
        baseline=evidence.base,
        worth=spec.analysis.worth if worth is None else worth,
        notes=evidence.notes,
    )


def _instead(spec: DeploymentSpec) -> str | None:
    """Say how the answers of shadows, which are no arms, are compared."""
    if not spec.shadows:
        return None
    shadow = spec.shadows[0]
    return (
        f"The shadow `{shadow.name}` is no arm. `mlops evaluate {shadow.model.ref} --on "
        f"{spec.name}` asks its model about all rows with a label, with intervals; `mlops report "
        f"{spec.name}` has the mean reward of what it and the arm answered."
    )


def _weights(evidence: Evidence) -> dict[int, list[float]] | None:
    """Shares of the arms by revision; None where they changed within one."""
    if len(evidence.epochs) > len(evidence.revisions):
        return None
    return dict(zip(evidence.revisions, evidence.weights.tolist(), strict=True))
