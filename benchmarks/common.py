"""What the benchmarks share: the machine they ran on, a project to run in, processes that end."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

MLOPS = Path(sys.executable).with_name("mlops")


def machine() -> str:
    """Describe this machine in a line."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    name = names[0] if names else platform.machine()
    return f"{os.cpu_count()} x {name}, Python {platform.python_version()}, {platform.system()}"


def run(*words: str, cwd: Path) -> str:
    """Run `mlops` and return what it prints; its progress is shown only if it fails."""
    done = subprocess.run([MLOPS, *words], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"mlops {' '.join(words)} failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout


@contextlib.contextmanager
def wine_project(*, models: Sequence[str] = ("0.1", "1.0")) -> Iterator[Path]:
    """Make a wine project with one trained model per alpha, `wine/1` and on; stop its servers."""
    with tempfile.TemporaryDirectory(prefix="mlops-bench-") as folder:
        project = Path(folder)
        run("init", "--template", "wine", cwd=project)
        for alpha in models:
            run("train", "-P", f"alpha={alpha}", cwd=project)
        try:
            yield project
        finally:
            for state in (project / ".mlops" / "run").glob("*.json"):
                subprocess.run([MLOPS, "stop", state.stem], cwd=project, check=False)


def state_of(project: Path, name: str = "wine") -> dict[str, object]:
    """Return what a deployment's server says of itself."""
    found: dict[str, object] = json.loads((project / ".mlops" / "run" / f"{name}.json").read_text())
    return found


def pin(pid: int, cpu: int) -> None:
    """Put every thread of a process on one core."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), {cpu})


def wait_for(url: str, seconds: float = 120.0) -> None:
    """Wait until a server answers."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise SystemExit(f"{url} did not answer within {seconds:g} s") from None
            time.sleep(0.2)


def need(program: str, package: str) -> str:
    """Return the path of a program, or say which package brings it."""
    found = shutil.which(program)
    if found is None:
        raise SystemExit(f"`{program}` is not installed (Debian: apt-get install {package})")
    return found
