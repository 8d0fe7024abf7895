"""MLflow's exceptions, mapped to those of mlops where they enter."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlops.errors import (
    ConflictError,
    InvalidInputError,
    MlopsError,
    NotAllowedError,
    NotFoundError,
    RemoteError,
)
from mlops.registry.stores.access import Access, access_for
from mlops.settings.secrets import without_credentials

if TYPE_CHECKING:
    from mlflow.exceptions import MlflowException

    from mlops.settings.needs import StoreSettings

_KINDS: dict[str, type[MlopsError]] = {
    "RESOURCE_DOES_NOT_EXIST": NotFoundError,
    "NOT_FOUND": NotFoundError,
    "ENDPOINT_NOT_FOUND": RemoteError,
    "INVALID_PARAMETER_VALUE": InvalidInputError,
    "BAD_REQUEST": InvalidInputError,
    "INVALID_STATE": InvalidInputError,
    "PERMISSION_DENIED": NotAllowedError,
    "CUSTOMER_UNAUTHORIZED": NotAllowedError,
    "UNAUTHENTICATED": NotAllowedError,
    "RESOURCE_ALREADY_EXISTS": ConflictError,
    "ALREADY_EXISTS": ConflictError,
    "RESOURCE_CONFLICT": ConflictError,
    "TEMPORARILY_UNAVAILABLE": RemoteError,
    "DEADLINE_EXCEEDED": RemoteError,
    "REQUEST_LIMIT_EXCEEDED": RemoteError,
    "RESOURCE_EXHAUSTED": RemoteError,
}

# How MLflow begins the list of what went wrong with each file of a folder.
_DOWNLOAD_FAILED = "The following failures occurred while downloading"


@contextmanager
def mlflow_errors(settings: StoreSettings) -> Iterator[None]:
    """Turn what MLflow raises inside the block into an `MlopsError`.

    Args:
        settings: Names the tracking URI for the message; its credentials are left out.

    Raises:
        NotFoundError: A run, model, version or alias does not exist.
        NotAllowedError: The server refused the credentials, or the host name of the request.
        RemoteError: The server or database cannot be reached.
        InvalidInputError: MLflow refuses a value, or the database has another schema.
        ConflictError: The name exists already.
        MlopsError: Anything else that MLflow reports.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except MlflowException as error:
        raise _translate(error, without_credentials(settings.tracking_uri)) from error
    except (SQLAlchemyError, ConnectionError) as error:
        raise _unreachable(str(error), without_credentials(settings.tracking_uri)) from error
    except _client_errors("s3") as error:
        raise _of_artifacts("s3", error, settings) from error
    except _client_errors("gs") as error:
        raise _of_artifacts("gs", error, settings) from error


@contextmanager
def store_errors(source: str) -> Iterator[None]:
    """Turn what the client of an artifact store raises inside the block into an `MlopsError`.

    Args:
        source: URI of the artifact, for the message and to know whose client it is.

    Raises:
        NotFoundError: The artifact does not exist.
        NotAllowedError: Credentials are missing or were refused.
        RemoteError: The store cannot be reached.
        InvalidInputError: A library for that store is not installed.
    """
    from mlflow.exceptions import MlflowException

    where = without_credentials(source)
    scheme = source.partition(":")[0]
    try:
        yield
    except MlflowException as error:
        if error.message.startswith(_DOWNLOAD_FAILED):
            raise _from_store(without_credentials(error.message), where) from error
        raise _translate(error, where) from error
    except ModuleNotFoundError as error:
        raise InvalidInputError(
            f"`{where}` needs the library `{error.name}`, which is not installed."
        ) from error
    except RecursionError:
        # MLflow follows a key such as `model/../x` in a loop.
        raise InvalidInputError(
            f"`{where}` has keys that cannot be files, such as one with `..` in it.",
            hint="Remove them from the bucket, or push the model to a new place.",
        ) from None
    except _client_errors(scheme) as error:
        raise _from_client(scheme, error, Access(scheme), where) from error


_CLIENTS = {"s3": "botocore", "gs": "google.cloud.storage"}


def _client_errors(scheme: str) -> tuple[type[Exception], ...]:
    """Return what the client of a kind of store raises: nothing, if it was never imported."""
    if _CLIENTS.get(scheme) not in sys.modules:
        return ()
    if scheme == "s3":
        from mlops.registry.stores.s3 import ERRORS as OF_S3

        return OF_S3
    from mlops.registry.stores.gcs import ERRORS as OF_GCS

    return OF_GCS


def _of_artifacts(scheme: str, error: Exception, settings: StoreSettings) -> MlopsError:
    """Name the root of artifacts, or the server that chose another."""
    root = settings.artifact_root
    is_there = root.startswith(f"{scheme}://")
    where = root if is_there else without_credentials(settings.tracking_uri)
    return _from_client(scheme, error, access_for(scheme, settings), where)


def _from_client(scheme: str, error: Exception, access: Access, where: str) -> MlopsError:
    if scheme == "s3":
        from mlops.registry.stores.s3 import s3_fault

        return s3_fault(error, access, where)
    from mlops.registry.stores.gcs import gcs_fault

    return gcs_fault(error, access, where)


def _from_store(text: str, where: str) -> MlopsError:
    """Classify a store's error by its text, as MLflow keeps only that."""
    reason = next((line for line in text.splitlines() if re.search(r"\w\(|Error", line)), text)
    if re.search(r"\b404\b|NoSuch(Key|Bucket)", text):
        return NotFoundError(f"`{where}` does not exist: {_first_line(reason)}")
    if re.search(r"\b40[13]\b|AccessDenied|[Cc]redentials", text):
        return NotAllowedError(
            f"The store refused `{where}`: {_first_line(reason)}",
            hint="`AWS_*` and `MLFLOW_S3_ENDPOINT_URL`, or `GOOGLE_APPLICATION_CREDENTIALS`, "
            "say who you are.",
        )
    return RemoteError(f"The store of `{where}` cannot be used: {_first_line(reason)}")


def _translate(error: MlflowException, uri: str) -> MlopsError:
    text = without_credentials(str(error))
    if "Invalid Host header" in text:
        return NotAllowedError(
            f"The MLflow server at `{uri}` does not answer to that host name.",
            hint="Start it with `mlflow server --allowed-hosts <that name>`.",
        )
    if "out-of-date database schema" in text:
        return InvalidInputError(
            f"The database at `{uri}` was made by another version of MLflow.",
            hint=f"Back it up, then run `mlflow db upgrade {uri}`.",
        )
    kind = _KINDS.get(error.error_code)
    if kind is NotAllowedError:
        return NotAllowedError(
            f"The MLflow server at `{uri}` refused: {_first_line(text)}",
            hint="Set `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`, or "
            "`MLFLOW_TRACKING_TOKEN`.",
        )
    if kind is RemoteError or text.startswith("API request to"):
        return _unreachable(text, uri)
    return (kind or MlopsError)(_first_line(text))


def _unreachable(text: str, uri: str) -> MlopsError:
    # Deep in a text that begins with SQL: the address is right then.
    if re.search(r"disk is full|No space left on device|Disk quota exceeded", text):
        return InvalidInputError(
            f"The disk of `{uri}` is full.",
            hint="Free space, then run the same command again: it continues where it stopped.",
        )
    if re.search(r"readonly database|Read-only file system", text):
        return InvalidInputError(
            f"`{uri}` cannot be written: its file or its disk is read-only.",
            hint="`mlops doctor` looks at the folder.",
        )
    if re.search(r"disk image is malformed|file is not a database", text):
        return InvalidInputError(
            f"The database at `{uri}` is damaged.",
            hint="Put a copy of it back, or move it away: runs and models are then lost, and "
            "deployments keep running.",
        )
    return RemoteError(
        f"MLflow at `{uri}` cannot be used: {_reason(without_credentials(text))}",
        hint="Is it running, and is the address right? `mlops config show --origin` says where "
        "it comes from.",
    )


def _first_line(text: str) -> str:
    """Return the useful part of MLflow's often very long messages."""
    line = text.strip().splitlines()[0] if text.strip() else "no reason given"
    return line if len(line) <= 400 else line[:400] + "…"


def _reason(text: str) -> str:
    """Return why the connection failed; urllib3 wraps it in a long message."""
    found = re.findall(r"\[Errno -?\d+\] ([A-Z][\w ]+)|(timed out)", text)
    if "Max retries exceeded" in text and found:
        return "".join(found[-1]).lower() + "."
    if re.search(r"Connection aborted|RemoteDisconnected|Connection broken|IncompleteRead", text):
        return "the connection ended before its answer had come."
    return _first_line(text)
