"""Our programs as real processes, without their imports: forked from one that has made them.

A server of ours spends two seconds of a processor on importing MLflow and scikit-learn, and the
tests start hundreds. So the first start makes a *warm process* (`tests/warm_process.py`, one for
each pytest process), and the starts are forks of it. A fork is a child of the test as any process
that `subprocess.Popen` starts: its own process number and exit code, the same variables, files,
folder, session and signals, the same code from `__main__` on. What differs: modules are imported
already, and `/proc/PID/cmdline` is the warm process's.

The servers (`PROGRAMS`) and the parents of warm trainings are forked, and only by this interpreter
with the variables that shape one (`PYTHONPATH`, `OMP_NUM_THREADS`, `LANG`...) as pytest has them.
All other starts are what they always were: those of tests that are marked `cold`, and all of them
while `MLOPS_TESTS_COLD` is set.
"""

from __future__ import annotations

import atexit
import ctypes
import inspect
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mlops.training.warm.program import _START as _WARM_PARENT
from tests.servers import own_slice

#: Modules that are forked when they are started with `python -m`.
PROGRAMS = frozenset({"mlops.serving", "mlops.serving.pod", "mlops.serving.shadow_process"})

_PROGRAM = Path(__file__).with_name("warm_process.py")
_SHAPES_INTERPRETER = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_", "TZ")
_SHAPES_POOLS = ("OMP_", "OPENBLAS_", "GOTO_", "MKL_", "BLIS_", "NUMEXPR_")
_READ_AT_IMPORT = ("MLFLOW_LOGGING", "MLFLOW_CONFIGURE")
#: A fork heeds these.
_HEEDED = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
_SHAPES = (*_SHAPES_INTERPRETER, *_SHAPES_POOLS, *_READ_AT_IMPORT)
_BECOME_REAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)
_UNSUPPORTED = {
    "preexec_fn": None, "shell": False, "executable": None, "creationflags": 0, "gid": None,
    "gids": None, "uid": None, "umask": -1, "close_fds": True,
}  # fmt: skip

_cold_start = subprocess.Popen._execute_child  # type: ignore[attr-defined]
_signature = inspect.signature(_cold_start)
_own_variables = dict(os.environ)
_remembered = Path()


def install(remembered: Path) -> None:
    """Have `subprocess.Popen` fork what can be forked, in this process and from now on.

    Args:
        remembered: Folder of what MLflow inferred about the requirements of models. In it all
            projects share what each would find out for itself, in five seconds.
    """
    global _remembered  # noqa: PLW0603 - installed once, before any test
    _remembered = remembered
    if sys.platform == "linux" and not os.environ.get("MLOPS_TESTS_COLD"):
        subprocess.Popen._execute_child = _execute_child  # type: ignore[attr-defined]


def set_in_servers(patch: pytest.MonkeyPatch, constants: Mapping[str, float]) -> None:
    """Shorten time-outs of servers that the test starts; not of those that start cold.

    Args:
        patch: For as long as it lasts.
        constants: Value of each, by the name of its module and its own.
    """
    patch.setenv("PYTEST_CONSTANTS", json.dumps(constants))


@contextmanager
def suspended() -> Iterator[None]:
    """Have every program start as it does without us."""
    before = subprocess.Popen._execute_child  # type: ignore[attr-defined]
    subprocess.Popen._execute_child = _cold_start  # type: ignore[attr-defined]
    try:
        yield
    finally:
        subprocess.Popen._execute_child = before  # type: ignore[attr-defined]


class WarmProcess:
    """The process that has imported everything; it ends when this one does."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        with theirs:
            arguments = (theirs.fileno(), _remembered, own_slice())
            self._process = subprocess.Popen(
                [sys.executable, str(_PROGRAM), *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                env=_own_variables,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        atexit.register(self.end)

    def fork(self, order: Mapping[str, Any], files: Sequence[int]) -> int:
        """Start a program; return its process number."""
        # The child of a child that has ended goes to its nearest ancestor that wants such.
        with self._lock:
            _adopt(True)
            try:
                socket.send_fds(self._line, [json.dumps(order).encode()], files)
                answer = self._line.recv(64)
            finally:
                _adopt(False)
        if not answer:
            self._said.seek(0)
            raise RuntimeError(f"The warm process has ended.\n{self._said.read().decode()}")
        return int(answer)

    def end(self) -> None:
        """Let it go."""
        self._line.close()
        self._process.wait()
        self._said.close()


def _adopt(want: bool) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_BECOME_REAPER, int(want), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


_warm: dict[int, WarmProcess] = {}
_starting = threading.Lock()


def _warm_process() -> WarmProcess:
    with _starting:
        if os.getpid() not in _warm:
            _warm[os.getpid()] = WarmProcess()
        return _warm[os.getpid()]


def _execute_child(process: Any, *given: Any, **named: Any) -> None:
    """Do what `subprocess.Popen._execute_child` does."""
    start = _signature.bind(process, *given, **named).arguments
    words = _words(start["args"])
    variables = os.environ if start["env"] is None else start["env"]
    folder = os.fspath(start["cwd"] or os.getcwd())  # noqa: PTH109 - bytes are allowed
    forkable = (
        words is not None
        and all(start[name] == usual for name, usual in _UNSUPPORTED.items())
        and not _shape(variables) ^ _shape(_own_variables)
        and os.path.isdir(folder)  # noqa: PTH112 - bytes are allowed
    )
    if not forkable:
        _cold_start(process, *given, **named)
        return
    assert words is not None
    streams = [
        standard if descriptor == -1 else descriptor
        for standard, descriptor in enumerate(
            (start["p2cread"], start["c2pwrite"], start["errwrite"])
        )
    ]
    passed = sorted(int(descriptor) for descriptor in start["pass_fds"])
    order = {
        "words": words,
        "folder": os.fsdecode(folder),
        "variables": {os.fsdecode(k): os.fsdecode(v) for k, v in variables.items()},
        "numbers": [0, 1, 2, *passed],
        "session": bool(start["start_new_session"]),
        "group": start["process_group"],
    }
    process.pid = _warm_process().fork(order, [*streams, *passed])
    process._child_created = True
    process._close_pipe_fds(
        *(start[name] for name in ("p2cread", "p2cwrite", "c2pread", "c2pwrite")),
        *(start[name] for name in ("errread", "errwrite")),
    )


def _words(command: object) -> list[str] | None:
    """Return a command's words if its program can be forked."""
    if isinstance(command, str | bytes | os.PathLike) or not isinstance(command, Sequence):
        return None
    words = [os.fsdecode(word) for word in command]
    what = [word for word in words[1:4] if word != "-P"][:2]
    module = what[:1] == ["-m"] and PROGRAMS.issuperset(what[1:])
    known = module or what == ["-c", _WARM_PARENT]
    return words if words[0] == sys.executable and known else None


def _shape(variables: Mapping[Any, Any]) -> set[tuple[str, str]]:
    text = {os.fsdecode(name): os.fsdecode(value) for name, value in variables.items()}
    shapes = (name for name in text if name.startswith(_SHAPES) and name not in _HEEDED)
    return {(name, text[name]) for name in shapes}
