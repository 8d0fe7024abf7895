"""A project packed for another machine: its folder, and the files that its parameters name."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlops.errors import InvalidInputError
from mlops.training.project import EntryPoint

#: Bytes of the largest bundle, before it is compressed.
MAX_BYTES = 512 << 20
#: Folders of a bundle.
PROJECT, INPUTS = "project", "inputs"
# State, environments and histories are not part of what is run.
_LEFT_OUT = frozenset(
    {".mlops", ".git", "mlruns", "mlflow.db", "__pycache__", ".venv", "venv", ".tox", ".nox"}
)
# The oldest time that a zip can hold: equal files make equal bundles.
_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a trial needs on another machine.

    Attributes:
        content: A zip with the folders `project` and `inputs`.
        names: The parameters that name files, with their values as seen from `project`.
    """

    content: bytes
    names: Mapping[str, str]


def local_inputs(entry_point: EntryPoint, parameters: Mapping[str, str]) -> dict[str, Path]:
    """Return the files and folders of this machine that parameters of type `path` name."""
    found = {}
    for name, declared in entry_point.parameters.items():
        value = parameters.get(name, "" if declared.default is None else str(declared.default))
        if declared.type == "path" and value and "://" not in value:
            path = Path(value.removeprefix("file:")).expanduser()
            if path.exists():
                found[name] = path.resolve()
    return found


def pack(folder: Path, inputs: Mapping[str, Path]) -> Bundle:
    """Pack a project's folder, and the files and folders that its parameters name.

    Raises:
        InvalidInputError: It is larger than `MAX_BYTES`.
    """
    names = {name: f"{INPUTS}/{name}/{path.name}" for name, path in inputs.items()}
    members = dict(_members(folder, PROJECT))
    for name, path in inputs.items():
        inside = names[name]
        members |= dict(_members(path, inside)) if path.is_dir() else {inside: path}
    _check_size(folder, members.values())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, _TIME)
            info.external_attr = (members[name].stat().st_mode & 0o777) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, members[name].read_bytes())
    return Bundle(buffer.getvalue(), {name: f"../{inside}" for name, inside in names.items()})


def _members(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT)
        for name in files:
            path = Path(root, name)
            if name not in _LEFT_OUT and path.is_file():
                yield f"{prefix}/{path.relative_to(folder).as_posix()}", path


def _check_size(folder: Path, paths: Iterable[Path]) -> None:
    size = sum(path.stat().st_size for path in paths)
    if size > MAX_BYTES:
        raise InvalidInputError(
            f"`{folder}` and its data have {size >> 20} MiB, and {MAX_BYTES >> 20} MiB can be sent "
            "to a cluster.",
            hint="Keep large data in a store that the nodes can read, and name it as a `uri`.",
        )
