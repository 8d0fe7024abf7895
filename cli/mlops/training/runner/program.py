"""The program that runs one project; `ColdRunner` starts it as a process of its own.

A process of its own can be killed with everything it started, and its three seconds of imports pass
while the parent opens the store and creates the run. It reads one line of JSON, hands that to
MLflow's local project backend and leaves with the script's exit code. It never outlives its parent:
when its standard input ends, it kills its whole process group.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mlops.registry.client import quieten
from mlops.training.runner.base import SIGNALLED

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlflow.projects.backend.abstract_backend import AbstractBackend


def main() -> None:
    """Wait for the request, run it, and exit as the script did."""
    quieten()
    from mlflow.projects.backend.loader import load_backend

    # Environment managers say what they install, and that can take minutes.
    logging.getLogger("mlflow.utils").setLevel(logging.INFO)
    line = sys.stdin.readline()
    if not line:
        sys.exit(1)
    _die_with_parent()
    sys.exit(_run(load_backend("local"), json.loads(line)))


def _run(backend: AbstractBackend, order: dict[str, Any]) -> int:
    from mlflow import set_registry_uri, set_tracking_uri
    from mlflow.exceptions import MlflowException

    os.environ.update(order["environment"])
    _let_mlflow_fill(order["entry_point"], order["command"])
    set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    set_registry_uri(os.environ["MLFLOW_REGISTRY_URI"])
    config = {
        "_mlflow_local_backend_run_id": order["run_id"],
        "ENV_MANAGER": order["env_manager"],
        "SYNCHRONOUS": True,
        "DOCKER_ARGS": {},
        "STORAGE_DIR": None,
        "build_image": False,
        "docker_auth": None,
    }
    try:
        submitted = backend.run(
            order["folder"],
            order["entry_point"],
            order["parameters"],
            None,
            config,
            os.environ["MLFLOW_TRACKING_URI"],
            order["experiment_id"],
        )
    except MlflowException as error:
        sys.stderr.write(f"{error}\n")
        return 1
    code: int = submitted.command_proc.wait()
    return code if code >= 0 else SIGNALLED - code


def _let_mlflow_fill(entry_point: str, command: str) -> None:
    """Have MLflow fill a command whose flags, lists and absent values are filled in already.

    MLflow reads the command from the MLproject, and offers no other way.
    """
    from mlflow.projects._project_spec import EntryPoint, Project

    read: Callable[[Project, str], EntryPoint] = Project.get_entry_point

    def settled(project: Project, name: str) -> EntryPoint:
        found = read(project, name)
        if name == entry_point and command:
            found.command = command
        return found

    Project.get_entry_point = settled


def _die_with_parent() -> None:
    """Watch the pipe from the parent; the script gets an empty standard input instead."""
    pipe = os.fdopen(os.dup(sys.stdin.fileno()), "r", encoding="utf-8")
    with Path(os.devnull).open(encoding="utf-8") as nothing:
        os.dup2(nothing.fileno(), sys.stdin.fileno())
    threading.Thread(target=_kill_group_at_end, args=(pipe,), daemon=True).start()


def _kill_group_at_end(pipe: TextIO) -> None:
    pipe.read()
    os.killpg(os.getpgid(0), signal.SIGKILL)
