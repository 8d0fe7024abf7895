"""Starting a warm parent: forked from this command, or as a program of its own."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Protocol

from mlops.forking import fork, threads
from mlops.registry.client import quiet_environment
from mlops.resources import PACKAGES
from mlops.settings.private import private_opener
from mlops.training.warm.parent import Config, import_mlflow
from mlops.training.warm.program import be_parent, command
from mlops.training.warm.script import hangup, open_streams


class Process(Protocol):
    """A process that mlops started."""

    pid: int

    def wait(self) -> int:
        """Return its exit code once it has ended."""


class Forked:
    """A fork of this process.

    Args:
        pid: Its number.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def wait(self) -> int:
        """Return its exit code once it has ended."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def start_parent(python: Path, config: Config, log: Path) -> tuple[Process, socket.socket]:
    """Start a warm parent.

    Where this process is a fresh command with one thread, it imports MLflow and forks: what is
    imported once serves both. Anything else, such as a notebook, or another interpreter, starts
    a program.

    Args:
        python: The interpreter of the runs.
        config: The configuration of all runs.
        log: Where anything that the parent itself writes goes.

    Returns:
        The process, and this end of the socket to it.
    """
    ours, theirs = socket.socketpair()
    with theirs, open(log, "ab", opener=private_opener) as output:
        if can_fork(python, config):
            return _fork(ours, theirs, config, output.fileno()), ours
        process = subprocess.Popen(
            command(str(python), PACKAGES, theirs.fileno(), config),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(config.environment),
            cwd=config.folder,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    return process, ours


def can_fork(python: Path, config: Config) -> bool:
    """Whether a fork of this process is what a fresh interpreter would be."""
    flags = sys.flags
    return (
        _is_our_program()
        and python == Path(sys.executable)
        and not threads.python_threads()
        # Then stores may be open, or numeric libraries have threads.
        and not {"mlflow", "numpy"} & set(sys.modules)
        and not (flags.isolated or flags.optimize or flags.no_site or flags.dev_mode)
        and not sys.warnoptions
        and all(map(os.path.isabs, filter(None, os.environ.get("PYTHONPATH", "").split(":"))))
        and Path(config.folder).is_dir()
    )


def _is_our_program() -> bool:
    """Whether this process is only `mlops`; not a notebook or a test."""
    main = sys.modules["__main__"]
    name = getattr(getattr(main, "__spec__", None), "name", "")
    return "mlops.__main__" in (name, getattr(getattr(main, "main", None), "__module__", ""))


def _fork(ours: socket.socket, theirs: socket.socket, config: Config, output: int) -> Forked:
    quiet_environment()
    base_path = list(sys.path) if sys.flags.safe_path else sys.path[1:]
    # Nearly all that is imported stays, so collecting garbage now is lost time.
    gc.disable()
    with threads.single_threaded():
        import_mlflow(database=config.database)
    # Nor is it worth collecting garbage there later, in either process.
    gc.freeze()
    gc.enable()
    # A signal that arrives before the child has its own handlers would unwind this one's frames.
    stopping = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stopping)
    pid = fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return Forked(pid)
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, *hangup()):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        ours.close()
        with Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        open_streams()
        _disown()
        os.chdir(config.folder)
        be_parent(theirs, config, base_path)
    finally:
        os._exit(1)


def _disown() -> None:
    """Have this fork clean up nothing, such as a temporary folder, that belongs to the command."""
    for finalizer in list(getattr(weakref.finalize, "_registry", ())):
        finalizer.detach()
