"""`--from-run`: the parameters and the code of an earlier run."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.errors import MlopsError, NotFoundError, UsageError
from mlops.registry import mlflow_errors, open_registry
from mlops.training.progress import Progress
from mlops.training.project import EntryPoint
from mlops.training.runs import PARAMETERS_TAG
from mlops.training.sweep.history import SWEEP_TAG

if TYPE_CHECKING:
    from mlops.settings.needs import StoreSettings

#: Tag of a run that repeats another.
ORIGIN_TAG = "mlops.from_run"
_COMMIT = "mlflow.source.git.commit"
_DIRTY = "mlflow.source.git.dirty"
_SHORT = 12


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known of an earlier run.

    Attributes:
        run_id: The run.
        entry_point: What was run; empty if it does not say.
        values: Its parameters, also those that only its script logged.
        exact: Whether `values` are what the entry point was given, and nothing else.
        commit: Its code version; empty if it names none.
        dirty: Whether its code differed from that commit.
        source: The project, as a folder or URI.
    """

    run_id: str
    entry_point: str
    values: Mapping[str, str]
    exact: bool
    commit: str
    dirty: bool
    source: str

    def parameters(self, entry_point: EntryPoint) -> dict[str, str]:
        """Return those of its parameters that an entry point takes."""
        every = self.exact and entry_point.any_parameter
        return {
            name: value
            for name, value in self.values.items()
            if every or name in entry_point.parameters
        }

    def project(self, asked: str) -> str:
        """Return which project to run: the one asked for, else the run's own."""
        here = Path(asked).expanduser()
        named = asked != "." or any(f.name.lower() == "mlproject" for f in here.iterdir())
        return asked if named or not self.source else self.source


def read_origin(settings: StoreSettings, run_id: str) -> Origin:
    """Look up a run.

    Raises:
        NotFoundError: There is none.
        UsageError: It is a whole sweep.
    """
    client = open_registry(settings)
    with mlflow_errors(settings):
        data = client.get_run(run_id).data
    if SWEEP_TAG in data.tags:
        raise UsageError(
            f"The run `{run_id}` is a sweep.",
            hint=f"`mlops train --resume {run_id}` goes on with it; one of its trials can be "
            "repeated with `--from-run`.",
        )
    exact = data.tags.get(PARAMETERS_TAG)
    return Origin(
        run_id=run_id,
        entry_point=data.tags.get("mlflow.project.entryPoint", ""),
        values=json.loads(exact) if exact else dict(data.params),
        exact=bool(exact),
        commit=data.tags.get(_COMMIT, ""),
        dirty=data.tags.get(_DIRTY) == "true",
        source=data.tags.get("mlflow.source.name", ""),
    )


@contextmanager
def code_of(folder: Path, origin: Origin | None, progress: Progress) -> Iterator[Path]:
    """Give a folder with the code of an earlier run.

    The folder itself if its files are those of the run's commit; else a checkout of that commit,
    which is removed afterwards. Differences are noted. Files that git does not track are not in a
    checkout.

    Raises:
        NotFoundError: The repository does not have that commit.
    """
    if origin is None:
        yield folder
        return
    if origin.dirty:
        progress.note(f"run {origin.run_id} ran changed files; its commit alone is repeated")
    here = _git(folder, "rev-parse", "HEAD", "--show-toplevel", "--show-prefix", fails=True)
    if not origin.commit or here is None:
        what = "names no commit" if not origin.commit else "has a commit, but here is no repository"
        progress.note(f"run {origin.run_id} {what}: the code is that of the working tree")
        yield folder
        return
    head, root, prefix = [*here.splitlines(), ""][:3]
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".")
    if head == origin.commit and not changed:
        yield folder
        return
    wanted = origin.commit[:_SHORT]
    if _git(folder, "cat-file", "-e", f"{origin.commit}^{{commit}}", fails=True) is None:
        raise NotFoundError(
            f"The repository `{root}` has no commit `{origin.commit}`, which run "
            f"`{origin.run_id}` was made from.",
            hint="`git fetch` may bring it.",
        )
    differs = "has changed files" if head == origin.commit else f"is at commit {head[:_SHORT]}"
    progress.note(
        f"run {origin.run_id} was made from commit {wanted}, the working tree {differs}: "
        f"running commit {wanted}, without files that git does not track"
    )
    with tempfile.TemporaryDirectory(prefix="mlops-commit-") as place:
        _check_out(Path(root), origin.commit, Path(place))
        yield (Path(place) / prefix).resolve()


def _check_out(root: Path, commit: str, place: Path) -> None:
    origin = (_git(root, "config", "--get", "remote.origin.url", fails=True) or "").strip()
    _git(root, "clone", "--quiet", "--no-checkout", "--shared", str(root), str(place))
    _git(place, "checkout", "--quiet", "--detach", commit)
    if origin:
        _git(place, "remote", "set-url", "origin", origin)


def _git(folder: Path, *words: str, fails: bool = False) -> str | None:
    """Return what git says; None where it may fail and does."""
    program = shutil.which("git")
    if program is None:
        if fails:
            return None
        raise MlopsError("There is no `git` program.", hint="`--from-run` needs it.")
    done = subprocess.run(
        [program, *words], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return done.stdout
    if fails:
        return None
    raise MlopsError(f"`git {words[0]}` failed: {done.stderr.strip()}")
