"""A program forked from a warm process is what the same program, started afresh, is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import warm_start

_LOOK = """
import json, os, signal, sys
print(json.dumps({
    "argv": sys.argv, "path": sys.path, "name": __name__, "folder": os.getcwd(),
    "parent": os.getppid(), "leads": os.getsid(0) == os.getpid(), "variable": os.environ["LOOK"],
    "variables": len(os.environ),
    "files": [n for n in range(600) if os.path.exists(f"/proc/self/fd/{n}")],
    "interrupts": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    "pipe": signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN, "input": sys.stdin.read(),
    "loud": sys.stdout.write_through, "lock": os.read(int(sys.argv[-1]), 9).decode(),
}), flush=True)
if sys.argv[1] == "wait":
    signal.pause()
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture(params=["cold", "forked"])
def start(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """Start a program that tells of itself; return it, and what it tells."""
    if request.param == "forked":
        monkeypatch.setattr(warm_start, "PROGRAMS", {"look_around"})
    (tmp_path / "look_around.py").write_text(_LOOK)
    reading, writing = os.pipe()
    os.write(writing, b"held")

    def run(*words: str, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, *words[:-1], "-m", "look_around", words[-1], str(reading)]
        return subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**os.environ, "LOOK": "1"},
            pass_fds=[reading],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    yield run
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("session", [False, True])
def test_it_finds_what_it_was_given(start: Any, tmp_path: Path, session: bool) -> None:
    with start("5", start_new_session=session) as process:
        out, err = process.communicate("from here")
    assert (process.returncode, err) == (5, "")
    found = json.loads(out)
    assert Path(found["argv"][0]) == tmp_path / "look_around.py"
    assert found["argv"][1:2] == ["5"]
    assert found["path"][0] == found["folder"] == str(tmp_path)
    assert str(Path(__file__).parent) not in found["path"]
    assert (found["name"], found["parent"], found["leads"]) == ("__main__", os.getpid(), session)
    assert (found["variable"], found["variables"]) == ("1", len({*os.environ, "LOOK"}))
    assert found["files"] == [0, 1, 2, int(found["argv"][2])]
    assert (found["input"], found["lock"]) == ("from here", "held")
    assert found["interrupts"]
    assert found["pipe"]


def test_an_error_is_told_as_ever(start: Any) -> None:
    with start("no number") as process:
        _, err = process.communicate("")
    assert process.returncode == 1
    assert err.startswith("Traceback (most recent call last):\n")
    assert err.endswith("ValueError: invalid literal for int() with base 10: 'no number'\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_it_ends_by_a_signal(start: Any, number: signal.Signals) -> None:
    with start("wait") as process:
        process.stdin.close()
        assert json.loads(process.stdout.readline())["input"] == ""
        process.send_signal(number)
        code = process.wait()
    assert code == -number


def test_only_what_a_fork_would_be_like_is_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_start, "PROGRAMS", {"platform"})

    def fork(*_: object) -> int:
        raise NotImplementedError

    monkeypatch.setattr(warm_start.WarmProcess, "fork", fork)
    command = [sys.executable, "-m", "platform"]
    unlike: list[dict[str, Any]] = [
        {"env": {**os.environ, "PYTHONPATH": "/nowhere"}},
        {"env": {**os.environ, "OMP_NUM_THREADS": "3"}},
        {"preexec_fn": os.getpid},
        {"umask": 0o077},
    ]
    for options in unlike:
        subprocess.run(command, check=True, capture_output=True, **options)
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    subprocess.run(["sh", "-c", "exit 0"], check=True)
    with pytest.raises(NotImplementedError):
        subprocess.run(command, check=True)
