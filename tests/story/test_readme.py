"""The README's promises, kept: its story command by command, and the demo, outside the checkout."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chance import by_chance
from tests.fixtures_deployment import Shop
from tests.requirements import require

pytestmark = pytest.mark.story

_README = Path(__file__).parents[2] / "README.md"
_PATIENCE_S = 240


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for home in tmp_path.rglob(".mlops"):
        Shop(home.parent).close()


def story() -> list[str]:
    block = re.search(r"<!-- story -->\n```sh\n(.*?)```", _README.read_text(), re.DOTALL)
    assert block is not None
    return block[1].splitlines()


def shell(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a line as a newcomer would: in a shell, with the installed `mlops` and nothing else."""
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
    }
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )


def here(folder: Path, command: str) -> str:
    """Run a command of `mlops` in this process; `test_the_demo` starts the installed one."""
    program, *words = shlex.split(command)
    assert program == "mlops"
    return Shop(folder).ok(*words).out


def ok(folder: Path, command: str) -> str:
    done = shell(folder, command)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def predicted(folder: Path, text: str) -> float:
    """Run the curl command that a text offers and return its answer."""
    require("curl", shutil.which("curl"), "there is no curl")
    line = next(line for line in text.splitlines() if line.strip().startswith("curl "))
    (answer,) = json.loads(ok(folder, line))["predictions"]
    return float(answer)


@by_chance
def test_the_story_by_hand(folder: Path) -> None:
    said: dict[str, str] = {}
    for command in story():
        said[command] = here(folder, command)
        if command.startswith("mlops deploy"):
            assert 3 < predicted(folder, said[command]) < 8
    assert {"mlops train -P alpha=0.5", "mlops deploy --ab modelA modelB", "mlops feedback"} <= {
        *said
    }
    assert said["mlops train -P alpha=0.5"].startswith("wine/1")
    assert "wine/3" in said["mlops models compare modelA modelB"]
    assert "wine revision 1 at http://127.0.0.1:" in said["mlops deploy --ab modelA modelB"]
    assert "2,000 requests to wine" in said["mlops feedback"]
    assert "simulated: draws from 400 rows" in said["mlops feedback"]
    assert "feedback: accepted 2,000" in said["mlops feedback"]
    report = said["mlops report"]
    assert "n = 2,000" in report
    assert "note: simulated: draws from 400 rows" in report
    # Who meets which model is not seeded; simulated 400 times, modelA won every time.
    assert "keep: modelA" in report, report
    assert "modelA (wine/2) 100 %" in said["mlops promote"]
    assert "wine@champion" in said["mlops promote"]
    history = said["mlops history"]
    assert re.search(r"2  live .* promote", history)
    assert re.search(r"1  replaced .* deploy", history)
    # All state is in one place, and nothing runs any more.
    assert not (folder / "mlruns").exists()
    assert json.loads(here(folder, "mlops status --json"))["deployments"][0]["state"] == "stopped"


@by_chance
def test_the_demo(folder: Path) -> None:
    done = shell(folder, "mlops demo")
    assert done.returncode == 0, done.stderr
    assert "2,000 requests" in done.stdout, done.stdout
    assert "simulated" in done.stdout
    assert "$ mlops deploy --ab modelA modelB" in done.stderr
    assert "modelA (wine/1) 100 %" in done.stdout, done.stdout
    home = folder / "mlops-demo"
    end = done.stdout[done.stdout.index("Done.") :]
    assert 3 < predicted(folder, end) < 8
    for command in ("mlops report", "mlops status", "mlops rollback wine", "mlops stop wine"):
        assert f"  {command}\n" in end
        here(home, command)
    # Another demo does not touch this one.
    assert shell(folder, "mlops demo mlops-demo").returncode == 7
