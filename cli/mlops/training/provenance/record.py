"""Everything about a run that its script does not say: taken before it starts, kept with it.

What MLflow has a tag for is a tag of that name; the rest is in three artifacts of the run, in the
folder `provenance`: `provenance.json`, `environment.txt` and, where files differ from the commit,
`changes.patch`.
"""

from __future__ import annotations

import json
import shlex
import socket
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops.settings.secrets import without_credentials
from mlops.training.provenance.code import MAX_NAMES, Code, read_code, require_clean
from mlops.training.provenance.data import DataFile, data_files, data_input
from mlops.training.provenance.packages import environment_lock
from mlops.training.runs import user_name

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mlops.settings.needs import TrainSettings
    from mlops.training.project import EntryPoint

#: Version of `provenance.json`.
SCHEMA_VERSION = 1
#: Folder among a run's artifacts.
FOLDER = "provenance"
COMMAND_TAG = "mlops.command"
_MAX_TAG = 4_000


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a run comes from.

    Attributes:
        command: How this program was called, without credentials.
        folder: The project's folder.
        code: State of its repository.
        data: Files that its parameters name.
        environment: What is installed; empty if the script runs in an environment of its own.
    """

    command: str
    folder: Path
    code: Code
    data: tuple[DataFile, ...]
    environment: str

    @property
    def tags(self) -> dict[str, str]:
        """The run's tags."""
        found = {
            "mlflow.source.git.commit": self.code.commit,
            "mlflow.source.git.branch": self.code.branch,
            "mlflow.source.git.repoURL": self.code.repository,
            "mlflow.source.git.dirty": str(self.code.dirty).lower() if self.code.commit else "",
            COMMAND_TAG: self.command[:_MAX_TAG],
        }
        return {name: value for name, value in found.items() if value}


def collect(
    settings: TrainSettings,
    folder: Path,
    entry_point: EntryPoint,
    values: Mapping[str, str],
    *,
    env_manager: str = "local",
    clean: bool = False,
    untracked: bool = False,
) -> Provenance:
    """Look at code, data and environment before anything runs. Once is enough for many runs.

    Args:
        settings: Say what not to keep.
        folder: The project's folder.
        entry_point: What will be run.
        values: Every parameter.
        env_manager: Who makes the script's environment.
        clean: Whether to refuse code that no commit describes.
        untracked: Whether that includes files that git does not track.

    Raises:
        InvalidInputError: It is to be clean and is not; the files are named.
    """
    code = read_code(folder, keep_diff=settings.training.diff)
    if clean:
        require_clean(code, folder, untracked=untracked)
    return Provenance(
        command=_command(),
        folder=folder,
        code=code,
        data=tuple(data_files(entry_point, values, folder)),
        environment=environment_lock() if env_manager == "local" else "",
    )


def keep(client: MlflowClient, run_id: str, provenance: Provenance) -> None:
    """Log data sets and artifacts to a run that exists."""
    inputs = [data_input(file) for file in provenance.data if file.sha256]
    if inputs:
        client.log_inputs(run_id, inputs)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        text = json.dumps(_document(provenance), indent=1) + "\n"
        (folder / "provenance.json").write_text(text, encoding="utf-8")
        if provenance.environment:
            (folder / "environment.txt").write_text(provenance.environment, encoding="utf-8")
        if provenance.code.diff:
            (folder / "changes.patch").write_bytes(provenance.code.diff)
        client.log_artifacts(run_id, str(folder), FOLDER)


def _command() -> str:
    """Return how this program was called."""
    words = [Path(sys.argv[0]).name or "python", *sys.argv[1:]]
    return without_credentials(shlex.join(words))


def _document(provenance: Provenance) -> dict[str, Any]:
    code = provenance.code
    return {
        "schema_version": SCHEMA_VERSION,
        "command": provenance.command,
        "host": socket.gethostname(),
        "user": user_name(),
        "python": sys.version.split()[0],
        "project": str(provenance.folder),
        "code": {
            "commit": code.commit,
            "branch": code.branch,
            "repository": code.repository,
            "dirty": code.dirty,
            "changed": list(code.changed[:MAX_NAMES]),
            "untracked": list(code.untracked[:MAX_NAMES]),
            "diff_bytes": len(code.diff),
            "diff_cut": code.diff_cut,
            "why_unknown": code.why_unknown,
        },
        "data": [
            {
                "name": file.name,
                "source": file.source,
                "sha256": file.sha256,
                "size_bytes": file.size_bytes,
                "why_unread": file.why_unread,
            }
            for file in provenance.data
        ],
    }
