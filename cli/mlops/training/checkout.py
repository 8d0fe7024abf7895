"""The folder of a project, wherever it is kept."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

from mlops.errors import MlopsError, NotFoundError
from mlops.registry.client import quieten
from mlops.settings.secrets import without_credentials

_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|[^/\s]+@[^/\s]+:|.+\.(git|zip)$")


@contextmanager
def local_copy(uri: str) -> Iterator[Path]:
    """Give the folder of a project; one from git or a zip is fetched and removed afterwards.

    Args:
        uri: A folder, or what `mlflow run` takes: a git URI, a zip, with an optional `#subfolder`.

    Raises:
        NotFoundError: There is no such folder.
        MlopsError: It could not be fetched.
    """
    folder = Path(uri).expanduser()
    if folder.is_dir():
        yield folder.resolve()
        return
    address, _, inner = uri.partition("#")
    if not _REMOTE.match(address):
        raise NotFoundError(
            f"There is no folder `{uri}`.", hint="Give a project's folder or a git URI."
        )
    # Not MLflow's own temporary folder: for `file:` that would be the user's repository.
    with tempfile.TemporaryDirectory(prefix="mlops-project-") as fetched:
        _fetch(address, fetched)
        place = Path(fetched, inner).resolve()
        if not place.is_dir() or not place.is_relative_to(Path(fetched).resolve()):
            raise NotFoundError(f"`{without_credentials(address)}` has no folder `{inner}`.")
        yield place


def _fetch(address: str, folder: str) -> None:
    quieten()
    from git.exc import GitError
    from mlflow.exceptions import MlflowException
    from mlflow.projects import utils

    try:
        if address.endswith(".zip"):
            here = Path(address).is_file()
            utils._unzip_repo(address if here else utils._fetch_zip_repo(address), folder)
        else:
            utils._fetch_git_repo(address, None, folder)
    except (GitError, MlflowException, OSError, BadZipFile) as error:
        where, why = without_credentials(address), without_credentials(str(error)).strip()
        raise MlopsError(
            f"`{where}` could not be fetched: {why}",
            hint="Does `git clone` of the same address work?",
        ) from error
