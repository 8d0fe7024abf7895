"""What a project's script imports: learned from its runs, imported once in the warm parent.

Only modules of the standard library and of installed packages are learned. The project's own code
is read again by every run, as it may have changed.
"""

from __future__ import annotations

import importlib
import json
import os
import site
import sys
import sysconfig
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from mlops.forking.threads import native_threads, python_threads
from mlops.training.warm.script import OURS


@dataclass(slots=True)
class Learned:
    """What is known about one entry point's imports, in a file.

    Attributes:
        file: Where it is kept.
        modules: In the order in which they were imported.
        refused: Packages whose import starts a thread, which a fork would lose.
    """

    file: Path
    modules: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, file: Path) -> Learned:
        """Read it; a file that is missing or damaged means that nothing is known."""
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            return cls(file, list(content["modules"]), list(content["refused"]))
        except (OSError, ValueError, KeyError, TypeError):
            return cls(file)

    def write(self) -> None:
        """Write it atomically or not at all; no run fails without it."""
        part = self.file.with_suffix(f".{os.getpid()}")
        content = {"modules": self.modules, "refused": self.refused}
        with suppress(OSError):
            part.write_text(json.dumps(content), encoding="utf-8")
            part.replace(self.file)

    def learn(self, known: Collection[str], project: Path) -> None:
        """Add what was imported since `known`, and write it if that is news."""
        places = _places()
        fresh = [
            name
            for name, module in list(sys.modules.items())
            if name not in known and _is_installed(name, module, places, project)
        ]
        now = Learned.read(self.file)
        news = [name for name in fresh if name not in set(now.modules)]
        if news:
            self.modules, self.refused = now.modules + news, now.refused
            self.write()


def preload(learned: Learned) -> str:
    """Import what was learned.

    Returns:
        The package that started a thread and is refused from now on; empty if none did. The
        caller cannot fork after that and has to start over.
    """
    threads = native_threads()
    for name in learned.modules:
        package = name.partition(".")[0]
        if name in sys.modules or package in learned.refused:
            continue
        # What fails now fails again in the run, with its traceback where it belongs.
        with suppress(Exception):
            importlib.import_module(name)
        if python_threads() or native_threads() > threads:
            learned.refused.append(package)
            learned.write()
            return package
    return ""


def shadowed(folder: Path, modules: Iterable[str]) -> str:
    """Return the file in a script's folder that hides an imported module, if there is one.

    A script would import the file; a fork of a process that has the module would not.
    """
    tops = {name.partition(".")[0] for name in modules}.difference(OURS, ["__main__"])
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            name = path.name.partition(".")[0]
            importable = path.suffix in (".py", ".pyc", ".so") or (
                path.is_dir() and any(path.glob("*.py"))
            )
            if importable and name in tops:
                return path.name
    return ""


def _places() -> tuple[str, ...]:
    """Folders of installed modules."""
    paths = sysconfig.get_paths()
    found = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    return tuple(f"{os.path.realpath(p)}{os.sep}" for p in found | set(site.getsitepackages()))


def _is_installed(
    name: str, module: ModuleType | None, places: tuple[str, ...], project: Path
) -> bool:
    spec = getattr(module, "__spec__", None)
    if spec is None or spec.name != name or name.partition(".")[0] in ("mlops", "__main__"):
        return False
    if spec.origin in ("built-in", "frozen"):
        return True
    if not isinstance(spec.origin, str):
        return False
    origin = os.path.realpath(spec.origin)
    inside = [place for place in places if origin.startswith(place)]
    # A project may hold its own environment, and `site-packages` may even be the project.
    return any(not str(project).startswith(place) for place in inside)
