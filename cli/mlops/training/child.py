"""The runner process as seen from `mlops train`: started, followed, and never left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import mlops
from mlops.registry.client import script_environment
from mlops.training.runner import SIGNALLED

if TYPE_CHECKING:
    from mlops.settings import Settings

# The runner must be this very package, wherever the current folder and PYTHONPATH point; but the
# script, perhaps in another environment, must not inherit a path to our libraries.
_START = (
    "import sys; sys.path.append(sys.argv.pop()); from mlops.training.runner import main; main()"
)
_PACKAGES = Path(mlops.__file__).parent.parent

_UNNAMED = ".starting-"
_POLL_S = 0.05
_GRACE_S = 3.0
_NO_SIGNAL = 0


class Child:
    """A runner in a process group of its own, with its output in a file.

    A context manager: on leaving, whatever of the group still runs is killed. The output goes to a
    file and not through a pipe, so that it is complete even if we are killed, and so that a
    background process that keeps a pipe open cannot hold us up.

    Args:
        settings: Say where MLflow is.
        logs: Folder for the output of runner and script.

    Attributes:
        log: The file with the output.
    """

    def __init__(self, settings: Settings, logs: Path) -> None:
        self.log = logs / f"{_UNNAMED}{os.getpid()}.log"
        with self.log.open("wb") as output:
            # -P keeps the current folder, and a `random.py` in it, off the runner's path.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, str(_PACKAGES)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(settings),
                start_new_session=True,
                text=True,
            )

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()
        if self.log.name.startswith(_UNNAMED):
            self.log.unlink(missing_ok=True)

    def run(self, order: Mapping[str, object], on_line: Callable[[str], None]) -> int:
        """Have one project run to its end, and end whatever it leaves behind.

        Args:
            order: What `runner` reads; its `run_id` names the log.
            on_line: Gets every line of output.

        Returns:
            The script's exit code; one above 128 means that signal `code - 128` ended it.
        """
        self.log = self.log.rename(self.log.with_name(f"train-{order['run_id']}.log"))
        assert self._process.stdin is not None
        try:
            # A runner that is dead already is noticed below.
            with suppress(BrokenPipeError):
                self._process.stdin.write(json.dumps(order) + "\n")
                self._process.stdin.flush()
            self._follow(on_line)
        finally:
            self._stop()
        code = int(self._process.returncode)
        return code if code >= 0 else SIGNALLED - code

    def _follow(self, on_line: Callable[[str], None]) -> None:
        with self.log.open(encoding="utf-8", errors="replace") as output:
            rest = ""
            while True:
                ended = self._process.poll() is not None
                *lines, rest = (rest + output.read()).split("\n")
                for line in lines:
                    on_line(line)
                if ended:
                    break
                time.sleep(_POLL_S)
        if rest:
            on_line(rest)

    def _stop(self) -> None:
        """End the whole group: politely, then not; also what a finished script left running.

        May be called again.
        """
        deadline = time.monotonic() + _GRACE_S
        alive = self._signal(signal.SIGTERM)
        while alive and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            # Until we have asked for its end, a dead runner still counts as one of the group.
            self._process.poll()
            alive = self._signal(_NO_SIGNAL)
        self._signal(signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()

    def _signal(self, number: int) -> bool:
        """Send a signal to the group; return whether anybody was there to get it."""
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True


def _environment(settings: Settings) -> dict[str, str]:
    """Return the environment of runner and script."""
    environment = script_environment(settings)
    # `python` in an MLproject shall be the interpreter that we run on, activated or not.
    programs = str(Path(sys.executable).parent)
    return environment | {
        "PATH": os.pathsep.join([programs, environment.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
    }
