"""Benchmarks that judge themselves, run as a user runs them but for a shorter time."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_FOLDER = Path(__file__).parents[2] / "benchmarks"
_TIMEOUT_S = 150.0


def judged(script: str, *words: str, under: Sequence[str] = ()) -> dict[str, float]:
    """Run a benchmark that must find nothing wrong; return the figures it prints as `name: n`."""
    command = [*under, sys.executable, str(_FOLDER / script), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    figures = re.findall(r"^([^:\n]+): ([\d,.]+)", done.stdout, re.MULTILINE)
    return {name: float(number.rstrip(",.").replace(",", "")) for name, number in figures}
