"""The warm runner: every trial is a fork of one parent that has imported everything."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from mlops.errors import InvalidInputError
from mlops.training.command import for_mlflow
from mlops.training.runner.base import SIGNALLED, OnLine, Runner, Trial, Work
from mlops.training.runner.cold import ColdRunner
from mlops.training.runner.command import PythonCommand, read_command, too_early
from mlops.training.runner.environment_scan import changes_environment_first
from mlops.training.runner.spawn import Process, start_parent
from mlops.training.runner.tail import Tail
from mlops.training.warm.parent import GRACE_S, Config
from mlops.training.warm.processes import has_ended

_POLL_S = 0.05


class WarmRunner(Runner):
    """Forks trials from a warm parent, and gives those that cannot be forked to another runner.

    Args:
        work: What to run.
        config: The parent's configuration.
        python: The interpreter of the project's environment.
        logs: Folder of the trials' output.
        cold: Makes the runner for what cannot be forked.
        note: Called with why something could not be forked, once for each reason.
        on_line: Gets every line of output.
    """

    def __init__(
        self,
        work: Work,
        config: Config,
        python: Path,
        logs: Path,
        cold: Callable[[], ColdRunner],
        note: Callable[[str], None],
        on_line: OnLine | None = None,
    ) -> None:
        super().__init__(on_line)
        self._work, self._config, self._python, self._logs = work, config, python, logs
        self._make_cold = cold
        self._cold: ColdRunner | None = None
        self._note, self._noted = note, set[str]()
        self._tails: dict[str, Tail] = {}
        self._pids: dict[str, int] = {}
        self._inbox: list[dict[str, Any]] = []
        self._process: Process | None = None
        self._socket: socket.socket | None = None
        self._rest = b""
        self._downloads = Path(tempfile.mkdtemp(prefix="mlops-train-"))

    def __enter__(self) -> WarmRunner:
        self._start_parent()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The parent ends its runs when this end is closed.
        self._lose_parent()
        for tail in self._tails.values():
            tail.close()
        if self._cold is not None:
            self._cold.__exit__(kind, error, trace)
        shutil.rmtree(self._downloads, ignore_errors=True)

    def _start_parent(self) -> None:
        log = self._logs / f"warm-{os.getpid()}.log"
        self._process, self._socket = start_parent(self._python, self._config, log)
        self._rest = b""

    def _lose_parent(self) -> None:
        """Close the connection, and make sure that neither the parent nor any run is left."""
        if self._process is None or self._socket is None:
            return
        self._socket.close()
        deadline = time.monotonic() + GRACE_S + 1
        while not has_ended(self._process.pid):
            if time.monotonic() > deadline:
                os.kill(self._process.pid, signal.SIGKILL)
            time.sleep(0.01)
        self._process.wait()
        for pid in self._pids.values():
            # The kernel has killed the runs themselves, but not what they had started.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        log = self._logs / f"warm-{os.getpid()}.log"
        if log.is_file() and not log.stat().st_size:
            log.unlink()
        self._process = self._socket = None

    def _begin(self, trial: Trial) -> Path:
        log = self._logs / f"train-{trial.run_id}.log"
        log.touch()
        self._tails[trial.run_id] = Tail(log, partial(self._on_line, trial.run_id))
        found = self._read(trial, log)
        if found is None:
            self._inbox.append({"ended": trial.run_id, "code": 1})
        elif isinstance(found, str):
            self._inbox.append({"cold": trial.run_id, "why": found})
        else:
            if self._process is None:
                self._start_parent()
            self._send({"run": {**asdict(found), **_place(trial, log)}})
        return log

    def _read(self, trial: Trial, log: Path) -> PythonCommand | str | None:
        """Return what to run, or why it cannot be forked; None if it cannot be run at all."""
        early = too_early(trial.environment)
        if early:
            return f"`{early}` is read when an interpreter starts or a library is loaded"
        from mlflow.exceptions import MlflowException
        from mlflow.projects import _project_spec

        project = _project_spec.load_project(str(self._work.project.folder))
        place = tempfile.mkdtemp(dir=self._downloads)
        try:
            point = project.get_entry_point(self._work.entry_point)
            declared = self._work.project.entry_point(self._work.entry_point)
            settled, values = for_mlflow(declared, trial.parameters)
            point.command = settled or point.command
            command = point.compute_command(values, place)
        except MlflowException as error:
            log.write_text(f"{error}\n", encoding="utf-8")
            return None
        path = self._config.environment.get("PATH", os.defpath)
        folder = self._work.project.folder
        found = read_command(command, folder, self._python, path)
        if isinstance(found, PythonCommand) and not found.module:
            line = changes_environment_first(folder / found.target)
            if line:
                return f"`{found.target}`, line {line}, changes the environment before it imports"
        return found

    def _poll(self) -> tuple[str, int] | None:
        wait = 0.0 if self._inbox else _POLL_S
        if self._socket is not None:
            ready, _, _ = select.select([self._socket], [], [], wait)
            if ready:
                self._receive()
        elif self._cold is None:
            time.sleep(wait)
        for tail in self._tails.values():
            tail.read()
        while self._inbox:
            ended = self._hear(self._inbox.pop(0))
            if ended is not None:
                return ended
        if self._cold is not None and self._cold.running:
            outcome = self._cold.wait(_POLL_S)
            return None if outcome is None else (outcome.trial.run_id, outcome.code)
        return None

    def _receive(self) -> None:
        assert self._socket is not None
        try:
            received = self._socket.recv(65536)
        except ConnectionError:
            received = b""
        if not received:
            self._end_runs()
            return
        *lines, self._rest = (self._rest + received).split(b"\n")
        self._inbox += [json.loads(line) for line in lines]

    def _end_runs(self) -> None:
        """The parent is dead, and so are its runs; the next trial gets a new one."""
        self._lose_parent()
        killed = SIGNALLED + signal.SIGKILL
        self._inbox += [{"ended": run_id, "code": killed} for run_id in self._tails]

    def _hear(self, message: Mapping[str, Any]) -> tuple[str, int] | None:
        if "ended" in message and message["ended"] in self._tails:
            run_id: str = message["ended"]
            self._tails.pop(run_id).close()
            self._pids.pop(run_id, None)
            return run_id, int(message["code"])
        if "started" in message:
            self._pids[message["started"]] = message["pid"]
        elif "cold" in message:
            self._go_cold(message["cold"], message["why"])
        elif message.get("note"):
            self._say(message["note"])
        elif "refused" in message:
            raise InvalidInputError(
                f"The project's environment cannot train: {message['refused']}.",
                hint=f"Its interpreter is `{self._python}`.",
            )
        return None

    def _go_cold(self, run_id: str, why: str) -> None:
        self._say(f"MLflow's own runner is used: {why}")
        if self._cold is None:
            self._cold = self._make_cold()
            self._cold.__enter__()
        self._tails.pop(run_id).close()
        self._cold.start(self._running[run_id].trial)

    def _say(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            self._note(text)

    def _send(self, order: Mapping[str, Any]) -> None:
        assert self._socket is not None
        # A parent that is gone is noticed by `_receive`.
        with suppress(OSError):
            self._socket.sendall(json.dumps(order).encode() + b"\n")

    def _stop(self, run_id: str) -> None:
        if self._cold is not None and run_id in self._cold.running:
            self._cold.cancel(run_id)
        elif self._socket is not None:
            self._send({"stop": run_id})


def _place(trial: Trial, log: Path) -> dict[str, Any]:
    own = {"MLFLOW_RUN_ID": trial.run_id, "MLFLOW_EXPERIMENT_ID": trial.experiment_id}
    return {
        "run_id": trial.run_id,
        "log": str(log),
        "environment": {**trial.environment, **own},
    }
