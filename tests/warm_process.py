"""The program behind `warm_start`: imports what our programs need, then forks on request.

It is started by its path, so that no package named `tests` is among its modules.
"""

from __future__ import annotations

import builtins
import fcntl
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

# The folder of this file is no program's place to look for modules.
del sys.path[0]

_MODULES = (
    "mlflow.pyfunc",
    "mlflow.pyfunc.scoring_server",
    "mlflow.sklearn",
    "pandas",
    "sklearn.linear_model",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "skops.io",
    "uvloop",
    "mlops.journal.sql",
    "mlops.serving.pod",
    "mlops.serving.alone",
    "mlops.training.warm.program",
)
_MOST_FILES = 32
_ABOVE_ALL = 500
_PORTS = 100


def warm_up() -> Any:
    """Import what servers of our models import; return the pools of the numeric libraries."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlops.forking import threads
    from mlops.training.warm.parent import import_mlflow

    with threads.single_threaded():
        for name in _MODULES:
            importlib.import_module(name)
        import_mlflow(database=True)
    found = threads.pools()
    assert not threads.python_threads(), threads.python_threads()
    gc.collect()
    gc.freeze()
    return found


def share_requirements(folder: str) -> None:
    """Let the trainings of all projects remember in one folder what MLflow infers of models."""
    from mlops.training.warm import requirements

    install = requirements.install
    requirements.install = lambda place, project: install(Path(folder), project)


def take_own_ports(number: int) -> None:
    """Have servers look for a free port where those of other pytest processes do not.

    Else one could take the port of a deployment that a test has stopped and starts again.

    Args:
        number: Which slice of ports the pytest process has.
    """
    from mlops.serving import sockets

    first = sockets._LAST_PORT + number * _PORTS
    sockets._FIRST_PORT, sockets._LAST_PORT = first, first + _PORTS


def start_consumers_late() -> None:
    """Have servers start the process of their consumers when most tests are over.

    It costs a processor 0.7 s. Tests of consumers have it at once: `eager_consumers`.
    """
    from mlops.serving import consumer_process

    consumer_process._DELAY_S = 20.0


def serve(line: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Fork for every order, and return it in the fork."""
    while True:
        message, files, _, _ = socket.recv_fds(line, 1 << 20, _MOST_FILES)
        if not message:
            os._exit(0)
        reading, writing = os.pipe()
        between = os.fork()
        if not between:
            middle = os.getpid()
            child = os.fork()
            if child:
                os.write(writing, str(child).encode())
                os._exit(0)
            line.close()
            # Until then it is not the child of who wants it.
            while os.getppid() == middle:
                time.sleep(0.0005)
            return json.loads(message), files
        # Only when the one between has ended is its child somebody else's.
        os.waitpid(between, 0)
        line.send(os.read(reading, 64))
        for descriptor in (reading, writing, *files):
            os.close(descriptor)


def become(order: dict[str, Any], files: list[int]) -> None:
    """Take the files, the folder, the session and the variables that were ordered."""
    if order["session"]:
        os.setsid()
    elif order["group"] is not None and order["group"] >= 0:
        os.setpgid(0, order["group"])
    # Out of the way first: the numbers they had elsewhere may be those of others here.
    moved = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, _ABOVE_ALL) for file in files]
    os.closerange(3, _ABOVE_ALL)
    for number, file in zip(order["numbers"], moved, strict=True):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(order["variables"])
    os.chdir(order["folder"])
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    if os.environ.get("PYTHONUNBUFFERED"):
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(write_through=True)  # type: ignore[union-attr]


def set_constants() -> None:
    """Set what the test has shortened; see `warm_start.set_in_servers`."""
    for name, value in json.loads(os.environ.pop("PYTEST_CONSTANTS", "{}")).items():
        module, _, constant = name.rpartition(".")
        found = importlib.import_module(module)
        # One that is gone would leave the test as slow as before.
        getattr(found, constant)
        setattr(found, constant, value)


def run(words: list[str]) -> None:
    """Be `python [-P] -m MODULE ...` or `-c CODE ...` from where the interpreter is ready."""
    safe, (kind, what, *arguments) = words[1] == "-P", words[1 + (words[1] == "-P") :]
    sys.orig_argv = words
    sys.argv = [kind, *arguments]
    main = ModuleType("__main__")
    main.__dict__.update(__builtins__=builtins, __annotations__={})
    sys.modules["__main__"] = main
    sys.path[:0] = [folder for folder in os.environ.get("PYTHONPATH", "").split(":") if folder]
    if kind == "-c":
        sys.path[:0] = [] if safe else [""]
        exec(compile(what, "<string>", "exec"), main.__dict__)
    else:
        sys.path[:0] = [] if safe else [os.getcwd()]  # noqa: PTH109 - text
        runpy._run_module_as_main(what)  # type: ignore[attr-defined]


def main() -> None:
    # A test that is interrupted interrupts its own children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line = socket.socket(fileno=int(sys.argv[1]))
    pools = warm_up()
    share_requirements(sys.argv[2])
    take_own_ports(int(sys.argv[3]))
    start_consumers_late()
    order, files = serve(line)
    become(order, files)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.modules["numpy.random"].seed()
    set_constants()
    if "-m" in order["words"][:3]:
        from mlops.forking import threads

        # The parent of trainings, which is code, gives them to its own forks.
        threads.restore(pools)
    run(order["words"])


main()
