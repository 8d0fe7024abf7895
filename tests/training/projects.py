"""Tiny projects whose scripts do what a test needs, without importing mlflow where they can."""

from __future__ import annotations

from pathlib import Path

_PROJECT = """
name: tiny
entry_points:
  main:
    parameters:
      size: {type: float, default: 1}
    command: "python script.py {size}"
  other:
    command: "python script.py"
"""


def write_project(folder: Path, script: str, mlproject: str = _PROJECT) -> Path:
    """Make a project of one script in `folder` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "MLproject").write_text(mlproject)
    (folder / "script.py").write_text(script)
    return folder
