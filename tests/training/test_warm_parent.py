"""The warm parent as a program, spoken to over its socket."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from mlops.resources import PACKAGES
from mlops.training.warm.parent import Config
from mlops.training.warm.program import command
from tests.waiting import wait_until

# A fork of `mlops` has the action of its parent, where a program that is started anew has not.
_AS_IN_A_COMMAND = "import signal; signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n"


def test_a_spare_that_was_killed_ends_no_other(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import os; print(os.getpid())\n")
    config = Config(str(tmp_path), str(tmp_path / "warm"), "key", dict(os.environ), database=False)
    ours, theirs = socket.socketpair()
    words = command(sys.executable, PACKAGES, theirs.fileno(), config)
    words[2] = _AS_IN_A_COMMAND + words[2]
    with (
        ours,
        subprocess.Popen(words, pass_fds=[theirs.fileno()], cwd=tmp_path) as parent,
        ours.makefile("r") as said,
    ):
        theirs.close()

        def hear(word: str) -> dict[str, object]:
            return next(line for line in map(json.loads, said) if word in line)

        def run(number: int) -> object:
            place = {"target": "script.py", "arguments": [], "module": False, "environment": {}}
            order = {"run_id": f"run{number}", "log": str(tmp_path / f"{number}.log"), **place}
            ours.sendall(json.dumps({"run": order}).encode() + b"\n")
            return hear("ended")["code"]

        hear("ready")
        assert (run(1), run(2)) == (0, 0)
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        wait_until(lambda: len(children.read_text().split()) == 1)
        spare = int(children.read_text())
        os.kill(spare, signal.SIGKILL)
        wait_until(lambda: Path(f"/proc/{spare}/stat").read_text().rpartition(")")[2][1] == "Z")
        assert run(3) == 0
        assert int((tmp_path / "3.log").read_text()) != spare
        ours.shutdown(socket.SHUT_RDWR)
