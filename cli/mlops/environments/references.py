"""What requirements name on this machine: further lists of them, packages, archives.

An environment is made again when one of these changes, so their contents belong to its identity.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import re
import shlex
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote

# An option that names another list, or constraints; the second group begins with the file.
_LIST = re.compile(r"(-r|--requirement|-c|--constraint)(?:\s*=\s*|\s*)(\S.*)")
_EDITABLE = re.compile(r"(-e|--editable)(?:\s*=\s*|\s*)(\S.*)")
_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tar.bz2", ".tar.xz", ".tgz")
# Of a larger list or archive, a digest.
_WHOLE_BYTES = 10 << 20
# What is beyond these bounds of a folder counts by size and time of change.
_FOLDER_BYTES = 256 << 20
_FOLDER_FILES = 50_000
# More lists are not looked at.
_LISTS = 200
_BLOCK = 1 << 20
# Not part of a package; `build`, `dist` and `*.egg-info` are what building one leaves in it.
_LEFT_OUT = frozenset({"__pycache__", "node_modules", "mlruns"})
_BUILT = frozenset({"build", "dist"})
_COMPILED = frozenset({".pyc", ".pyo"})
# What decides how a package is built, its own code aside.
_BUILDING = ("pyproject.toml", "setup.py", "setup.cfg")
_CODE = frozenset(
    {".py", ".pyi", ".pyx", ".pxd", ".c", ".cc", ".cpp", ".h", ".hpp", ".rs", ".toml", ".cfg"}
)


@dataclass(frozen=True, slots=True)
class _Reference:
    """Something on this machine that a requirement names; a package is a folder or an archive."""

    kind: Literal["list", "package", "editable"]
    path: Path


def referenced(requirements: Sequence[str], folder: Path) -> list[bytes]:
    """Return the contents of all that requirements name on this machine, to any depth.

    Of a large file and of a package's folder, a digest. The code of an editable package is used
    where it is, so that only how it is built counts.

    Args:
        requirements: As in a requirements file.
        folder: Where relative paths start.
    """
    return [_content(reference, folder) for reference in _follow(requirements, folder)]


def within(requirements: Sequence[str], folder: Path) -> dict[Path, bytes]:
    """Return the contents of those that are in a folder, by their path in it."""
    root = folder.resolve()
    return {
        reference.path.relative_to(root): _content(reference, folder)
        for reference in _follow(requirements, folder)
        if reference.path.is_relative_to(root)
    }


def absent(requirements: Sequence[str], folder: Path) -> list[str]:
    """Return what requirements name on this machine, to any depth, and is not there.

    Lines with a condition or a variable are passed over, as they may not hold here.
    """
    missing: list[str] = []
    for _ in _follow(requirements, folder, missing.append):
        pass
    return missing


def local_packages(requirements: Sequence[str], folder: Path) -> list[str]:
    """Return the names of packages in folders of this machine; an empty one that is not known."""
    packages = [each.path for each in _follow(requirements, folder) if each.kind == "package"]
    return list(dict.fromkeys(_name_of(path) for path in packages if path.is_dir()))


def absolute(requirement: str, folder: Path) -> str:
    """Return a requirement whose file, if an option names one, is absolute."""
    if named := _named_by(_LIST, requirement):
        option, text = named
        path = text if "://" in text else str((folder / text).resolve())
        return f"{option} {shlex.quote(path)}"
    if named := _named_by(_EDITABLE, requirement):
        option, text = named
        if "://" in text:
            return requirement
        path = str((folder / text).resolve())
        # Of a path with spaces, pip wants quotes and uv wants none; both take it as a URL.
        return f"{option} {path if shlex.quote(path) == path else f'file://{quote(path)}'}"
    return requirement


def _named_by(option: re.Pattern[str], line: str) -> tuple[str, str] | None:
    """Return an option and what it names, as pip reads it; None for a line without that option."""
    match = option.match(line.strip())
    if match is None:
        return None
    try:
        return match[1], shlex.split(match[2])[0]
    except ValueError:
        # A quote that does not end; pip refuses it.
        return match[1], match[2]


def _follow(
    requirements: Iterable[str], folder: Path, miss: Callable[[str], None] = lambda _: None
) -> Iterator[_Reference]:
    seen: set[Path] = set()

    def follow(lines: Iterable[str], own: Path) -> Iterator[_Reference]:
        for line in lines:
            if named := _named_by(_LIST, line):
                path = _existing(own / named[1])
                if path is None and "://" not in named[1] and "${" not in line:
                    miss(named[1])
                if path is None or path in seen or not path.is_file() or len(seen) >= _LISTS:
                    continue
                seen.add(path)
                yield _Reference("list", path)
                yield from follow(_lines(path), path.parent)
            else:
                yield from _packages(line, (own, folder), miss)

    yield from follow(requirements, folder)


def _packages(
    line: str, folders: Sequence[Path], miss: Callable[[str], None]
) -> Iterator[_Reference]:
    """Yield the package that a requirement names by its path.

    pip and uv take a path in a list from where they were started; other tools from the list.
    """
    editable = _named_by(_EDITABLE, line)
    text = editable[1] if editable else line.strip()
    named = re.match(r"[\w.-]+\s*(?:\[[^]]*])?\s*@\s*(\S.*)", text)
    text = named[1] if named else text
    text = re.split(r"\s--|\s*;|#", text, maxsplit=1)[0].strip()
    text = re.sub(r"\[[^]]*]$", "", text)
    if text.startswith("file:"):
        text = unquote(re.sub(r"file:(//(localhost)?(?=/))?", "", text, count=1))
    elif not editable and not _is_path(text):
        return
    if "://" in text or not text:
        return
    paths = [path for folder in folders if (path := _existing(folder / text)) is not None]
    if not (paths or ";" in line or "${" in line or text.startswith("-")):
        miss(text)
    for path in dict.fromkeys(paths):
        yield _Reference("editable" if editable else "package", path)


def _existing(path: Path) -> Path | None:
    """Return a path without links; None where there is none, or could be none of this name."""
    try:
        return path.resolve(strict=True)
    except (OSError, ValueError):
        return None


def _is_path(text: str) -> bool:
    return "/" in text or text.startswith(".") or text.endswith(_ARCHIVES)


def _lines(path: Path) -> list[str]:
    """Return the requirements of a list, without comments."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace") if _is_small(path) else ""
    except OSError:
        return []
    lines = text.replace("\\\n", " ").splitlines()
    bare = (re.sub(r"(^|\s+)#.*", "", line).strip() for line in lines)
    return [line for line in bare if line]


def _content(reference: _Reference, folder: Path) -> bytes:
    path = reference.path
    if path.is_dir():
        return _digest(reference, folder)
    try:
        return path.read_bytes() if _is_small(path) else _sha256(path)
    except OSError:
        # What installs it says so.
        return b""


def _is_small(path: Path) -> bool:
    return path.stat().st_size <= _WHOLE_BYTES


def _digest(reference: _Reference, folder: Path) -> bytes:
    """Return a digest of the files of a package."""
    package = reference.path
    # The project itself may keep data and results beside its code.
    suffixes = _CODE if folder.resolve().is_relative_to(package) else None
    digest, left = hashlib.sha256(), _FOLDER_BYTES
    paths = (package / name for name in _BUILDING)
    files = paths if reference.kind == "editable" else _files(package, suffixes)
    for index, path in enumerate(files):
        try:
            state = path.stat()
            whole = index < _FOLDER_FILES and state.st_size <= left
            text = _sha256(path).hex() if whole else f"{state.st_size} {state.st_mtime_ns}"
        except OSError:
            continue
        left -= state.st_size if whole else 0
        digest.update(f"{path.relative_to(package)}\0{text}\n".encode(errors="surrogateescape"))
    return digest.digest()


def _files(package: Path, suffixes: frozenset[str] | None) -> Iterator[Path]:
    """Yield the files of a package in order; None for those of any suffix."""
    for place, folders, names in os.walk(package):
        at = Path(place)
        folders[:] = sorted(name for name in folders if not _is_left_out(at, name, package))
        for name in sorted(names):
            path = at / name
            counts = path.suffix not in _COMPILED if suffixes is None else path.suffix in suffixes
            # Hidden files are of editors and tools.
            if counts and not name.startswith(".") and path.is_file():
                yield path


def _is_left_out(at: Path, name: str, package: Path) -> bool:
    return (
        name.startswith(".")
        or name in _LEFT_OUT
        or name.endswith(".egg-info")
        or (name in _BUILT and at == package)
        # An environment.
        or (at / name / "pyvenv.cfg").exists()
    )


def _sha256(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.digest()


def _name_of(package: Path) -> str:
    """Return the name that a package's files say; empty where only running its code would."""
    try:
        document = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))
        return str(document["project"]["name"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    config = configparser.ConfigParser(interpolation=None)
    try:
        config.read(package / "setup.cfg", encoding="utf-8")
        return config.get("metadata", "name", fallback="")
    except (configparser.Error, ValueError):
        return ""
