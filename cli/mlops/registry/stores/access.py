"""How a store is reached: address, region, the source of credentials, and patience.

A source is where credentials are, never a credential. `mlflow_environment` says the same to
MLflow's own clients, in the variables they read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlops.registry.stores.base import parse_location

if TYPE_CHECKING:
    from mlops.settings.needs import StoreSettings

Source = Literal["default", "environment", "profile", "file"]

#: The variables that hold keys of S3.
AWS_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_ENDPOINT = {"s3": "MLFLOW_S3_ENDPOINT_URL", "gs": "STORAGE_EMULATOR_HOST"}
_GOOGLE_MACHINE = Path("/sys/class/dmi/id/product_name")
_GOOGLE_SERVICES = ("GCE_METADATA_HOST", "K_SERVICE", "KUBERNETES_SERVICE_HOST")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client tries.

    Attributes:
        attempts: Requests made before giving up.
        timeout_s: How long one may go without an answer, in seconds.
        deadline_s: How long one that is tried again may take in all, in seconds.
    """

    attempts: int
    timeout_s: float
    deadline_s: float


#: For transfers, which survive a restart of the server.
PATIENT = Patience(attempts=5, timeout_s=60.0, deadline_s=60.0)
#: For checks, where a user waits.
QUICK = Patience(attempts=1, timeout_s=10.0, deadline_s=5.0)


@dataclass(frozen=True, slots=True)
class Access:
    """How stores of one kind are reached.

    Attributes:
        scheme: Their kind: `file`, `s3` or `gs`.
        endpoint: URL of the server; empty means the provider's own.
        region: Empty means the client's own default.
        source: Where the credentials are; `default` looks where the client does.
        name: The profile, or the path of the file.
        patience: How long to try.
    """

    scheme: str
    endpoint: str = ""
    region: str = ""
    source: Source = "default"
    name: str = ""
    patience: Patience = PATIENT

    @property
    def emulated(self) -> bool:
        """Whether this is not Google: over plain HTTP no credentials are sent."""
        return self.scheme == "gs" and bool(self.endpoint) and not self.endpoint.startswith("https")

    @property
    def credentials(self) -> str:
        """The source in words."""
        if self.source == "default":
            return "no source named, so wherever the client looks"
        return f"{self.source} `{self.name}`" if self.name else self.source


def access_for(scheme: str, settings: StoreSettings, patience: Patience = PATIENT) -> Access:
    """Return how stores of a kind are reached.

    `[artifacts]` is about the kind of its own `root`. If that is a folder it is about S3, as an
    MLflow server may keep artifacts there; others use the clients' own variables.
    """
    if scheme not in _ENDPOINT:
        return Access(scheme, patience=patience)
    own = parse_location(settings.artifact_root).scheme
    variable = os.environ.get(_ENDPOINT[scheme], "")
    if own != scheme and (own, scheme) != ("file", "s3"):
        return Access(scheme, _url(variable), patience=patience)
    given = settings.artifacts
    first, second = given.endpoint_url, variable
    if own != scheme:
        # The settings do not read the variable then, and it still overrides the file.
        first, second = second, first
    endpoint = first or second
    source, name = split_source(given.credentials)
    if source == "file":
        name = str(settings.project_dir / Path(name).expanduser())
    return Access(scheme, _url(endpoint), given.region, source, name, patience)


def split_source(credentials: str) -> tuple[Source, str]:
    """Split the setting `artifacts.credentials`, which `settings` has checked.

    >>> split_source("profile:minio")
    ('profile', 'minio')
    """
    word, _, name = credentials.partition(":")
    sources: tuple[Source, ...] = ("environment", "profile", "file")
    return next((source for source in sources if source == word), "default"), name


def mlflow_environment(settings: StoreSettings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ`, changed such that MLflow's clients reach the store of `[artifacts]`.

    This is all that another process needs. It names sources, and holds no value of a
    credential that was not in `environ` before.
    """
    changes: dict[str, str | None] = {}
    own = parse_location(settings.artifact_root).scheme
    if own in ("s3", "file"):
        changes = _for_boto(access_for("s3", settings))
    elif own == "gs":
        changes = _for_google(access_for("gs", settings), environ)
    merged: dict[str, str | None] = {**environ, **changes}
    return {name: value for name, value in merged.items() if value is not None}


# What `adopt_environment` changed in this process: name to the value before and the one it set.
_adopted: dict[str, tuple[str | None, str | None]] = {}


def adopt_environment(settings: StoreSettings) -> None:
    """Let MLflow's clients in this process reach the store of `[artifacts]`.

    What was changed for other settings before is undone first, unless other code changed it since.
    """
    for name, (before, ours) in _adopted.items():
        if os.environ.get(name) == ours:
            _set(name, before)
    _adopted.clear()
    wanted = mlflow_environment(settings, os.environ)
    for name in {*os.environ, *wanted}:
        if os.environ.get(name) != wanted.get(name):
            _adopted[name] = (os.environ.get(name), wanted.get(name))
            _set(name, wanted.get(name))


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def on_google() -> bool:
    """Whether this machine may have an identity of its own at Google; asks no network.

    google-auth asks the network for up to a minute and a half, on every other machine, and fails.
    """
    if any(os.environ.get(name) for name in _GOOGLE_SERVICES):
        return True
    try:
        return _GOOGLE_MACHINE.read_text(encoding="utf-8").startswith("Google")
    except OSError:
        return False


def _for_boto(access: Access) -> dict[str, str | None]:
    changes: dict[str, str | None] = {}
    if access.endpoint:
        changes["MLFLOW_S3_ENDPOINT_URL"] = access.endpoint
    if access.region:
        changes["AWS_DEFAULT_REGION"] = access.region
    if access.source in ("profile", "file"):
        # Keys in the environment would win over either.
        changes |= dict.fromkeys((*AWS_KEYS, "AWS_PROFILE"))
    if access.source == "profile":
        changes["AWS_PROFILE"] = access.name
    elif access.source == "file":
        changes["AWS_SHARED_CREDENTIALS_FILE"] = access.name
    return changes


def _for_google(access: Access, environ: Mapping[str, str]) -> dict[str, str | None]:
    changes: dict[str, str | None] = {}
    if access.endpoint:
        variable = "STORAGE_EMULATOR_HOST" if access.emulated else "API_ENDPOINT_OVERRIDE"
        changes[variable] = access.endpoint
    if access.source == "file":
        changes["GOOGLE_APPLICATION_CREDENTIALS"] = access.name
    if not on_google() and "NO_GCE_CHECK" not in environ:
        changes["NO_GCE_CHECK"] = "true"
    return changes


def _url(endpoint: str) -> str:
    """Write `localhost:4443`, as STORAGE_EMULATOR_HOST may say it, as a URL."""
    if not endpoint or "://" in endpoint:
        return endpoint.rstrip("/")
    return f"http://{endpoint}".rstrip("/")
