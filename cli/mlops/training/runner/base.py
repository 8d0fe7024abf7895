"""What a runner is: it executes many trials of one project, some at a time.

A runner knows processes and files. It does not know MLflow's store: its caller has created
each run, and gives it its final status from the outcome (`mlops.training.runs`).
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal

from mlops.training.project import Project

#: What a shell adds to the number of the signal that ended a process.
SIGNALLED = 128

Ending = Literal["exited", "cancelled", "timed out"]
#: Called with a run's id and a line of its output, in order for each run.
OnLine = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Work:
    """What a runner runs; the same for all of its trials.

    Attributes:
        project: The project in its local folder.
        entry_point: Name of one of its entry points, or a script in it.
        env_manager: `auto`, `local`, `uv`, `virtualenv` or `conda`.
    """

    project: Project
    entry_point: str = "main"
    env_manager: str = "local"


@dataclass(frozen=True, slots=True)
class Trial:
    """One execution of the work, for a run that exists.

    Attributes:
        run_id: The MLflow run, which the script finds in `MLFLOW_RUN_ID`.
        experiment_id: Its experiment.
        parameters: Those that differ from the declared defaults.
        environment: Variables for this trial only, over those of the command.
        timeout_s: After so many seconds it is ended; None means never.
    """

    run_id: str
    experiment_id: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial ended.

    Attributes:
        trial: The trial.
        code: Exit code of its script; one above 128 means that signal `code - 128` ended it.
        ending: Whether it ended by itself, was cancelled, or took too long.
        duration_s: Wall time from its start to its end, in seconds.
        log: File with everything that it wrote.
    """

    trial: Trial
    code: int
    ending: Ending
    duration_s: float
    log: Path


@dataclass(slots=True)
class Running:
    """A trial under way, as `Runner` keeps it."""

    trial: Trial
    log: Path
    started: float
    ending: Ending = "exited"

    def overdue(self, now: float) -> bool:
        """Whether it has used up its time."""
        limit = self.trial.timeout_s
        return self.ending == "exited" and limit is not None and now - self.started > limit


class Runner(ABC):
    """Executes trials of one project; a context manager.

    Entering starts what can be prepared before the first trial is known, so enter early. Leaving
    ends every trial that still runs, with all processes that it started, and may be slow by the
    few seconds that they are given to end. For one thread. May be entered once.

    Args:
        on_line: Gets every line of output while `wait` is called.

    Attributes:
        reason: Why this is not the warm runner; empty if it is, or if it does not matter.
    """

    reason: str = ""

    def __init__(self, on_line: OnLine | None = None) -> None:
        self._on_line: OnLine = on_line or _nobody
        self._running: dict[str, Running] = {}

    @property
    def running(self) -> tuple[str, ...]:
        """Ids of the runs under way, the oldest first."""
        return tuple(self._running)

    def start(self, trial: Trial) -> None:
        """Start a trial and return at once; any number may be running.

        Raises:
            MlopsError: The runner itself cannot work, for example for lack of an environment.
        """
        self._running[trial.run_id] = Running(trial, self._begin(trial), time.monotonic())

    def wait(self, timeout_s: float | None = None) -> Outcome | None:
        """Return the next trial that ends, passing on output in the meantime.

        Args:
            timeout_s: Return None if none has ended after so many seconds; None waits forever.

        Returns:
            Its outcome, each one once. None also if nothing is under way.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self._running:
            for running in self._running.values():
                if running.overdue(time.monotonic()):
                    self._end(running, "timed out")
            ended = self._poll()
            if ended is not None:
                run_id, code = ended
                return self._outcome(self._running.pop(run_id), code)
            if deadline is not None and time.monotonic() >= deadline:
                return None
        return None

    def cancel(self, run_id: str) -> None:
        """End a trial, first by SIGTERM, then by SIGKILL; `wait` gives its outcome.

        One that is not running is ignored.
        """
        if run_id in self._running:
            self._end(self._running[run_id], "cancelled")

    def run(self, trials: Iterable[Trial], jobs: int = 1) -> Iterator[Outcome]:
        """Run trials, so many at a time, and give each outcome as it comes.

        The next trial is asked for only when there is room for it, after the caller has had the
        outcome that made room; so an optimiser's next suggestion knows the last result.
        """
        pending = iter(trials)
        more = True
        while more or self._running:
            while more and len(self._running) < jobs:
                trial = next(pending, None)
                if trial is None:
                    more = False
                else:
                    self.start(trial)
            outcome = self.wait()
            if outcome is not None:
                yield outcome

    def _end(self, running: Running, why: Ending) -> None:
        if running.ending == "exited":
            running.ending = why
            self._stop(running.trial.run_id)

    def _outcome(self, running: Running, code: int) -> Outcome:
        took = time.monotonic() - running.started
        return Outcome(running.trial, code, running.ending, took, running.log)

    @abstractmethod
    def __enter__(self) -> Runner: ...

    @abstractmethod
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    @abstractmethod
    def _begin(self, trial: Trial) -> Path:
        """Start a trial's process; return its log, which exists."""

    @abstractmethod
    def _poll(self) -> tuple[str, int] | None:
        """Wait a moment, pass on output, and return a run that ended with its code.

        All of the run's output has been passed on then, and none of its processes is left.
        """

    @abstractmethod
    def _stop(self, run_id: str) -> None:
        """End all processes of a run, without waiting for it."""


def _nobody(_run_id: str, _line: str) -> None:
    """Drops the output."""
