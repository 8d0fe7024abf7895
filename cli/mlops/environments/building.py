"""Make an environment once, from a Python that is installed, and find it again."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops.environments.interpreters import find_python
from mlops.environments.references import local_packages
from mlops.errors import InvalidInputError, MlopsError

_LAST_LINES = 15


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an environment is made of; it is made once for each.

    Attributes:
        manager: `uv` or `virtualenv`.
        python: Version, or conditions on it; empty for that of this command.
        requirements: As in a requirements file; files that they name are absolute.
        file: The file that says so, for the words; relative paths start in its folder.
        contents: Of what the requirements name on this machine.
        otherwise: What else to do if it cannot be made.
    """

    manager: str
    python: str
    requirements: Sequence[str]
    file: Path
    contents: Sequence[bytes] = ()
    otherwise: str = "use `--env-manager local`"

    @property
    def wanted(self) -> str:
        """The Python that it asks for."""
        return self.python or f"{sys.version_info.major}.{sys.version_info.minor}"

    @property
    def folder(self) -> str:
        """Name of its folder."""
        # Two models with the same requirements may be in two folders.
        base = f"{self.file.parent.resolve()}/"
        requirements = [
            each.replace(base, "") if each.startswith(("-r", "-c", "--r", "--c")) else each
            for each in self.requirements
        ]
        parts = (self.manager, self.wanted, requirements, list(self.contents))
        return f"{self.manager}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"


def find(recipe: Recipe, home: Path) -> Path | None:
    """Return the interpreter of an environment that was made before; None if it was not."""
    folder = home / "environments" / recipe.folder
    return folder / "bin" / "python" if (folder / ".complete").is_file() else None


def build(recipe: Recipe, home: Path, note: Callable[[str], None]) -> Path:
    """Return the interpreter of an environment, made if it does not exist yet.

    Once made, it needs no network. Two commands that want the same take turns.

    Args:
        recipe: What it is made of.
        home: Folder of the project's state.
        note: Called when making it takes a while, and if another Python is used than asked for.

    Raises:
        InvalidInputError: There is no such Python here, or no `uv`.
        MlopsError: The packages could not be installed.
    """
    folder = home / "environments" / recipe.folder
    made = find(recipe, home)
    if made is not None:
        return made
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _turn(folder.parent):
        if find(recipe, home) is None:
            interpreter = find_python(recipe.wanted, recipe.file, note, recipe.otherwise)
            name = recipe.file.name
            note(f"making the environment of `{name}` with {recipe.manager}; this is done once")
            shutil.rmtree(folder, ignore_errors=True)
            make = _make_with_uv if recipe.manager == "uv" else _make_with_venv
            make(folder, interpreter, recipe)
            (folder / ".complete").touch()
    return folder / "bin" / "python"


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Wait until no other command makes an environment in a folder."""
    lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _make_with_uv(folder: Path, python: str, recipe: Recipe) -> None:
    uv = shutil.which("uv")
    if uv is None:
        raise InvalidInputError(
            "`--env-manager uv` needs `uv`, which is not on the path.",
            hint="`pip install uv`, or `--env-manager local` to use what is installed here.",
        )
    _call([uv, "venv", "--quiet", "--no-python-downloads", "--python", python, str(folder)], recipe)
    target = str(folder / "bin" / "python")
    # uv takes a package in a folder from its cache while the file that says how it is built is
    # unchanged, whatever its code is.
    names = local_packages(recipe.requirements, recipe.file.parent)
    fresh = ["--refresh"] if "" in names else [f"--refresh-package={name}" for name in names]
    _install([uv, "pip", "install", "--quiet", "--python", target, *fresh], folder, recipe)


def _make_with_venv(folder: Path, python: str, recipe: Recipe) -> None:
    _call([python, "-m", "venv", str(folder)], recipe)
    target = str(folder / "bin" / "python")
    _install([target, "-m", "pip", "install", "--quiet"], folder, recipe)


def _install(installer: Sequence[str], folder: Path, recipe: Recipe) -> None:
    if not recipe.requirements:
        return
    listed = folder / "requirements.txt"
    listed.write_text("\n".join(recipe.requirements) + "\n", encoding="utf-8")
    # `-r other.txt` in the list is meant from the project's folder.
    _call([*installer, "-r", str(listed)], recipe)


def _call(words: Sequence[str], recipe: Recipe) -> None:
    done = subprocess.run(
        words,
        cwd=recipe.file.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        text = re.sub(r"://[^/@\s]+@", "://", done.stdout)
        last = "\n".join(f"  | {line}" for line in text.splitlines()[-_LAST_LINES:])
        raise MlopsError(
            f"The environment of `{recipe.file}` could not be made.\n{last}",
            hint=f"Fix that file, or {recipe.otherwise}.",
        )
