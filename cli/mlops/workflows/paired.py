"""`mlops report --paired`: ask every arm about the rows whose truth is known."""

from __future__ import annotations

from mlops.deployment.journals import open_journal
from mlops.deployment.runtime_files import pick_name, places
from mlops.monitoring.evidence import gather
from mlops.monitoring.paired import PairedReport
from mlops.monitoring.same_rows import ask_all
from mlops.settings import Settings
from mlops.workflows.asking import asking
from mlops.workflows.evidence import report_options
from mlops.workflows.replay import require_running


def paired_report(settings: Settings, name: str | None) -> PairedReport:
    """Compare the live arms on all rows of the experiment whose truth and features were kept.

    Raises:
        NotFoundError: The deployment does not run, or no such row is in the journal.
        InvalidInputError: There is one arm, or the reward is not derived from the truth.
    """
    state = require_running(places(settings, pick_name(settings, name)))
    options = report_options(settings)
    journal = open_journal(settings, state.launch.name, state)
    try:
        evidence = gather(journal, baseline=options.baseline, whole=options.whole)
        ask = asking(state)
        assert ask is not None
        return ask_all(journal, evidence, ask, alpha=options.alpha, worth=options.worth)
    finally:
        journal.close()
