"""`mlops init`: a project to start from."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlops.errors import ConflictError, NotAllowedError
from mlops.resources import shipped
from mlops.settings.project import as_name

TemplateName = Literal["wine", "minimal"]

# What a run in a checkout leaves beside the files that ship.
_LEFT_BEHIND = frozenset({".mlops", "mlruns", "mlflow.db", "__pycache__"})
_FIRST_TRAINING: Mapping[TemplateName, str] = {
    "wine": "mlops train -P alpha=0.5",
    "minimal": "mlops train",
}


@dataclass(frozen=True, slots=True)
class InitRequest:
    """Where to put which project.

    Attributes:
        folder: The project's folder, created if need be.
        template: Which project.
    """

    folder: Path = Path()
    template: TemplateName = "wine"


@dataclass(frozen=True, slots=True)
class InitResult:
    """What is there now.

    Attributes:
        folder: The project's folder.
        template: Which project.
        created: Files that were written, relative to the folder.
        unchanged: Files that were there already, with the same content.
        next_commands: What to do now, ready to be copied.
    """

    folder: Path
    template: TemplateName
    created: tuple[str, ...]
    unchanged: tuple[str, ...]
    next_commands: tuple[str, ...]


def init(request: InitRequest) -> InitResult:
    """Write a project's files; never overwrite one. May be repeated.

    Raises:
        ConflictError: Files with other content are in the way; nothing was written.
        NotAllowedError: The folder cannot be written.
    """
    folder = request.folder.expanduser()
    files = _wine() if request.template == "wine" else _rendered(request.template, folder)
    there = {name for name in files if (folder / name).exists()}
    same = {name for name in there if _is(folder / name, files[name])}
    _refuse_to_overwrite(folder, sorted(there - same))
    created = [name for name in files if name not in there]
    try:
        for name in created:
            _write(folder / name, files[name])
    except (PermissionError, NotADirectoryError) as error:
        raise NotAllowedError(f"`{folder}` cannot be written: {error}") from error
    here = folder.resolve() == Path.cwd()
    step = () if here else (f"cd {folder}",)
    return InitResult(
        folder=folder.resolve(),
        template=request.template,
        created=tuple(sorted(created)),
        unchanged=tuple(sorted(same)),
        next_commands=(*step, _FIRST_TRAINING[request.template]),
    )


def _wine() -> dict[str, bytes]:
    root = shipped("wine_example")
    paths = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return {
        path.as_posix(): (root / path).read_bytes()
        for path in sorted(paths)
        if _LEFT_BEHIND.isdisjoint(path.parts)
    }


def _rendered(template: TemplateName, folder: Path) -> dict[str, bytes]:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    root = shipped("templates") / "project" / template
    # What is rendered is Python, YAML and TOML; HTML's escapes would spoil it.
    jinja = SandboxedEnvironment(
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    values = {"name": as_name(folder.resolve().name)}
    return {
        path.relative_to(root).as_posix().removesuffix(".j2"): jinja.from_string(
            path.read_text(encoding="utf-8")
        )
        .render(values)
        .encode()
        for path in sorted(root.rglob("*.j2"))
    }


def _is(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def _refuse_to_overwrite(folder: Path, names: list[str]) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConflictError(f"`{folder}` is a file.", hint="Give another folder.")
    if names:
        raise ConflictError(
            f"These files are there already: {', '.join(f'`{name}`' for name in names)}.",
            hint="Nothing was written. Give an empty folder, for example `mlops init my-project`.",
        )


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, so that a second `mlops init` is not in its own way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(part).chmod(0o644)
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
