"""The process that imports once and forks for every run."""

from __future__ import annotations

import functools
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from mlops.forking import fork, threads
from mlops.training.nested import sitecustomize
from mlops.training.warm import inputs, requirements, script
from mlops.training.warm.imports import Learned, preload, shadowed
from mlops.training.warm.processes import (
    die_with,
    has_ended,
    has_members,
    signal_group,
)
from mlops.training.warm.standby import Spare, read_order

GRACE_S = 3.0
_TICK_S = 0.02


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration of all runs of one parent; sent as JSON.

    Attributes:
        folder: The project.
        place: Folder of what is remembered between commands.
        key: Names the entry point and its interpreter there.
        environment: Variables of every run.
        database: Whether runs are tracked in a database of their own, whose modules are needed.
    """

    folder: str
    place: str
    key: str
    environment: Mapping[str, str]
    database: bool


@dataclass(slots=True)
class _Child:
    run_id: str
    pid: int
    deadline: float = 0.0


class Parent:
    """Forks runs on request and reports how they ended, over a socket, in lines of JSON.

    Says `{"ready": true}` or `{"refused": reason}`; then takes `{"run": …}` and `{"stop": run id}`
    and says `{"started": run id, "pid": …}` and `{"ended": run id, "code": …}`. When the other end
    goes away it kills all that still runs and ends.

    Args:
        connection: The socket.
        config: The configuration of all runs.
        base_path: `sys.path` without its first entry.
    """

    def __init__(self, connection: socket.socket, config: Config, base_path: list[str]) -> None:
        self._socket, self._config, self._base_path = connection, config, base_path
        self._children: dict[int, _Child] = {}
        self._spare: Spare | None = None
        self._runs = 0
        self._folder, self._place = Path(config.folder), Path(config.place)
        self._learned = Learned.read(self._place / f"imports-{config.key}.json")
        self._pools: Any = None
        self._reason = ""
        self._known: frozenset[str] = frozenset()
        self._wake, wake = os.pipe()
        for end in (self._wake, wake):
            os.set_blocking(end, False)
        self._wake_write = wake

    def prepare(self) -> str:
        """Import everything that runs will need.

        Returns:
            The package that made it necessary to start over, or nothing.
        """
        gc.disable()
        with threads.single_threaded():
            import_mlflow(database=self._config.database)
            refused = preload(self._learned)
        if refused:
            return refused
        self._reason = requirements.install(self._place / "requirements", self._folder)
        if self._config.database:
            with suppress(ImportError, AttributeError):
                inputs.look_again()
        self._pools = threads.pools()
        self._known = frozenset(sys.modules)
        # Objects that the collector never visits stay on pages shared with the children;
        # the little garbage among them is not worth a collection.
        gc.freeze()
        gc.enable()
        self._say({"ready": True, "note": self._reason})
        return ""

    def serve(self) -> None:
        """Handle requests of the socket until its other end is closed."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        rest = b""
        while True:
            ends: list[Any] = [self._socket, self._wake]
            ready, _, _ = select.select(ends, [], [], self._patience())
            if self._wake in ready:
                with suppress(BlockingIOError):
                    os.read(self._wake, 512)
            if self._socket in ready:
                received = self._socket.recv(65536)
                if not received:
                    return
                *lines, rest = (rest + received).split(b"\n")
                for line in lines:
                    self._obey(json.loads(line))
            self._reap()

    def refuse(self, reason: str) -> None:
        """Report why there will be no runs."""
        self._say({"refused": reason})

    def end(self) -> None:
        """End whatever still runs, first by SIGTERM, then by SIGKILL."""
        if self._spare is not None:
            self._spare.dismiss()
        for child in self._children.values():
            self._stop(child)
        while self._children:
            time.sleep(_TICK_S)
            self._reap()

    def _obey(self, order: dict[str, Any]) -> None:
        if "run" in order:
            self._run(order["run"])
        for child in self._children.values():
            if child.run_id == order.get("stop"):
                self._stop(child)

    def _run(self, order: dict[str, Any]) -> None:
        extra = threads.python_threads()
        hidden = shadowed(_first_on_path(order, self._folder), sys.modules)
        if extra or hidden:
            why = f"a thread `{extra[0]}` runs" if extra else f"`{hidden}` hides an imported module"
            self._say({"cold": order["run_id"], "why": why})
            return
        spare = self._spare or self._fork_spare()
        if not spare.give(order):
            # It was killed while it waited.
            spare = self._fork_spare()
            spare.give(order)
        self._spare = None
        self._children[spare.pid] = _Child(order["run_id"], spare.pid)
        self._say({"started": order["run_id"], "pid": spare.pid})
        self._runs += 1
        if self._runs > 1:
            # Where there was a second run there will be a third: its process is made now.
            self._spare = self._fork_spare()

    def _fork_spare(self) -> Spare:
        parent = os.getpid()
        end, ours = os.pipe()
        pid = fork()
        if not pid:
            os.close(ours)
            self._be_run(end, parent)
        os.close(end)
        return Spare(pid, ours)

    def _be_run(self, orders: int, parent: int) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            self._socket.close()
            os.close(self._wake)
            os.close(self._wake_write)
            os.setsid()
            die_with(parent)
            script.begin()
            order = read_order(orders)
            if order is None:
                os._exit(0)
            environment = {**self._config.environment, **order["environment"]}
            script.become(environment, self._folder, Path(order["log"]))
            threads.restore(self._pools)
            sys.path[:] = [str(_first_on_path(order, self._folder)), *self._base_path]
            packages = None if self._reason else requirements.InstalledPackages(self._place)
            if packages is not None:
                packages.recall()
            sitecustomize.install()
            code = script.execute(order["module"], order["target"], order["arguments"])
            script.finish(code, lambda: self._learn(packages))
        finally:
            # Whatever goes wrong in mlops's own code, this process must not continue as its parent.
            os._exit(70)

    def _learn(self, packages: requirements.InstalledPackages | None) -> None:
        self._learned.learn(self._known, self._folder)
        if packages is not None:
            packages.remember()

    def _stop(self, child: _Child) -> None:
        if not child.deadline:
            child.deadline = time.monotonic() + GRACE_S
            signal_group(child.pid, signal.SIGTERM)

    def _reap(self) -> None:
        """Record which runs have ended, and end what they left behind.

        A dead leader is not reaped until its group is empty, so that its number cannot be
        reused by another process, which would then be killed.
        """
        for child in list(self._children.values()):
            if not has_ended(child.pid):
                if child.deadline and time.monotonic() > child.deadline:
                    signal_group(child.pid, signal.SIGKILL)
                continue
            if has_members(child.pid):
                self._stop(child)
                if time.monotonic() <= child.deadline:
                    continue
                signal_group(child.pid, signal.SIGKILL)
            _, status = os.waitpid(child.pid, 0)
            del self._children[child.pid]
            code = os.waitstatus_to_exitcode(status)
            self._say({"ended": child.run_id, "code": code if code >= 0 else 128 - code})

    def _patience(self) -> float | None:
        return _TICK_S if any(child.deadline for child in self._children.values()) else None

    def _say(self, message: dict[str, Any]) -> None:
        # The other end is closed: `serve` notices by itself.
        with suppress(OSError):
            self._socket.sendall(json.dumps(message).encode() + b"\n")


def import_mlflow(*, database: bool) -> None:
    """Import MLflow and what its clients need at their first call, without opening a store."""
    import mlflow

    if database:
        with suppress(ImportError, AttributeError):
            import mlflow.store.model_registry.sqlalchemy_store
            import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 - for the children
            import sqlalchemy.dialects.sqlite  # noqa: F401 - likewise
            from mlflow.store.db import utils
            from sqlalchemy.orm import configure_mappers

            configure_mappers()
            # A constant of the installed MLflow, which it reads from sixty files for every store.
            latest = functools.cache(utils._get_latest_schema_revision)
            latest()
            utils._get_latest_schema_revision = latest


def _first_on_path(order: Mapping[str, Any], folder: Path) -> Path:
    return folder if order["module"] else (folder / order["target"]).resolve().parent
