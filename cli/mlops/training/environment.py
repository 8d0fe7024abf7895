"""A project's environment file, compared with what is installed here.

With the environment manager `local` nothing is installed, so differences are noted instead. The
file is python_env.yaml or conda.yaml; only names and version conditions are compared, as in PEP 440
and PEP 508.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from mlops.errors import InvalidInputError
from mlops.settings.yaml_text import parse_yaml

Severity = Literal["missing", "major", "minor", "patch"]

_ORDER: tuple[Severity, ...] = ("missing", "major", "minor", "patch")


@dataclass(frozen=True, slots=True)
class Difference:
    """One package that is not what the project asks for.

    Attributes:
        name: The package, or `python`.
        wanted: The condition, for example `>=1.4,<2`; empty means any version.
        present: The installed version, empty if there is none.
        severity: How far apart: the first part of the version that differs.
    """

    name: str
    wanted: str
    present: str
    severity: Severity

    def __str__(self) -> str:
        present = f"{self.present} is installed" if self.present else "is not installed"
        return f"{self.name} {self.wanted or 'of any version'} wanted, {present} ({self.severity})"


def differences(environment_file: Path | None) -> tuple[Difference, ...]:
    """Compare an environment file with this interpreter, the worst first.

    Raises:
        InvalidInputError: The file is not YAML, or has a requirement that cannot be parsed.
    """
    if environment_file is None:
        return ()
    found = [
        difference
        for line in _wanted(environment_file)
        if (difference := _compare(line, environment_file)) is not None
    ]
    return tuple(sorted(found, key=lambda d: (_ORDER.index(d.severity), d.name)))


def _wanted(file: Path) -> Iterator[str]:
    """Yield PEP 508 requirements, `python` among them."""
    import yaml

    try:
        # All as text: an unquoted `python: 3.10` would be the number 3.1.
        content = parse_yaml(file.read_text(encoding="utf-8"), texts_only=True)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"`{file}` is not valid YAML: {error}") from error
    content = content if isinstance(content, dict) else {}
    if python := str(content.get("python") or ""):
        yield f"python=={python}.*" if python[0].isdigit() else f"python{python}"
    for item in content.get("dependencies") or []:
        if isinstance(item, dict):
            yield from _from_pip(item.get("pip") or [], file)
        elif "channels" in content or "conda" in file.name:
            yield from _from_conda(str(item))
        else:
            yield from _from_pip([item], file)


def _from_pip(items: list[Any], file: Path) -> Iterator[str]:
    for item in items:
        text = str(item).partition(" #")[0].strip()
        if text.startswith(("-r ", "--requirement ")):
            other = file.parent / text.split(maxsplit=1)[1]
            if other.is_file():
                yield from _from_pip(other.read_text(encoding="utf-8").splitlines(), other)
        elif text and not text.startswith(("-", "#", ".", "/")) and "://" not in text:
            yield text


def _from_conda(text: str) -> Iterator[str]:
    """Yield a conda match specification in pip's words, if the package is a Python one.

    `numpy=1.26` means any 1.26; `numpy=1.26.4=py311_0` names a build as well.
    """
    match = re.fullmatch(r"(?:\S+::)?([A-Za-z0-9._-]+)\s*(.*)", text.strip())
    if match is None or not (match[1] == "python" or _version_of(match[1])):
        return
    name, condition = match.groups()
    if re.match(r"=[^=]", condition):
        condition = f"=={condition[1:].partition('=')[0].removesuffix('.*')}.*"
    yield name + condition


def _compare(line: str, file: Path) -> Difference | None:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(line)
    except InvalidRequirement as error:
        raise InvalidInputError(
            f"`{file}` wants `{line}`, which is not a requirement: {error}",
            hint="Write it as pip takes it, for example `pandas>=2.1,<3`.",
        ) from error
    if requirement.marker is not None and not requirement.marker.evaluate():
        return None
    wanted, present = str(requirement.specifier), _version_of(requirement.name)
    if not present:
        return Difference(requirement.name, wanted, "", "missing")
    if requirement.specifier.contains(present, prereleases=True):
        return None
    broken = [s for s in requirement.specifier if not s.contains(present, prereleases=True)]
    severity = min((_distance(s.operator, s.version, present) for s in broken), key=_ORDER.index)
    return Difference(requirement.name, wanted, present, severity)


def _version_of(name: str) -> str:
    if name == "python":
        return platform.python_version()
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _distance(operator: str, wanted: str, present: str) -> Severity:
    """Return the first part of the version that differs.

    An excluded bound is one step away from what was wanted: `<6` says "any 5", so 6.0 differs in
    its first part and `<6.1` and 6.1 in their second.
    """
    from packaging.version import Version

    one, other = Version(wanted.removesuffix(".*")), Version(present)
    parts = [one.major == other.major, one.minor == other.minor]
    if operator == "<" and all(parts):
        parts = [bool(one.minor or one.micro), bool(one.micro)]
    if not parts[0]:
        return "major"
    return "patch" if parts[1] else "minor"
