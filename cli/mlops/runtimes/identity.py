"""Everything that the choice of a runtime depends on, as one name."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import mlops

_OURS = Path(mlops.__file__).parent
_DISTRIBUTIONS = (".dist-info", ".egg-info")
_CHUNK = 1 << 20


def identity_of(model: Path, wanted: str) -> str:
    """Return a name that is the same wherever a choice would be.

    Args:
        model: Folder of a model that is loaded, so that the modules it uses are too.
        wanted: The runtime that was asked for.
    """
    digest = hashlib.sha256()
    parts = (
        [mlops.__version__, wanted, sys.version, *_processor()],
        _files(_OURS / "runtimes", "*.py"),
        _installed(),
        _own_modules(model),
        _files(model, "*"),
    )
    for part in parts:
        digest.update(repr(list(part)).encode())
    return digest.hexdigest()[:40]


def _processor() -> list[str]:
    """Describe the processor: another one may round otherwise."""
    found = [platform.machine()]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return found
    for name in ("model name", "flags", "Features"):
        found += next(([line] for line in lines if line.startswith(name)), [])
    return found


def _installed() -> list[str]:
    """Return name and version of all that is installed, as their folders say it."""
    found: set[str] = set()
    for folder in sys.path:
        if Path(folder).is_dir():
            found.update(e.name for e in Path(folder).iterdir() if e.name.endswith(_DISTRIBUTIONS))
    return sorted(found)


def _own_modules(model: Path) -> Iterator[tuple[str, str]]:
    """Yield the modules that no package installed: a project's own, which change without notice."""
    known = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    elsewhere = tuple(f"{each}{os.sep}" for each in (*known, _OURS, model.resolve()))
    for name, module in sorted(sys.modules.copy().items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or "-packages" in file or file.startswith(elsewhere):
            continue
        if Path(file).is_file():
            yield name, _sha256(Path(file))


def _files(folder: Path, pattern: str) -> Iterator[tuple[str, str]]:
    """Yield the files of a folder and what they hold; but for compiled code, which Python keeps."""
    for path in sorted(folder.rglob(pattern)):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(folder).as_posix(), _sha256(path)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
