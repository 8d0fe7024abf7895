"""`mlops init`: a project to start from."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlops.environments.files import packages_of
from mlops.errors import ConflictError, NotAllowedError
from mlops.registry.thresholds import Better
from mlops.resources import shipped
from mlops.settings import load_settings
from mlops.settings.project import as_name
from mlops.training.install_source import Source, default_branch, install_source
from mlops.training.project import read_project
from mlops.training.workflow_files import Ci, Workflow, has_project, python_for, workflow_file
from mlops.workflows.gate_metric import Ask, gate_limit

TemplateName = Literal["wine", "minimal"]

# What a run in a checkout leaves beside the files that ship.
_LEFT_BEHIND = frozenset({".mlops", "mlruns", "mlflow.db", "__pycache__"})
_FIRST_VALUES: Mapping[TemplateName, Mapping[str, str]] = {
    "wine": {"alpha": "0.5"},
    "minimal": {},
}
_METRICS = {"wine": "rmse", "minimal": "rmse"}
_DATA = {"wine": "data/customers.csv"}


@dataclass(frozen=True, slots=True)
class InitRequest:
    """Where to put which project.

    Attributes:
        folder: The project's folder, created if need be.
        template: Which project; None means wine, or none at all where `ci` is wanted for a
            project that is there already.
        ci: Which service to write a workflow for; None means no workflow.
        metric: The metric by which its candidates are judged; empty to find or ask.
        better: Which way that is better; None where it is known.
        source: What the workflow installs mlops from; empty to see where it was installed from.
        ask: Asks the user what is not known; None if not interactive.
    """

    folder: Path = Path()
    template: TemplateName | None = None
    ci: Ci | None = None
    metric: str = ""
    better: Better | None = None
    source: str = ""
    ask: Ask | None = None


@dataclass(frozen=True, slots=True)
class InitResult:
    """What is there now.

    Attributes:
        folder: The project's folder.
        template: Which project, None if there was one already.
        created: Files that were written, relative to the folder.
        unchanged: Files that were there already, with the same content.
        next_commands: What to do now, ready to be copied.
        notes: What the user should know or do.
    """

    folder: Path
    template: TemplateName | None
    created: tuple[str, ...]
    unchanged: tuple[str, ...]
    next_commands: tuple[str, ...]
    notes: tuple[str, ...] = ()


def init(request: InitRequest) -> InitResult:
    """Write a project's files; never overwrite one. May be repeated.

    Raises:
        ConflictError: Files with other content are in the way; nothing was written.
        InvalidInputError: The MLproject that is there is wrong.
        NotAllowedError: The folder cannot be written.
    """
    folder = request.folder.expanduser()
    own = request.template is None and request.ci is not None and has_project(folder)
    template = None if own else request.template or "wine"
    files = _files(template, folder)
    next_commands, notes = _next(template), list[str]()
    if request.ci is not None:
        more, notes = _workflow(request, request.ci, template, folder)
        files |= more
        next_commands = [f"git add {name}" for name in more] if template is None else next_commands
    there = {name for name in files if (folder / name).exists()}
    same = {name for name in there if _is(folder / name, files[name])}
    _refuse_to_overwrite(folder, sorted(there - same))
    created = [name for name in files if name not in there]
    try:
        for name in created:
            _write(folder / name, files[name])
    except (PermissionError, NotADirectoryError) as error:
        raise NotAllowedError(f"`{folder}` cannot be written: {error.strerror}.") from error
    here = folder.resolve() == Path.cwd()
    step = () if here else (f"cd {folder}",)
    return InitResult(
        folder=folder.resolve(),
        template=template,
        created=tuple(sorted(created)),
        unchanged=tuple(sorted(same)),
        next_commands=(*step, *next_commands),
        notes=tuple(notes),
    )


def _files(template: TemplateName | None, folder: Path) -> dict[str, bytes]:
    if template is None:
        return {}
    return _wine() if template == "wine" else _rendered(template, folder)


def _workflow(
    request: InitRequest, ci: Ci, template: TemplateName | None, folder: Path
) -> tuple[dict[str, bytes], list[str]]:
    """Return a workflow with what it needs, and what the user should know."""
    source = Source(request.source) if request.source else install_source()
    name, parameters, python, file = _project(template, folder)
    metric = request.metric or _METRICS.get(template or "", "")
    version, note = python_for(python)
    settings = load_settings(folder) if template is None else None
    workflow = Workflow(
        model=name,
        parameters=parameters,
        limit=gate_limit(folder, metric, request.better, request.ask),
        source=source.requirement,
        branch=default_branch(folder if folder.is_dir() else folder.parent),
        python=version,
        environment_file=file,
        data=settings.feedback.data if settings else _DATA.get(template or "", ""),
    )
    files = {**workflow_file(ci, workflow), **source.files}
    return files, [each for each in (source.note, note) if each]


def _project(
    template: TemplateName | None, folder: Path
) -> tuple[str, Mapping[str, str], str, str]:
    """Return a project's name, values without default, Python, and file with its packages."""
    if template is not None:
        name = "wine" if template == "wine" else as_name(folder.resolve().name)
        return name, _FIRST_VALUES[template], "", "python_env.yaml"
    project = read_project(folder)
    declared = project.entry_point("main").parameters
    needed = {name: "CHANGE-ME" for name, each in declared.items() if each.default is None}
    file = project.environment_file
    relative = file.relative_to(project.folder).as_posix() if file else ""
    return project.name, needed, packages_of(file)[0] if file else "", relative


def _next(template: TemplateName | None) -> list[str]:
    if template is None:
        return []
    values = _FIRST_VALUES[template].items()
    return [" ".join(["mlops train", *(f"-P {name}={value}" for name, value in values)])]


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
    # What is rendered is Python, YAML and TOML; HTML's escapes would corrupt it.
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
    """Write a file atomically, so that a second `mlops init` does not conflict with the first."""
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
