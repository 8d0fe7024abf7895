"""Inferred requirements, remembered.

When a script logs a model without `pip_requirements`, MLflow loads it in a fresh interpreter to see
what that imports, which takes longer than everything else a small run does. The answer depends on
the installed packages, on the packages that the process has imported, and on which of their modules
the stored model names; while those are the same, it is the same. So it is remembered under a digest
of them. A model that may hold code of the project's own (a pickle) adds the digest of that code.

MLflow's own function gives every answer that is not remembered, and all of them if a release of
MLflow no longer has the function that is patched here (`missing_hook`).
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import re
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlops.training.warm.script import OURS

_FORMAT = 1
#: A model that is larger is scanned in no less time than MLflow takes.
_LARGEST = 32 * 2**20
#: Formats that hold numbers and names, and never code.
_NO_CODE = (".skops", ".json", ".ubj", ".xgb", ".lgb", ".txt", ".cbm", ".onnx", ".yaml")
#: Files beside the model that its loading does not read, or whose bytes differ with every run.
_BESIDE = ("MLmodel", "input_example", "serving_input", "requirements.txt", "conda.yaml")
_WORDS = re.compile(rb"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_PARAMETERS = ("model_uri", "flavor", "raise_on_error", "extra_env_vars")

Infer = Callable[..., list[str]]


def missing_hook() -> str:
    """Return why this MLflow's inference cannot be replaced; empty if it can."""
    from mlflow.utils import environment, requirements_utils

    infer: Any = getattr(environment, "_infer_requirements", None)
    code: Any = getattr(getattr(environment, "infer_pip_requirements", None), "__code__", None)
    if infer is None or infer is not requirements_utils.__dict__.get("_infer_requirements"):
        return "MLflow infers requirements elsewhere now"
    if infer.__code__.co_varnames[: infer.__code__.co_argcount] != _PARAMETERS:
        return "MLflow infers requirements from something else now"
    if code is None or "_infer_requirements" not in code.co_names:
        return "`mlflow.models.infer_pip_requirements` works differently now"
    if "_MODULES_TO_PACKAGES" not in requirements_utils.__dict__:
        return "MLflow keeps its table of installed packages elsewhere now"
    return ""


def install(place: Path, project: Path) -> str:
    """Have MLflow's inference in this process and its forks read the cache first.

    Args:
        place: Folder of what is remembered.
        project: The project, whose own modules are code and not packages.

    Returns:
        Why that is impossible with this MLflow; empty if it was done.
    """
    reason = missing_hook()
    if reason:
        return f"requirements are inferred again for every model: {reason}"
    from mlflow.utils import environment

    infer: Infer = environment._infer_requirements
    # Thousands of modules are checked here once, and not again in every fork.
    before = Imported(project)
    _installed()

    def remembered(
        model_uri: str,
        flavor: str,
        raise_on_error: bool = False,
        extra_env_vars: dict[str, str] | None = None,
    ) -> list[str]:
        def anew() -> list[str]:
            return infer(model_uri, flavor, raise_on_error, extra_env_vars)

        with suppress(OSError, ValueError, zipfile.BadZipFile):
            found = digest(Path(model_uri), flavor, extra_env_vars, project, before)
            return _remembered(place / f"{found}.json", anew)
        return anew()

    environment._infer_requirements = remembered
    return ""


class InstalledPackages:
    """MLflow's table of installed packages by module, which takes long to compile.

    Args:
        place: Folder of what is remembered.
    """

    def __init__(self, place: Path) -> None:
        import mlflow

        parts = [_FORMAT, mlflow.__version__, sys.version, sys.prefix, _installed()]
        self._file = (
            place / f"packages-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}.json"
        )
        self._known = False

    def recall(self) -> None:
        """Give MLflow the table, if it is remembered for exactly what is installed now."""
        from mlflow.utils import requirements_utils

        with suppress(OSError, ValueError):
            if requirements_utils._MODULES_TO_PACKAGES is None:
                table = json.loads(self._file.read_text(encoding="utf-8"))
                requirements_utils._MODULES_TO_PACKAGES = table
                self._known = True

    def remember(self) -> None:
        """Remember the table, if MLflow has compiled it in the meantime."""
        from mlflow.utils import requirements_utils

        table = requirements_utils._MODULES_TO_PACKAGES
        if table is not None and not self._known:
            _write(self._file, table)


class _Warned(logging.Handler):
    """Notices warnings, which a remembered answer would not repeat."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.any = False

    def emit(self, _record: logging.LogRecord) -> None:
        self.any = True


def _remembered(file: Path, anew: Callable[[], list[str]]) -> list[str]:
    with suppress(OSError, ValueError):
        answer = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(answer, list):
            return [str(item) for item in answer]
    logger, warned = logging.getLogger("mlflow.utils.requirements_utils"), _Warned()
    logger.addHandler(warned)
    try:
        answer = anew()
    finally:
        logger.removeHandler(warned)
    if not warned.any:
        _write(file, answer)
    return answer


def _write(file: Path, content: object) -> None:
    """Write a file atomically or not at all; no run fails without it."""
    with suppress(OSError):
        file.parent.mkdir(exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(content), encoding="utf-8")
        part.replace(file)


def digest(
    model: Path,
    flavor: str,
    extra: dict[str, str] | None,
    project: Path,
    before: Imported | None = None,
) -> str:
    """Return a digest of everything that the answer depends on.

    Args:
        model: Folder or file of the model.
        flavor: What logs it.
        extra: Variables that its loading needs.
        project: The project, whose own modules are code and not packages.
        before: What was imported earlier, and is not checked again.

    Raises:
        ValueError: The model cannot be looked into.
    """
    import mlflow

    files = list(_files(model))
    if not files or sum(file.stat().st_size for file in files) > _LARGEST:
        raise ValueError("not to be scanned")
    packages = (before or Imported(project)).now()
    parts = {
        "format": _FORMAT,
        "mlflow": mlflow.__version__,
        "python": sys.version,
        "prefix": sys.prefix,
        "installed": _installed(),
        "flavor": flavor,
        "extra": sorted((extra or {}).items()),
        "packages": sorted({name.partition(".")[0] for name in packages}),
        "named": sorted(_named(files, packages)),
        "description": _description(model),
        "code": "" if all(file.suffix in _NO_CODE for file in files) else _code(files, project),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _files(model: Path) -> Iterator[Path]:
    for path in [model] if model.is_file() else sorted(model.rglob("*")):
        if path.is_file() and not path.name.startswith(_BESIDE):
            yield path


class Imported:
    """Modules that are neither the standard library's, nor the project's, nor those of mlops.

    Args:
        project: The project.
    """

    def __init__(self, project: Path) -> None:
        self._beside = f"{project}{os.sep}"
        self._seen: frozenset[str] = frozenset()
        self._packages: frozenset[str] = frozenset()
        self._packages, self._seen = self.now(), frozenset(sys.modules)

    def now(self) -> frozenset[str]:
        """Return the names of those that are imported now."""
        fresh = (name for name in sys.modules.keys() - self._seen if self._counts(name))
        return (self._packages & sys.modules.keys()).union(fresh)

    def _counts(self, name: str) -> bool:
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in OURS or top.startswith("__"):
            return False
        origin = getattr(getattr(sys.modules.get(name), "__spec__", None), "origin", None)
        return not _within(origin, self._beside)


def _within(origin: object, folder: str) -> bool:
    """Whether a module's file is in the project, and not of an environment that is kept there."""
    return isinstance(origin, str) and origin.startswith(folder) and "site-packages" not in origin


def _installed() -> list[tuple[str, int]]:
    """What is installed: the names and times of its descriptions, which hold the versions."""
    found: list[tuple[str, int]] = []
    for place in sys.path:
        with suppress(OSError):
            # Whatever is installed or removed there changes the folder's own time.
            found += _described(place, Path(place).stat().st_mtime_ns)
    return sorted(found)


@functools.cache
def _described(place: str, _changed_ns: int) -> tuple[tuple[str, int], ...]:
    with os.scandir(place) as entries:
        return tuple(
            (entry.name, entry.stat().st_mtime_ns)
            for entry in entries
            if entry.name.endswith((".dist-info", ".egg-info", ".egg-link", ".pth"))
        )


def _named(files: Iterable[Path], modules: frozenset[str]) -> set[str]:
    """Which imported modules a model's files name."""
    named = set()
    for file in files:
        for content in _contents(file):
            for word in set(_WORDS.findall(content)):
                text = word.decode()
                # In a pickle the byte before a name is its length, which may look like a letter.
                named |= {text, text[1:]} & modules
    return named


def _contents(file: Path) -> Iterator[bytes]:
    if file.suffix == ".skops":
        with zipfile.ZipFile(file) as archive:
            yield archive.read("schema.json")
    else:
        yield file.read_bytes()


def _description(model: Path) -> Any:  # noqa: ANN401 - as MLflow writes it
    """What the MLmodel file says of how the model is loaded and tried."""
    import yaml

    file = (model if model.is_dir() else model.parent) / "MLmodel"
    if not file.is_file():
        return None
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    return repr([content.get("flavors"), content.get("saved_input_example_info")])


def _code(files: Iterable[Path], project: Path) -> str:
    """Digest of the code that a pickle may refer to or hold: the project's and the model's."""
    digest, beside = hashlib.sha256(), f"{project}{os.sep}"
    sources = {file for file in files if file.suffix == ".py"}
    for module in list(sys.modules.values()):
        origin = getattr(module, "__file__", None)
        if _within(origin, beside) and str(origin).endswith(".py"):
            sources.add(Path(str(origin)))
    for source in sorted(sources, key=lambda path: path.name):
        digest.update(source.read_bytes())
    return digest.hexdigest()
