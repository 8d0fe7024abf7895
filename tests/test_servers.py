"""Ports of tests: pytest processes that run side by side never give the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.servers import _FIRST_PORT, _PORTS, take_slice

_GIVE = (
    "import sys; from tests.servers import unused_port; print(unused_port(), flush=True); input()"
)


def _slices(folder: Path) -> Iterator[tuple[int, int]]:
    while taken := take_slice(folder):
        yield taken


def test_a_slice_has_one_holder(tmp_path: Path) -> None:
    taken = dict(_slices(tmp_path))
    assert sorted(taken) == list(range(len(taken))) != []
    os.close(taken.pop(3))
    again = take_slice(tmp_path)
    assert again is not None
    assert again[0] == 3
    for descriptor in [*taken.values(), again[1]]:
        os.close(descriptor)


def test_processes_side_by_side_have_ports_of_different_slices(tmp_path: Path) -> None:
    environ = {k: v for k, v in os.environ.items() if k != "PYTEST_XDIST_WORKER"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _GIVE],
            cwd=Path(__file__).parents[1],
            env=environ | {"TMPDIR": str(tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    ports = [int(process.stdout.readline()) for process in running if process.stdout]
    for process in running:
        process.communicate("over\n", timeout=120)
    assert sorted((port - _FIRST_PORT) // _PORTS for port in ports) == [0, 1, 2]
