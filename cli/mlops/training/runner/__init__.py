"""Executing trials of a project: one, or many and several at a time.

    with open_runner(work, settings, on_line=show) as runner:
        for outcome in runner.run(trials, jobs=2):
            ...

`runs.OwnedRun` makes the runs that trials belong to, and `runs.fate_of` turns an outcome's code
into a run's status.
"""

from mlops.training.runner.base import SIGNALLED, Ending, OnLine, Outcome, Runner, Trial, Work
from mlops.training.runner.factory import BACKENDS, Bench, open_runner

__all__ = [
    "BACKENDS",
    "SIGNALLED",
    "Bench",
    "Ending",
    "OnLine",
    "Outcome",
    "Runner",
    "Trial",
    "Work",
    "open_runner",
]
