"""`mlops report --paired`: ask every arm about the rows whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence

from mlops.deployment.control import score
from mlops.deployment.journals import open_journal
from mlops.deployment.places import pick_name, places
from mlops.errors import InvalidInputError, NotFoundError
from mlops.journal.records import LabelledRow
from mlops.monitoring.evidence import Evidence, gather
from mlops.monitoring.paired import PairedReport, compare_paired
from mlops.rewards import REWARDS, Answer, reward_called
from mlops.settings import Settings
from mlops.spec.server import ServerState
from mlops.workflows.customers import require_running

_BATCH = 1_000


def paired_report(settings: Settings, name: str | None) -> PairedReport:
    """Compare the live arms on all rows of the experiment whose truth and features were kept.

    Raises:
        NotFoundError: The deployment does not run, or no such row is in the journal.
        InvalidInputError: There is one arm, or the reward is not derived from the truth.
    """
    state = require_running(places(settings, pick_name(settings, name)))
    spec = state.launch.served.revision.spec
    if len(spec.arms) < 2:
        raise InvalidInputError(f"`{spec.name}` has one arm, so there is nothing to compare.")
    if not reward_called(spec.reward).is_derived:
        raise InvalidInputError(
            f"The reward `{spec.reward}` is not derived from the truth, so other arms' answers "
            "have none.",
            hint=f"A paired comparison needs one of {_derived()}.",
        )
    journal = open_journal(settings, state.launch.name, state)
    try:
        evidence = gather(journal, baseline=settings.report.baseline)
        rows = list(journal.labelled_rows(evidence.revisions))
    finally:
        journal.close()
    if not rows:
        raise NotFoundError(
            "No row of this experiment has both its truth and its features in the journal.",
            hint='Keep `[journal] features = "all"` and send truth with `mlops feedback`.',
        )
    return _compare(settings, state, evidence, rows)


def _derived() -> str:
    return ", ".join(name for name in REWARDS if REWARDS.load(name).is_derived)


def _compare(
    settings: Settings, state: ServerState, evidence: Evidence, rows: Sequence[LabelledRow]
) -> PairedReport:
    spec = state.launch.served.revision.spec
    predictions: list[list[Answer]] = [[] for _ in spec.arms]
    for start in range(0, len(rows), _BATCH):
        batch = [row.features for row in rows[start : start + _BATCH]]
        for arm, values in zip(predictions, score(state.launch.socket, batch), strict=True):
            arm += values
    return compare_paired(
        spec,
        rows,
        predictions,
        terms=evidence.terms,
        alpha=settings.report.alpha,
        baseline=evidence.base,
        notes=evidence.notes,
    )
