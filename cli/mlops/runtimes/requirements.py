"""Trained with, serving with: the packages that differ, most dangerous first."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

Size = Literal["missing", "major", "minor", "patch"]

_SIZES: tuple[Size, ...] = ("missing", "major", "minor", "patch")
# What reads a model's format in whatever version, or is no part of it.
_HARMLESS = re.compile(r"python|mlflow(-skinny|-tracing)?|pip|setuptools|wheel", re.IGNORECASE)
# scikit-learn: "loading an estimator across versions is entirely unsupported".
_EXACT_MINOR = ("scikit-learn",)
#: Packages that MLflow lists only because another tries to import them, and that other. See
#: `sklearn/utils/_testing.py`.
TRIED_BY = {"pytest": "scikit-learn"}


@dataclass(frozen=True, slots=True)
class Difference:
    """One package that is not what a model was trained with.

    Attributes:
        name: The package, or `python`.
        trained: The version in training; empty if it is not pinned.
        serving: The version here; empty if there is none.
        size: The first part of the version that differs.
    """

    name: str
    trained: str
    serving: str
    size: Size

    def __str__(self) -> str:
        if self.size == "missing":
            return f"missing: {self.name} {self.trained} is not installed".replace("  ", " ")
        return f"{self.size}: {self.name} trained with {self.trained}, serving with {self.serving}"

    @property
    def is_conflict(self) -> bool:
        """Whether a model cannot be trusted, or loaded, with what is here.

        So it is where a package is missing or of another major version; or of another minor one
        without compatibility between those: scikit-learn, and whatever is before 1.0.
        """
        if _HARMLESS.fullmatch(self.name):
            return False
        if self.size == "minor":
            return self.name.lower() in _EXACT_MINOR or Version(self.serving).major == 0
        return self.size in ("missing", "major")


def optional(names: Iterable[str]) -> frozenset[str]:
    """Return those of a model's packages that it does not need: another tries to import them.

    >>> sorted(optional(["pytest", "scikit-learn"]))
    ['pytest']
    >>> optional(["pytest"])
    frozenset()
    """
    found = frozenset(names)
    return frozenset(name for name in found if TRIED_BY.get(name) in found)


def conflicts(found: Sequence[Difference]) -> tuple[Difference, ...]:
    """Return those differences for which a model should have an environment of its own."""
    return tuple(each for each in found if each.is_conflict)


def differences(path: Path, mlmodel: Mapping[str, Any]) -> list[Difference]:
    """Compare a model's `requirements.txt` and Python with what is installed here.

    Returns:
        Missing packages first, then major, minor and patch versions, each group in the file's
        order.
    """
    found: list[Difference] = []
    python = str(mlmodel.get("flavors", {}).get("python_function", {}).get("python_version", ""))
    if python:
        found += _compare("python", python, platform.python_version())
    file = path / "requirements.txt"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    for line in lines:
        found += _requirement(line)
    unneeded = optional(line.partition("==")[0].strip() for line in lines)
    found = [each for each in found if each.name not in unneeded]
    return sorted(found, key=lambda each: _SIZES.index(each.size))


def _requirement(line: str) -> list[Difference]:
    try:
        wanted = Requirement(line.partition("#")[0].strip())
    except InvalidRequirement:
        return []
    pinned = next((s.version for s in wanted.specifier if s.operator == "=="), "")
    if wanted.marker is not None and not wanted.marker.evaluate():
        return []
    try:
        return _compare(wanted.name, pinned, version(wanted.name)) if pinned else []
    except PackageNotFoundError:
        return [Difference(wanted.name, pinned, "", "missing")]


def _compare(name: str, trained: str, serving: str) -> list[Difference]:
    try:
        before, now = Version(trained), Version(serving)
    except InvalidVersion:
        return []
    if before == now:
        return []
    if before.major != now.major:
        return [Difference(name, trained, serving, "major")]
    return [Difference(name, trained, serving, "minor" if before.minor != now.minor else "patch")]
