"""The only place that opens MLflow, quietly and at the address of the settings."""

from __future__ import annotations

import logging
import os
import shlex
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from mlops.errors import ConflictError, InvalidInputError, NotFoundError, RemoteError
from mlops.registry.faults import mlflow_errors
from mlops.registry.locks import locked
from mlops.registry.stores.access import adopt_environment, mlflow_environment
from mlops.registry.stores.base import parse_location
from mlops.settings.secrets import without_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

    from mlops.settings.needs import StoreSettings

#: Registered models of this prefix are deployment revisions, and hidden from lists of models.
LEDGER_PREFIX = "mlops.deployment."

# MLflow reads some of these when it is imported, so they come first.
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Without a git executable GitPython prints a page of advice.
    "GIT_PYTHON_REFRESH": "quiet",
}
# These say which run MLflow is in; one inherited from an enclosing run would make a script write
# into that one.
_ONE_RUN = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")
# Seven tries, two minutes, are MLflow's reaction to a refused connection; here a user waits.
# And where a run can be seen it prints to stdout, which is for data.
_OURS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

# Databases that MLflow keeps runs in, and where they listen.
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_REACH_S = 5.0
_ANSWER_S = 15.0
#: Servers that answered this process.
_ANSWERED: set[str] = set()


def nothing_yet(settings: StoreSettings) -> bool:
    """Whether the project's own store was never made, so that there is nothing to read."""
    return not settings.tracking.uri and not (settings.home / "mlflow.db").exists()


def open_registry(settings: StoreSettings, *, reading: bool = False) -> MlflowClient:
    """Return a client of the tracking store and registry in force.

    MLflow's own functions (`mlflow.artifacts`, `mlflow.projects`) use the same address afterwards,
    and reach the same artifact store.
    May be called often: MLflow keeps one store per address.

    Args:
        settings: Where MLflow is.
        reading: Nothing will be written, so a store that is not there is not made either.

    Raises:
        NotFoundError: The store is only to be read, and is not there.
        RemoteError: The server or database cannot be reached.
        NotAllowedError: The server refused the request.
        InvalidInputError: The address is not valid, or the database is of another version.
    """
    if reading and nothing_yet(settings):
        raise NotFoundError(
            f"Nothing is registered in `{settings.project_dir}` yet.",
            hint=_other_project(settings.project_dir)
            or "`mlops train` registers what it trains; `mlops init` makes a project to train.",
        )
    quieten()
    for variable, value in _OURS.items():
        os.environ.setdefault(variable, value)
    adopt_environment(settings)
    _make_place(settings)
    import mlflow

    with mlflow_errors(settings):
        with _same_environment():
            registry = registry_uri(settings)
            mlflow.set_tracking_uri(settings.tracking_uri)
            mlflow.set_registry_uri(registry)
        with _one_makes_it(settings):
            return mlflow.MlflowClient()


@contextmanager
def _one_makes_it(settings: StoreSettings) -> Iterator[None]:
    """Keep other commands out while the project's own database may be made.

    Two that make its tables at once would both fail (`duplicate column name`).
    """
    with ExitStack() as stack:
        if not settings.tracking.uri:
            # Where nothing can be written, nothing is made.
            with suppress(OSError):
                stack.enter_context(locked(settings.home / "mlflow.making"))
        yield


def _other_project(folder: Path) -> str:
    """Return where a project inside this folder keeps its state, as advice."""
    stores = sorted(folder.glob("*/.mlops/mlflow.db"))
    names = ", ".join(f"`cd {shlex.quote(store.parents[1].name)}`" for store in stores)
    return f"There is state beside a project's own file: {names}." if stores else ""


def registry_uri(settings: StoreSettings) -> str:
    """Return the registry's address: the tracking store's, unless `MLFLOW_REGISTRY_URI` is set."""
    return os.environ.get("MLFLOW_REGISTRY_URI") or settings.tracking_uri


@contextmanager
def _same_environment() -> Iterator[None]:
    """Undo what MLflow writes into the environment, which settings read as the user's choice."""
    names = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
    before = {name: os.environ[name] for name in names if name in os.environ}
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)


def script_environment(settings: StoreSettings) -> dict[str, str]:
    """Return the environment in which a user's own script finds the same MLflow.

    It names no run, and has neither the impatience nor the silence that suit a command line: a long
    training may well wait for its server.
    """
    ours = _OURS.items() | {(name, os.environ.get(name)) for name in _ONE_RUN}
    inherited = {k: v for k, v in os.environ.items() if (k, v) not in ours}
    return mlflow_environment(settings, inherited) | {
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
        "MLFLOW_REGISTRY_URI": registry_uri(settings),
        "MLFLOW_DISABLE_TELEMETRY": os.environ.get("MLFLOW_DISABLE_TELEMETRY", "true"),
    }


def quiet_environment() -> None:
    """Set what keeps MLflow and its libraries quiet when they are imported.

    What the user has set in the environment wins.
    """
    for variable, value in _QUIET.items():
        os.environ.setdefault(variable, value)


def quieten() -> None:
    """Import MLflow such that neither it nor its libraries write to the output."""
    quiet_environment()
    import mlflow  # noqa: F401 - it sets its loggers' levels when it is imported

    if logging.getLogger("mlops").isEnabledFor(logging.INFO):
        return
    # Alembic logs each of 60 migrations.
    for name in ("mlflow", "alembic", "git"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # A traceback with the SQL and its parameters, of errors that it raises too.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def experiment_id(client: MlflowClient, settings: StoreSettings, name: str) -> str:
    """Return the id of the experiment called `name`, creating it if need be.

    A new one keeps its artifacts under the setting `artifacts.root`; without that MLflow would
    drop them into `./mlruns` of wherever it was called. A server without that setting decides
    itself.

    Raises:
        ConflictError: The experiment was deleted and not yet purged.
    """
    with mlflow_errors(settings):
        found = client.get_experiment_by_name(name)
        if found is None:
            found = _create_experiment(client, settings, name)
    if found.lifecycle_stage == "deleted":
        raise ConflictError(
            f"The experiment `{name}` was deleted.",
            hint=f"`mlflow experiments restore --experiment-id {found.experiment_id}`, or use "
            "`--experiment` with another name.",
        )
    return str(found.experiment_id)


def _create_experiment(client: MlflowClient, settings: StoreSettings, name: str) -> Experiment:
    """Create an experiment, unless another process does so at the same moment."""
    from mlflow.exceptions import MlflowException

    place = _artifact_location(settings, name)
    try:
        return client.get_experiment(client.create_experiment(name, artifact_location=place))
    except MlflowException as error:
        found = client.get_experiment_by_name(name)
        if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
            raise
        return found


def other_artifact_location(client: MlflowClient, settings: StoreSettings, experiment: str) -> str:
    """Return where an experiment keeps its artifacts, if that is not where the settings say.

    MLflow fixes the place when it makes an experiment, so a new `artifacts.root` does not move an
    old one.

    Args:
        client: Where the experiment is.
        settings: The project's settings.
        experiment: Its id.
    """
    if settings.origins["artifacts.root"] == "default":
        return ""
    with mlflow_errors(settings):
        found = client.get_experiment(experiment)
    wanted = _artifact_location(settings, found.name)
    place: str = without_credentials(found.artifact_location)
    return "" if wanted is None or place.rstrip("/") == wanted.rstrip("/") else place


def _artifact_location(settings: StoreSettings, name: str) -> str | None:
    own_database = settings.tracking_uri.startswith(("sqlite:", "postgresql", "mysql", "mssql"))
    if not settings.artifacts.root and not own_database:
        return None
    root = settings.artifact_root
    if parse_location(root).scheme != "file":
        return f"{root.rstrip('/')}/{name}"
    return (settings.project_dir / root / name).resolve().as_uri()


def _make_place(settings: StoreSettings) -> None:
    """Create the default store's folder; say at once if another SQLite file has none.

    SQLAlchemy would try for over a minute to open a file in a folder that does not exist.
    """
    uri = settings.tracking_uri
    if not settings.tracking.uri:
        settings.make_home()
    elif uri.startswith("sqlite:///"):
        folder = Path(uri.removeprefix("sqlite:///").partition("?")[0]).parent
        if not folder.is_dir():
            raise InvalidInputError(
                f"`{uri}` is in the folder `{folder}`, which does not exist.",
                hint=f"mkdir -p {folder}",
            )
    _reach_database(uri)
    _reach_server(uri)


def _reach_server(uri: str) -> None:
    """Report early that a server accepts connections and does not answer; MLflow waits six minutes.

    Other faults are reported by MLflow.
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or uri in _ANSWERED:
        return
    host = parts.netloc.rpartition("@")[2]
    if _is_silent(urlunsplit((parts.scheme, host, f"{parts.path.rstrip('/')}/health", "", ""))):
        raise RemoteError(
            f"MLflow at `{without_credentials(uri)}` does not answer within {_ANSWER_S:g} s.",
            hint="It hangs, or something on the way to it does; `mlops doctor` asks it again.",
        )
    _ANSWERED.add(uri)


def _is_silent(url: str) -> bool:
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.request import urlopen

    try:
        urlopen(url, timeout=_ANSWER_S).close()  # noqa: S310 - http or https
    except HTTPError as error:
        error.close()
    except URLError as error:
        return isinstance(error.reason, TimeoutError)
    except TimeoutError:
        return True
    except (OSError, ValueError, HTTPException):
        return False
    return False


def _reach_database(uri: str) -> None:
    """Say at once that a database refuses connections; MLflow would try for two minutes."""
    parts = urlsplit(uri)
    port = _PORTS.get(parts.scheme.partition("+")[0])
    # Several hosts are left to the driver.
    if port is None or not parts.hostname or "," in parts.netloc:
        return
    try:
        socket.create_connection((parts.hostname, parts.port or port), _REACH_S).close()
    except OSError as error:
        raise RemoteError(
            f"MLflow's database at `{without_credentials(uri)}` cannot be reached: {error}.",
            hint="Is it running, and is the address right? `mlops config show --origin` names it.",
        ) from error
