"""Trained with, serving with: the packages that differ, most dangerous first."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version


def differences(path: Path, mlmodel: Mapping[str, Any]) -> list[str]:
    """Compare a model's `requirements.txt` and Python with what is installed here.

    Returns:
        One sentence per difference; missing packages first, then major, minor and patch
        versions, each group in the file's order.
    """
    found: list[tuple[int, str]] = []
    python = str(mlmodel.get("flavors", {}).get("python_function", {}).get("python_version", ""))
    if python:
        found += _compare("python", python, platform.python_version())
    file = path / "requirements.txt"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    for line in lines:
        found += _requirement(line)
    return [sentence for _, sentence in sorted(found, key=lambda item: item[0])]


def _requirement(line: str) -> list[tuple[int, str]]:
    try:
        wanted = Requirement(line.split("#")[0].strip())
    except InvalidRequirement:
        return []
    pinned = next((s.version for s in wanted.specifier if s.operator == "=="), "")
    try:
        return _compare(wanted.name, pinned, version(wanted.name)) if pinned else []
    except PackageNotFoundError:
        return [(0, f"missing: {wanted.name} {pinned} is not installed".replace("  ", " "))]


def _compare(name: str, trained: str, serving: str) -> list[tuple[int, str]]:
    try:
        before, now = Version(trained), Version(serving)
    except InvalidVersion:
        return []
    if before == now:
        return []
    if before.major != now.major:
        rank, size = 1, "major"
    elif before.minor != now.minor:
        rank, size = 2, "minor"
    else:
        rank, size = 3, "patch"
    return [(rank, f"{size}: {name} trained with {trained}, serving with {serving}")]
