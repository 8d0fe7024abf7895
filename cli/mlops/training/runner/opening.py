"""Which runner suits a piece of work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops.training.runner.base import OnLine, Runner, Work
from mlops.training.runner.cold import ColdRunner

if TYPE_CHECKING:
    from mlops.settings import Settings


def open_runner(work: Work, settings: Settings, on_line: OnLine | None = None) -> Runner:
    """Return a runner for a piece of work, not yet entered.

    Args:
        work: What to run.
        settings: Where MLflow and `.mlops` are.
        on_line: Gets every line of the trials' output.
    """
    logs = settings.make_home() / "logs"
    logs.mkdir(exist_ok=True)
    return ColdRunner(work, settings, logs, on_line)
