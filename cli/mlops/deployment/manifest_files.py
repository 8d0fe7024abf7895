"""Rendered manifests as files: complete or not at all, and only over rendered files."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlops.deployment.targets import Rendered
from mlops.errors import ConflictError, InvalidInputError

# How rendered texts begin; JSON has no comments.
_MARKS = (b"# Rendered by `mlops ", b'{\n  "description": "Rendered by `mlops ')

Change = Literal["create", "update", "same", "delete"]


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """One manifest.

    Attributes:
        path: Where it is, or would be; only its name if it is not written anywhere.
        text: Its content.
        change: Whether it is new, or differs from what was rendered there before; `delete` for what
            is there and is not rendered any more, see `mlops.deployment.stale_files`.
        manifest: Whether it is to be applied; a Dockerfile is not.
    """

    path: str
    text: str
    change: Change
    manifest: bool = True


def files_of(rendered: Rendered, folder: Path | None) -> Iterator[RenderedFile]:
    """Yield the files of a rendering as they are to be in a folder; None for none.

    Raises:
        ConflictError: A file there was not rendered by mlops.
    """
    for texts, manifest in ((rendered.files, True), (rendered.beside, False)):
        for name, text in texts.items():
            if folder is None:
                yield RenderedFile(name, text, "create", manifest)
            else:
                path = folder / name
                yield RenderedFile(str(path), text, _change(path, text), manifest)


def _change(path: Path, text: str) -> Change:
    try:
        before = path.read_bytes()
    except FileNotFoundError:
        return "create"
    except OSError as error:
        raise _unwritable(path, error) from error
    if before == text.encode():
        return "same"
    if not before.startswith(_MARKS):
        raise ConflictError(
            f"`{path}` was not rendered by mlops; it would be overwritten.",
            hint="Move it away, or render elsewhere with `--render DIR`.",
        )
    return "update"


def default_folder(project_dir: Path, name: str) -> Path:
    """Return the folder of a deployment's manifests, as short as it can be written here."""
    folder = project_dir / "deploy" / name
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def write_files(files: tuple[RenderedFile, ...]) -> None:
    """Write those that differ from what is there, and delete what is not rendered any more.

    Raises:
        InvalidInputError: The folder cannot be written.
    """
    for file in files:
        if file.change == "same":
            continue
        path = Path(file.path)
        try:
            if file.change == "delete":
                path.unlink(missing_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, file.text)
        except OSError as error:
            raise _unwritable(path, error) from error


def _replace(path: Path, text: str) -> None:
    """Write a file atomically."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".part-") as part:
        new = Path(part) / path.name
        new.write_text(text, encoding="utf-8", newline="\n")
        new.replace(path)


def _unwritable(path: Path, error: OSError) -> InvalidInputError:
    return InvalidInputError(
        f"`{path}` cannot be written: {os.strerror(error.errno or 0)}.",
        hint="Render elsewhere with `--render DIR`.",
    )


def put_files(texts: Mapping[str, str], folder: Path | None) -> tuple[RenderedFile, ...]:
    """Write manifests that begin as all rendered ones do.

    Args:
        texts: Manifests by the names of their files.
        folder: Where they go; None writes none.

    Raises:
        InvalidInputError: The folder cannot be written.
        ConflictError: A file in the folder was not rendered by mlops.
    """
    if folder is None:
        return tuple(RenderedFile(name, text, "create") for name, text in texts.items())
    files = tuple(
        RenderedFile(str(folder / name), text, _change(folder / name, text))
        for name, text in texts.items()
    )
    write_files(files)
    return files


def apply_command(files: tuple[RenderedFile, ...]) -> str:
    """Return the command that applies manifests."""
    # Each file by name: the folder may hold what another target or revision left there.
    named = (word for file in files if file.manifest for word in ("-f", file.path))
    return shlex.join(["kubectl", "apply", *named])
