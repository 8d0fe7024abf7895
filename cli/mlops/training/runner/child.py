"""A child process that executes one project with MLflow's runner."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.registry.client import script_environment
from mlops.resources import PACKAGES
from mlops.settings.private import private_opener
from mlops.training.runner.base import SIGNALLED

if TYPE_CHECKING:
    from mlops.settings.needs import StoreSettings

# The program must be this package, wherever the current folder and PYTHONPATH point; but the
# script, perhaps in another environment, must not inherit a path to mlops's libraries.
_START = (
    "import sys; sys.path.append(sys.argv.pop());"
    " from mlops.training.runner.program import main; main()"
)

GRACE_S = 3.0
_NO_SIGNAL = 0
_number = count()


class Child:
    """A process in a group of its own, with its output in a file.

    Args:
        environment: Its variables, and the script's.
        logs: Folder for its output.

    Attributes:
        log: The file with the output.
    """

    def __init__(self, environment: Mapping[str, str], logs: Path) -> None:
        self.log = self._unnamed = logs / f".starting-{os.getpid()}-{next(_number)}.log"
        self._deadline = 0.0
        with open(self.log, "wb", opener=private_opener) as output:
            # -P keeps the current folder, and a `random.py` in it, off the program's path.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, str(PACKAGES)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,
                text=True,
            )

    def begin(self, order: Mapping[str, object]) -> None:
        """Run one project.

        Args:
            order: What `program` reads; its `run_id` names the log.
        """
        self.log = self.log.rename(self.log.with_name(f"train-{order['run_id']}.log"))
        assert self._process.stdin is not None
        # A process that is dead already is noticed by `poll`.
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()

    def poll(self) -> int | None:
        """Return the exit code once it has ended and nothing of its group is left."""
        ended = self._process.poll() is not None
        if ended and not self._deadline:
            self.stop()
        if self._deadline and self._signal(_NO_SIGNAL):
            if time.monotonic() < self._deadline:
                return None
            self._signal(signal.SIGKILL)
        elif not ended:
            return None
        self._process.wait()
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        code = int(self._process.returncode)
        return code if code >= 0 else SIGNALLED - code

    def stop(self) -> None:
        """Ask the whole group to end; also what a finished script left running.

        `poll` sees to it, and kills what has not ended a few seconds later.
        """
        if not self._deadline:
            self._deadline = time.monotonic() + GRACE_S
            self._signal(signal.SIGTERM)

    def close(self) -> None:
        """End it now and wait for that; may be called again."""
        self.stop()
        while self.poll() is None:
            time.sleep(0.02)
        self._unnamed.unlink(missing_ok=True)

    def _signal(self, number: int) -> bool:
        """Send a signal to the group; return whether a process was there to get it."""
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True


def base_environment(
    settings: StoreSettings, python: Path, reach: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the environment of a script, where `python` means that interpreter.

    Args:
        settings: Where MLflow is.
        python: The interpreter.
        reach: Variables by which the script reaches MLflow, where it cannot open the store.
    """
    environment = script_environment(settings) | dict(reach or {})
    return environment | {
        "PATH": os.pathsep.join([str(python.parent), environment.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
    }
