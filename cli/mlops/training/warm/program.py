"""The warm parent as a program: forked from the command, or started in another interpreter."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from mlops.training.warm.parent import Config, Parent

# `sys.path` first loses the current folder, which may hold a `random.py`, and at the end what
# leads to mlops: a script must not inherit a path to its libraries.
_START = (
    "import sys\n"
    "if not sys.flags.safe_path: del sys.path[0]\n"
    "path = list(sys.path)\n"
    "sys.path.append(sys.argv[1])\n"
    "from mlops.training.warm.program import main\n"
    "sys.path[:] = path\n"
    "main(int(sys.argv[2]), sys.argv[3], path)\n"
)


def command(python: str, packages: Path, descriptor: int, config: Config) -> list[str]:
    """Return the command that starts a warm parent in an interpreter.

    Args:
        python: The interpreter.
        packages: The folder that `mlops` is in.
        descriptor: A socket that the program inherits.
        config: The configuration of all runs; the secrets among its variables stay off the command.
    """
    visible = asdict(config) | {"environment": {}}
    return [python, "-c", _START, str(packages), str(descriptor), json.dumps(visible)]


def main(descriptor: int, visible: str, base_path: list[str]) -> NoReturn:
    """Be a warm parent that was started as a program; its own variables are those of the runs."""
    environment = dict(os.environ)
    config = Config(**json.loads(visible) | {"environment": environment})
    be_parent(socket.socket(fileno=descriptor), config, base_path)


def be_parent(connection: socket.socket, config: Config, base_path: list[str]) -> NoReturn:
    """Serve runs until the socket's other end goes away, and end the process."""
    code = 1
    try:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # A spare that was killed and a command that is gone are no reason to end all runs.
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        parent = Parent(connection, config, base_path)
        try:
            if parent.prepare():
                _begin_anew(connection, config)
            parent.serve()
        except ImportError as error:
            parent.refuse(str(error))
            code = 0
        finally:
            parent.end()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _begin_anew(connection: socket.socket, config: Config) -> NoReturn:
    """Become a fresh interpreter, without the threads that an import has started."""
    packages = Path(__file__).parents[3]
    connection.set_inheritable(True)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.chdir(config.folder)
    words = command(sys.executable, packages, connection.fileno(), config)
    os.execve(sys.executable, words, dict(config.environment))  # noqa: S606 - no shell is wanted
