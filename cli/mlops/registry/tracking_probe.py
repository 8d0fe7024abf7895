"""A quick check of the tracking store, without importing MLflow."""

from __future__ import annotations

import base64
import json
import os
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from mlops.errors import InvalidInputError, MlopsError, NotAllowedError, RemoteError
from mlops.registry.stores.faults import network_reason
from mlops.settings.secrets import without_credentials

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from mlops.settings.needs import StoreSettings

_TIMEOUT_S = 5.0
_FEW = 1000


@dataclass(frozen=True, slots=True)
class Tracking:
    """A tracking store that answers.

    Attributes:
        uri: Its address, without credentials.
        version: MLflow's version there; empty for a database.
        artifacts: Where its default experiment keeps artifacts; empty for a database.
    """

    uri: str
    version: str = ""
    artifacts: str = ""


def is_server(settings: StoreSettings) -> bool:
    """Whether runs are kept by an MLflow server."""
    return settings.tracking_uri.startswith(("http://", "https://"))


def ask_tracking(settings: StoreSettings) -> Tracking:
    """Check that the tracking store responds.

    Raises:
        NotAllowedError: The server refuses the credentials, or the host name of the request.
        RemoteError: There is no answer.
        InvalidInputError: What answers is not MLflow, or the address is not valid.
    """
    uri = without_credentials(settings.tracking_uri)
    if is_server(settings):
        version = ask(settings, "/version").decode(errors="replace").strip()
        answer = ask(settings, "/api/2.0/mlflow/experiments/get?experiment_id=0")
        return Tracking(uri, version, _artifacts(uri, answer))
    if uri.startswith("sqlite:///"):
        folder = Path(uri.removeprefix("sqlite:///").partition("?")[0]).parent
        if settings.tracking.uri and not folder.is_dir():
            raise InvalidInputError(
                f"`{uri}` is in the folder `{folder}`, which does not exist.",
                hint=f"mkdir -p {folder}",
                reason="file",
            )
    return Tracking(uri)


def _artifacts(uri: str, answer: bytes) -> str:
    try:
        experiment = json.loads(answer).get("experiment", {})
    except (ValueError, AttributeError):
        raise _no_mlflow(uri) from None
    return str(experiment.get("artifact_location", ""))


def ask(settings: StoreSettings, path: str, timeout_s: float = _TIMEOUT_S) -> bytes:
    """Get a path of the MLflow server.

    Raises:
        NotAllowedError: It refuses the request.
        RemoteError: There is no answer in time.
        InvalidInputError: What answers is not MLflow.
    """
    parts = urlsplit(settings.tracking_uri)
    host = parts.netloc.rpartition("@")[2]
    base = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
    headers = {"Authorization": header} if (header := _authorization(parts)) else {}
    request = urllib.request.Request(base + path, headers=headers)  # noqa: S310 - http or https
    context = ssl.create_default_context()
    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        return _get(request, base, timeout_s, context)
    except (OSError, HTTPException) as error:
        # The latter of a truncated answer, or one that is not HTTP.
        raise _unreachable(base, error) from error


def _get(
    request: urllib.request.Request, base: str, timeout_s: float, context: ssl.SSLContext
) -> bytes:
    try:
        with urllib.request.urlopen(request, timeout=timeout_s, context=context) as answer:  # noqa: S310 - as above
            content: bytes = answer.read()
            return content
    except urllib.error.HTTPError as error:
        with error:
            text = error.read(_FEW).decode(errors="replace")
        if error.code == 404 and "RESOURCE_DOES_NOT_EXIST" in text:
            # The default experiment was deleted; the server works.
            return b"{}"
        raise _refused(base, error.code, text) from error


def _authorization(parts: SplitResult) -> str:
    """Return what MLflow's client would send: the URI's own, else the variables'."""
    name = unquote(parts.username or "") or os.environ.get("MLFLOW_TRACKING_USERNAME", "")
    password = unquote(parts.password or "") or os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
    if name:
        return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
    token = os.environ.get("MLFLOW_TRACKING_TOKEN", "")
    return f"Bearer {token}" if token else ""


def _refused(base: str, status: int, text: str) -> MlopsError:
    if "Invalid Host header" in text:
        host = urlsplit(base).netloc
        return NotAllowedError(
            f"The MLflow server at `{base}` does not answer to the name `{host}` (403).",
            hint=f"Start it with `mlflow server --allowed-hosts {host}`, or set "
            "`MLFLOW_SERVER_ALLOWED_HOSTS` there.",
            reason="host",
        )
    if status in (401, 403):
        return NotAllowedError(
            f"The MLflow server at `{base}` refused the request ({status}).",
            hint="Set `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`, or "
            "`MLFLOW_TRACKING_TOKEN`.",
            reason="permission",
        )
    if status in (404, 405):
        return _no_mlflow(base)
    return RemoteError(
        f"The MLflow server at `{base}` failed ({status}).",
        hint="Its own log says why; often its database cannot be reached.",
        reason="failed",
    )


def _no_mlflow(base: str) -> MlopsError:
    return InvalidInputError(
        f"What answers at `{base}` is not an MLflow server.",
        hint="Set `uri` of [tracking] in mlops.toml, or `MLFLOW_TRACKING_URI`.",
        reason="protocol",
    )


def _unreachable(base: str, error: Exception) -> MlopsError:
    reason = network_reason(error)
    words = {
        "refused": "Nothing listens at",
        "address": "The host is not known:",
        "timeout": "No answer in time from",
        "tls": "No secure connection to",
    }.get(reason, "No connection to")
    return RemoteError(
        f"{words} `{base}`, the MLflow server.",
        hint="Is it running (`mlflow server`)? The address is `uri` of [tracking] in mlops.toml, "
        "or `MLFLOW_TRACKING_URI`.",
        reason=reason,
    )
