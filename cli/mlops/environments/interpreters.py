"""Python interpreters that are installed here, for an environment that asks for a version.

Looked for in this order: the interpreter of this command, the path, pyenv, uv. Nothing is
downloaded or compiled.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from mlops.errors import InvalidInputError

#: The oldest minor version that `uv python install` offers.
_OLDEST_OF_UV = (3, 8)


def find_python(
    wanted: str,
    file: Path,
    note: Callable[[str], None],
    otherwise: str = "use `--env-manager local`",
) -> str:
    """Return an interpreter for the version that an environment file asks for.

    A patch release that is not here is replaced by another of the same minor version, with a note:
    `python_env.yaml` as MLflow writes it pins the patch release of the machine it was written on.

    Args:
        wanted: A version (`3.11`, `3.11.4`), or conditions (`>=3.9,<3.12`).
        file: The file that asks, for the words.
        note: Told when another patch release is taken.
        otherwise: What else to do where there is none, for the words.

    Raises:
        InvalidInputError: There is none; the versions that are here are named.
    """
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    text = wanted.strip()
    pinned = text.lstrip("=").removesuffix(".*")
    exact = not text.startswith((">", "<", "!", "~"))
    try:
        conditions = SpecifierSet(f"=={pinned}.*" if exact else text)
    except InvalidSpecifier as error:
        raise InvalidInputError(
            f"`{file}` asks for Python `{wanted}`, which is not a version.",
            hint="Write it as `3.11` or `>=3.10`.",
        ) from error
    found = installed()
    for version, python in found.items():
        if version == pinned or conditions.contains(version):
            return python
    minor = ".".join(pinned.split(".")[:2])
    for version, python in found.items():
        if exact and version.startswith(f"{minor}."):
            note(f"`{file.name}` asks for Python {pinned}; {version} is here and is used")
            return python
    raise _none(wanted, pinned if exact else "", file, list(found), otherwise)


def installed() -> dict[str, str]:
    """Return full versions and interpreters; of one version the first found."""
    found: dict[str, str] = {}
    for python in _candidates():
        version = _version(python)
        if version:
            found.setdefault(version, python)
    return found


def _candidates() -> Iterator[str]:
    yield sys.executable
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        # pyenv's shims are scripts that fail unless that version was selected.
        if folder and Path(folder).name != "shims":
            yield from _in_folder(Path(folder))
    homes = [Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser() / "versions", _of_uv()]
    for home in homes:
        for place in sorted(home.glob("*/bin"), reverse=True):
            yield str(place / "python3")


def _in_folder(folder: Path) -> Iterator[str]:
    for name in ("python3", *(f"python3.{minor}" for minor in range(16, 5, -1))):
        if os.access(folder / name, os.X_OK):
            yield str(folder / name)


def _of_uv() -> Path:
    """Return the folder in which uv keeps the interpreters that it installed."""
    if own := os.environ.get("UV_PYTHON_INSTALL_DIR"):
        return Path(own)
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "uv" / "python"


@cache
def _version(python: str) -> str:
    """Return the full version of an interpreter, or nothing if it does not run."""
    if python == sys.executable:
        return ".".join(map(str, sys.version_info[:3]))
    look = "import platform; print(platform.python_version())"
    try:
        said = subprocess.run(
            [python, "-I", "-c", look], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return said.stdout.strip() if said.returncode == 0 else ""


def _none(
    wanted: str, exact: str, file: Path, found: list[str], otherwise: str
) -> InvalidInputError:
    parts = [int(part) for part in exact.split(".")[:2] if part.isdigit()]
    ways = [f"Ask for another in `{file.name}`", otherwise]
    if len(parts) == 1 or tuple(parts) >= _OLDEST_OF_UV:
        short = ".".join(map(str, parts))
        ways.insert(0, f"Install it (`uv python install {short}`)")
    elif parts and shutil.which("pyenv"):
        ways.insert(0, f"Install it (`pyenv install {exact}`; uv has none that old)")
    *first, last = ways
    minors = {tuple(int(part) for part in version.split(".")[:2]) for version in found}
    here = ", ".join(f"{major}.{minor}" for major, minor in sorted(minors))
    return InvalidInputError(
        f"`{file}` asks for Python {wanted}, which is not installed here. None is downloaded or "
        f"compiled; installed: {here}.",
        hint=f"{', '.join(first)}, or {last}.",
    )
