"""`mlops models pull`: a model as a local folder."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlops.errors import ConflictError
from mlops.registry.artifact_digest import read_content
from mlops.registry.artifact_manifest import pin, shorten
from mlops.registry.fetching import copy_to
from mlops.registry.push import Say
from mlops.registry.refs import resolve_all
from mlops.registry.transfer import Show
from mlops.spec.content import MLMODEL, Content

if TYPE_CHECKING:
    from mlops.settings.needs import StoreSettings
    from mlops.spec.model import ModelVersion

Change = Literal["create", "replace", "nothing"]


@dataclass(frozen=True, slots=True)
class Pull:
    """What a pull did, or would do.

    Attributes:
        model: What was pulled, for example `wine/3`.
        folder: Where it is now.
        digest: What it holds; empty for a dry run.
        size: Of all its files, in bytes; 0 for a dry run.
        files: Number of its files; 0 for a dry run.
        change: What happened to the folder.
        took_s: Seconds that it took, once the model was found.
        done: False for a dry run.
    """

    model: str
    folder: Path
    digest: str
    size: int
    files: int
    change: Change
    took_s: float
    done: bool


def pull(
    settings: StoreSettings,
    ref: str,
    folder: Path | None,
    *,
    force: bool = False,
    dry_run: bool = False,
    say: Say = lambda _: None,
    show: Show = lambda done, total: None,
) -> Pull:
    """Copy a model into a folder, which appears complete or not at all.

    Args:
        settings: The project's settings.
        ref: The model.
        folder: Where to; None for one named after the model, in the current folder.
        force: Replace another model that is there.
        dry_run: Look, and copy nothing.
        say: Called with each phase.
        show: Called with the progress of a transfer.

    Raises:
        ConflictError: Something else is there, and `force` is False.
        MlopsError: The model does not exist, or the store cannot be used.
    """
    say("Looking up the model")
    version = pin(resolve_all(settings, [ref])[0], settings)
    target = (folder or Path(_name(version))).resolve()
    if dry_run:
        change: Change = "create" if _content_at(target) is None else "replace"
        return Pull(version.label, target, "", 0, 0, change, 0.0, done=False)
    started = time.monotonic()
    content, change = _bring(version, settings, target, force=force, say=say, show=show)
    return Pull(
        model=version.label,
        folder=target,
        digest=content.digest,
        size=content.size,
        files=len(content.files),
        change=change,
        took_s=time.monotonic() - started,
        done=True,
    )


def _bring(
    version: ModelVersion,
    settings: StoreSettings,
    target: Path,
    *,
    force: bool,
    say: Say,
    show: Show,
) -> tuple[Content, Change]:
    """Copy a model beside the target, then rename: there is no moment with half of it there."""
    there = _content_at(target)
    if there is not None and version.digest.startswith("sha256:"):
        # Checked before a long download and not after it.
        if there.digest == version.digest:
            return there, "nothing"
        if not force:
            raise _taken_by(target, there)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.part-") as part:
        new = Path(part, "new")
        new.mkdir()
        say("Fetching the model")
        content = copy_to(version, settings, new, show)
        if there is not None and there.digest == content.digest:
            return there, "nothing"
        if there is not None and not force:
            raise _taken_by(target, there)
        if target.exists():
            target.rename(Path(part, "old"))
        new.rename(target)
    return content, "create" if there is None else "replace"


def _name(version: ModelVersion) -> str:
    if version.name:
        return f"{version.name}-{version.version}"
    return version.source.rstrip("/").rpartition("/")[2] or "model"


def _content_at(target: Path) -> Content | None:
    """Return what the model at the target holds, None if the target is free.

    Raises:
        ConflictError: Something else than a model is there. It may be a user's work, and
            `--force` is not meant for that.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return None
    if not (target / MLMODEL).is_file():
        raise ConflictError(f"`{target}` exists, and is not a model.", hint="Name another folder.")
    return read_content(target)


def _taken_by(target: Path, there: Content) -> ConflictError:
    return ConflictError(
        f"`{target}` holds another model: {shorten(there.digest)}.",
        hint="Name another folder, or replace the model there with `--force`.",
    )
