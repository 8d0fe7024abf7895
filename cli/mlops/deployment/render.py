"""`mlops deploy` for a cluster without `--apply`: manifests in a folder, or on standard output.

Nothing here touches a cluster or the ledger. A folder is written only after everything has been
checked, and only over files that an earlier rendering wrote.
"""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlops.deployment.request import DeployRequest, make_spec
from mlops.deployment.targets import TARGETS, Rendered, RenderOptions
from mlops.errors import (
    ConflictError,
    InvalidInputError,
    NotAllowedError,
    RemoteError,
    UsageError,
    did_you_mean,
    one_of,
)
from mlops.registry.details import Details, read_details
from mlops.settings import Settings
from mlops.spec.deployment import DeploymentSpec

#: The target that is this machine, which renders nothing.
LOCAL = "local"
#: In place of a folder: standard output.
STDOUT = "-"

_MARK = "# Rendered by `mlops deploy"

Change = Literal["create", "update", "same"]


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """One manifest.

    Attributes:
        path: Where it is, or would be; only its name if it is not written anywhere.
        text: Its content.
        change: Whether it is new, or differs from what was rendered there before.
    """

    path: str
    text: str
    change: Change


@dataclass(frozen=True, slots=True)
class Rendering:
    """What was rendered.

    Attributes:
        name: Name of the deployment.
        target: For which platform.
        files: The manifests, in the order in which they are to be applied.
        notes: What the reader should know about them.
        written: Whether they are in a folder now.
        next_commands: How to apply them; empty for a dry run.
    """

    name: str
    target: str
    files: tuple[RenderedFile, ...]
    notes: tuple[str, ...]
    written: bool
    next_commands: tuple[str, ...]

    @property
    def stream(self) -> str:
        """All manifests as one YAML stream."""
        return "---\n".join(file.text for file in self.files)


def renders(target: str, to: str | None, only_local: Mapping[str, object]) -> bool:
    """Whether a target is one that renders; False for this machine.

    Args:
        target: Name of the target.
        to: Folder or `-`, None if not given.
        only_local: Options that only this machine understands, with what was given; a false value
            was not.

    Raises:
        UsageError: There is no such target, or an option does not go with it.
    """
    if target == LOCAL:
        if to is not None:
            raise UsageError(
                "`--render` writes manifests, and `--target local` has none.",
                hint=f"Add `--target {'|'.join(TARGETS)}`.",
            )
        return False
    if target not in TARGETS:
        known = (LOCAL, *TARGETS)
        raise UsageError(
            f"There is no target called `{target}`.",
            hint=did_you_mean(target, known) or f"Use {one_of(known)}.",
        )
    given = [option for option, value in only_local.items() if value]
    if given:
        raise UsageError(
            f"{one_of(given)} goes with `--target local` only, not with `{target}`.",
            hint=f"Leave {one_of(given)} out.",
        )
    return True


def render(
    settings: Settings,
    request: DeployRequest,
    target: str,
    *,
    to: str | None = None,
    dry_run: bool = False,
    say: Callable[[str], None] = lambda _: None,
    read: Callable[[str], Details] = read_details,
) -> Rendering:
    """Turn what is wanted into manifests of a platform.

    Args:
        settings: The project's settings.
        request: What is wanted.
        target: Name of the target, one that `renders`.
        to: Folder; `-` writes none; None means `deploy/NAME` of the project.
        dry_run: Write nothing.
        say: Called with each phase.
        read: Reads the files of the model at a URI.

    Raises:
        NotFoundError: A model does not exist, or its files are gone.
        InvalidInputError: The platform cannot do this, or the folder cannot be written.
        ConflictError: A file in the folder was not rendered by us.
    """
    platform = TARGETS.load(target)()
    say("Looking the models up")
    spec = make_spec(settings, request)
    platform.check(spec)
    say("Reading signatures")
    details, unread = _details(spec, read)
    rendered = platform.render(spec, RenderOptions(details, settings.seldon.env_secret))
    folder = _folder(settings, spec, to)
    files = tuple(_files(rendered, folder))
    written = folder is not None and not dry_run
    if written:
        _write(files)
    return Rendering(
        name=spec.name,
        target=target,
        files=files,
        notes=(*_chosen(spec), *unread, *rendered.notes),
        written=written,
        next_commands=(_apply_command(files), *rendered.after_apply) if written else (),
    )


def _details(
    spec: DeploymentSpec, read: Callable[[str], Details]
) -> tuple[dict[str, Details], list[str]]:
    """Read the files of models that MLflow knows, and say which could not be read.

    A bare URI is taken at its word, and whoever renders need not have access to the artifact
    store: the cluster must.
    """
    found, unread = {}, []
    for arm in spec.arms:
        if arm.model.name or arm.model.run_id:
            try:
                found[arm.name] = read(arm.model.source)
            except (RemoteError, NotAllowedError) as error:
                unread.append(error.message)
    return found, unread


def _chosen(spec: DeploymentSpec) -> Iterator[str]:
    for arm in spec.arms:
        if arm.model.chosen_by:
            yield f"`{arm.model.ref}` means {arm.model.label}: {arm.model.chosen_by}."


def _folder(settings: Settings, spec: DeploymentSpec, to: str | None) -> Path | None:
    if to == STDOUT:
        return None
    if to is not None:
        return Path(to)
    folder = settings.project_dir / "deploy" / spec.name
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _files(rendered: Rendered, folder: Path | None) -> Iterator[RenderedFile]:
    for name, text in rendered.files.items():
        if folder is None:
            yield RenderedFile(name, text, "create")
        else:
            yield RenderedFile(str(folder / name), text, _change(folder / name, text))


def _change(path: Path, text: str) -> Change:
    try:
        before = path.read_bytes()
    except FileNotFoundError:
        return "create"
    except OSError as error:
        raise _unwritable(path, error) from error
    if before == text.encode():
        return "same"
    if not before.startswith(_MARK.encode()):
        raise ConflictError(
            f"`{path}` was not rendered by mlops; it would be overwritten.",
            hint="Move it away, or render elsewhere with `--render DIR`.",
        )
    return "update"


def _write(files: tuple[RenderedFile, ...]) -> None:
    for file in files:
        if file.change == "same":
            continue
        path = Path(file.path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, file.text)
        except OSError as error:
            raise _unwritable(path, error) from error


def _replace(path: Path, text: str) -> None:
    """Write a file such that it is there whole or not at all."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".part-") as part:
        new = Path(part) / path.name
        new.write_text(text, encoding="utf-8", newline="\n")
        new.replace(path)


def _unwritable(path: Path, error: OSError) -> InvalidInputError:
    return InvalidInputError(
        f"`{path}` cannot be written: {os.strerror(error.errno or 0)}.",
        hint="Render elsewhere with `--render DIR`.",
    )


def _apply_command(files: tuple[RenderedFile, ...]) -> str:
    # Each file by name: the folder may hold what another target or revision left there.
    return shlex.join(["kubectl", "apply", *(word for f in files for word in ("-f", f.path))])
