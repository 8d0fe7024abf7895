"""MLflow's own runner: a process, its imports, and a shell for every trial."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from mlops.training.command import for_mlflow
from mlops.training.runner.base import OnLine, Runner, Trial, Work
from mlops.training.runner.child import Child
from mlops.training.runner.tail import Tail

_POLL_S = 0.05


class ColdRunner(Runner):
    """Gives every trial to MLflow's local project backend, in a process of its own.

    Args:
        work: What to run.
        environment: Variables of every trial.
        logs: Folder of the trials' output.
        on_line: Gets every line of it.
    """

    def __init__(
        self,
        work: Work,
        environment: Mapping[str, str],
        logs: Path,
        on_line: OnLine | None = None,
    ) -> None:
        super().__init__(on_line)
        self._work, self._environment, self._logs = work, environment, logs
        self._children: dict[str, tuple[Child, Tail]] = {}
        self._spare: Child | None = None

    def __enter__(self) -> ColdRunner:
        # It imports MLflow while the caller opens the store and creates the run.
        self._spare = Child(self._environment, self._logs)
        return self

    def __exit__(self, *_: object) -> None:
        children = [child for child, _ in self._children.values()]
        if self._spare is not None:
            children.append(self._spare)
        for child in children:
            child.stop()
        for child in children:
            child.close()

    def _begin(self, trial: Trial) -> Path:
        child = self._spare or Child(self._environment, self._logs)
        self._spare = None
        point = self._work.project.entry_point(self._work.entry_point)
        command, values = for_mlflow(point, trial.parameters)
        child.begin(
            {
                "folder": str(self._work.project.folder),
                "entry_point": self._work.entry_point,
                "command": command,
                "parameters": values,
                "env_manager": self._work.env_manager,
                "run_id": trial.run_id,
                "experiment_id": trial.experiment_id,
                "environment": dict(trial.environment),
            }
        )
        self._children[trial.run_id] = child, Tail(child.log, partial(self._on_line, trial.run_id))
        return child.log

    def _poll(self) -> tuple[str, int] | None:
        for run_id, (child, tail) in self._children.items():
            code = child.poll()
            tail.read()
            if code is not None:
                tail.close()
                del self._children[run_id]
                return run_id, code
        time.sleep(_POLL_S)
        return None

    def _stop(self, run_id: str) -> None:
        self._children[run_id][0].stop()
