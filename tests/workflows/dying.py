"""Runs `mlops` commands and kills them with SIGKILL at a named step.

    python -m tests.workflows.dying

reads one JSON object a line: `folder`, `words`, and where to die: `target` ("module:Class.method"),
`when` ("before" or "after" it) and `call` (which call of it, from 1). It answers each with the exit
status of the command, -9 if it died. A process of its own, forked per command, because MLflow takes
seconds to import and an opened database must not be inherited by a fork.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any


class Dying:
    """Talks to a process that runs this module."""

    def __init__(self) -> None:
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "MLOPS_"))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.workflows.dying"],
            cwd=Path(__file__).parents[2],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, folder: Path, *words: str, target: str, when: str, call: int = 1) -> int:
        """Run a command that dies there; return its exit status."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {
            "folder": str(folder), "words": words, "target": target, "when": when, "call": call
        }  # fmt: skip
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def _die_at(target: str, when: str, call: int) -> None:
    module, _, path = target.partition(":")
    holder: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        holder = getattr(holder, parent)
    original = getattr(holder, name)
    calls = 0

    def dying(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(holder, name, dying)


def _serve() -> None:
    from mlops.registry.client import quieten

    quieten()
    import mlflow.store.model_registry.sqlalchemy_store
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 - so that a fork need not

    from mlops.__main__ import run

    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            # What it says is not our answer.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            os.chdir(order["folder"])
            _die_at(order["target"], order["when"], order["call"])
            os._exit(run(order["words"]))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(status, flush=True)


if __name__ == "__main__":
    _serve()
