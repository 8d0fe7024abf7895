"""`mlops report --paired`: ask every arm about the rows whose truth is known."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from mlops.deployment.control import score
from mlops.deployment.journals import open_journal
from mlops.deployment.places import pick_name, places, read_server_state
from mlops.errors import InvalidInputError, MlopsError, NotFoundError
from mlops.journal.records import LabelledRow
from mlops.monitoring.evidence import Evidence, gather
from mlops.monitoring.paired import PairedReport, compare_paired
from mlops.monitoring.report import Report, live_alpha, with_paired
from mlops.rewards import REWARDS, Answer, reward_called
from mlops.settings import Settings
from mlops.spec.server import ServerState
from mlops.workflows.customers import require_running
from mlops.workflows.evidence import report_options

_BATCH = 1_000
#: Most rows that a report asks every arm about; the first ones, since a look may not choose.
MAX_ROWS = 50_000


def add_paired(settings: Settings, report: Report) -> Report:
    """Add the comparison on the same rows, where it was agreed on and the server runs.

    Args:
        settings: The project's settings.
        report: What arms earned, of a deployment on this machine.
    """
    state = read_server_state(places(settings, report.name))
    if not report.shares_alpha or state is None or state.stopped_ms is not None:
        return report
    spec = state.launch.served.revision.spec
    if spec.experiment != report.experiment:
        return report
    try:
        return with_paired(report, paired_report(settings, report.name))
    except MlopsError as error:
        text = f"The arms could not be asked about the same rows: {error.message}"
        return replace(report, notes=(*report.notes, text))


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
        options = report_options(settings)
        evidence = gather(journal, baseline=options.baseline, whole=options.whole)
        rows = list(itertools.islice(journal.labelled_rows(evidence.revisions), MAX_ROWS))
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
    options = report_options(settings)
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
        weights=dict(zip(evidence.revisions, evidence.weights.tolist(), strict=True)),
        alpha=live_alpha(spec, options.alpha),
        baseline=evidence.base,
        worth=options.worth,
        notes=evidence.notes,
    )
