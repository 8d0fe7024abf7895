"""Google Cloud Storage, through google-cloud-storage."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import google.auth
import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY

from mlops.errors import MlopsError
from mlops.registry.stores.access import Access, on_google
from mlops.registry.stores.base import (
    CHECKSUM_NAME,
    File,
    Location,
    OnBytes,
    check_arrival,
    file_checksum,
)
from mlops.registry.stores.faults import Reason, fault, network_reason

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

#: What google-cloud-storage raises.
ERRORS = (
    api.GoogleAPIError,
    auth.GoogleAuthError,
    requests.RequestException,
    InvalidResponse,
    DataCorruption,
)

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_PART = ".part-"
_PAGE = 1000
# A file is sent in pieces of this size, each retried on its own; it bounds the memory.
_PIECE = 32 << 20


class GcsStore:
    """Keys are names of a bucket's objects; the checksum is in an object's metadata."""

    def __init__(self, location: Location, access: Access) -> None:
        self._location = location
        self.access = access
        patience = access.patience
        self._patience: dict[str, Any] = {
            "timeout": patience.timeout_s,
            "retry": DEFAULT_RETRY.with_timeout(patience.deadline_s),
        }
        with self._faults(""):
            credentials, project = _credentials(access, str(location))
            options = {"api_endpoint": access.endpoint} if access.endpoint else None
            self._client = storage.Client(
                project=project or "none", credentials=credentials, client_options=options
            )
        self._bucket = self._client.bucket(location.bucket)

    @property
    def location(self) -> Location:
        """Bucket and prefix."""
        return self._location

    def put(
        self, source: Path, key: str, *, sha256: str = "", on_bytes: OnBytes | None = None
    ) -> File:
        """See `Store.put`."""
        stored = File(key, source.stat().st_size, sha256 or file_checksum(source))
        blob = self._bucket.blob(self._location.key(key), chunk_size=_PIECE)
        blob.metadata = {CHECKSUM_NAME: stored.sha256}
        with self._faults(key), source.open("rb") as file:
            blob.upload_from_file(_Counted(file, on_bytes), size=stored.size, **self._patience)
        return stored

    def get(self, key: str, target: Path, *, on_bytes: OnBytes | None = None) -> File:
        """See `Store.get`."""
        expected, generation = self._find(key)
        # A blob that was asked for names a link, which bypasses the endpoint of the settings.
        blob = self._bucket.blob(self._location.key(key), generation=generation)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_PART, dir=target.parent) as folder:
            part = Path(folder) / "part"
            with self._faults(key), part.open("wb") as file:
                blob.download_to_file(_Counted(file, on_bytes), raw_download=True, **self._patience)
            check_arrival(part, expected, self._where(key))
            part.replace(target)
        return expected

    def stat(self, key: str) -> File:
        """See `Store.stat`."""
        return self._find(key)[0]

    def files(self, prefix: str = "") -> Iterator[File]:
        """See `Store.files`."""
        root = f"{self._location.prefix}/" if self._location.prefix else ""
        with self._faults(prefix):
            for blob in self._client.list_blobs(
                self._location.bucket, prefix=root + prefix, page_size=_PAGE, **self._patience
            ):
                # A console makes empty objects to look like folders.
                if not blob.name.endswith("/"):
                    yield File(blob.name[len(root) :], blob.size, tag=str(blob.generation))

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        with self._faults(key):
            try:
                self._bucket.blob(self._location.key(key)).delete(**self._patience)
            except api.NotFound as error:
                if self._reason(error) != "file":
                    raise

    def close(self) -> None:
        """See `Store.close`."""
        self._client.close()

    def _find(self, key: str) -> tuple[File, int]:
        blob = self._bucket.blob(self._location.key(key))
        with self._faults(key):
            blob.reload(**self._patience)
        checksum = (blob.metadata or {}).get(CHECKSUM_NAME, "")
        return File(key, blob.size, checksum), blob.generation

    def _where(self, key: str) -> str:
        return f"{self._location}/{key}".rstrip("/")

    @contextmanager
    def _faults(self, key: str) -> Iterator[None]:
        try:
            yield
        except (*ERRORS, json.JSONDecodeError) as error:
            cause = _cause(error)
            reason = self._reason(cause)
            raise fault(reason, self.access, self._where(key), _words(cause)) from error

    def _reason(self, error: Exception) -> Reason:
        """Classify a failure; check again if a file or its bucket may be missing."""
        reason = _reason(error)
        if reason == "file" and "No such object" not in _words(error) and self._bucket_is_gone():
            return "bucket"
        return reason

    def _bucket_is_gone(self) -> bool:
        try:
            list(self._client.list_blobs(self._bucket, max_results=1, **self._patience))
        except api.NotFound:
            return True
        except (api.GoogleAPIError, auth.GoogleAuthError, requests.RequestException):
            return False
        return False


def gcs_fault(error: Exception, access: Access, where: str) -> MlopsError:
    """Return the `MlopsError` for one of google-cloud-storage's.

    Args:
        error: One of `ERRORS`.
        access: How the store was reached.
        where: URI of the thing asked for.
    """
    cause = _cause(error)
    return fault(_reason(cause), access, where, _words(cause))


def _cause(error: Exception) -> Exception:
    """Return the cause behind failed retries."""
    cause: Exception = error
    if isinstance(error, api.RetryError) and isinstance(error.cause, Exception):
        cause = error.cause
    return cause


class _Counted:
    """A file that reports the bytes which pass through it."""

    def __init__(self, file: BinaryIO, on_bytes: OnBytes | None) -> None:
        self._file = file
        self._on_bytes = on_bytes or (lambda count: None)

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        self._on_bytes(len(chunk))
        return chunk

    def write(self, chunk: bytes) -> int:
        self._on_bytes(len(chunk))
        return self._file.write(chunk)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as the file has it
        return getattr(self._file, name)


def _credentials(access: Access, where: str) -> tuple[Credentials, str | None]:
    """Return credentials and project, or report at once that there are none."""
    if access.emulated:
        return AnonymousCredentials(), None  # type: ignore[no-untyped-call]
    scopes = [_SCOPE]
    if access.source == "file":
        if not Path(access.name).is_file():
            raise fault("credentials", access, where, f"the file `{access.name}` does not exist")
        return _read_file(access.name, scopes)
    named = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS", "")
    if named and not Path(named).is_file():
        raise fault(
            "credentials", access, where, f"GOOGLE_APPLICATION_CREDENTIALS names `{named}`, no file"
        )
    if not named and (access.source == "environment" or not _logged_in()) and not on_google():
        raise fault("credentials", access, where)
    found: tuple[Credentials, str | None] = google.auth.default(scopes=scopes)
    return found


def _read_file(path: str, scopes: list[str]) -> tuple[Credentials, str | None]:
    """Read a key file of any type; the warning is for files from untrusted sources."""
    found: tuple[Credentials, str | None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        found = google.auth.load_credentials_from_file(path, scopes=scopes)  # type: ignore[no-untyped-call]
    return found


def _logged_in() -> bool:
    """Whether `gcloud auth application-default login` was run here."""
    folder = os.environ.get("CLOUDSDK_CONFIG") or Path.home() / ".config" / "gcloud"
    return (Path(folder) / "application_default_credentials.json").is_file()


def _reason(error: Exception) -> Reason:
    if isinstance(error, api.GoogleAPICallError):
        return _answered(error.response, error.code, _words(error))
    if isinstance(error, InvalidResponse):
        return _answered(error.response, error.response.status_code, _words(error))
    if isinstance(error, auth.DefaultCredentialsError):
        return "credentials"
    if isinstance(error, auth.RefreshError):
        return _not_refreshed(str(error))
    if isinstance(error, json.JSONDecodeError | requests.JSONDecodeError):
        return "protocol"
    if isinstance(error, DataCorruption):
        return "damaged"
    return network_reason(error)


def _answered(response: requests.Response | None, status: int | None, text: str) -> Reason:
    if status in (400, 404, 405, 501) and response is not None and not _is_google(response):
        return "protocol"
    return _by_status(status, text)


def _is_google(response: requests.Response) -> bool:
    """Whether an error was answered as Cloud Storage does: explained in JSON, or signed."""
    return "X-GUploader-UploadID" in response.headers or bool(_explanation(response.text))


def _explanation(text: str) -> str:
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return ""


def _by_status(status: int | None, text: str) -> Reason:
    if status == 404:
        return "bucket" if "specified bucket" in text else "file"
    if status == 401:
        return "credentials" if "nonymous" in text else "token"
    if status == 403:
        return "clock" if "RequestTimeTooSkewed" in text else "permission"
    others: Mapping[int | None, Reason] = {408: "timeout", 504: "timeout", 507: "full"}
    return others.get(status, "failed")


def _not_refreshed(text: str) -> Reason:
    # https://developers.google.com/identity/protocols/oauth2/service-account#error-codes
    if "reasonable timeframe" in text or "iat" in text:
        return "clock"
    if "Signature" in text or "account not found" in text or "invalid_client" in text:
        return "keys"
    return "token"


def _words(error: Exception) -> str:
    response = getattr(error, "response", None)
    explained = _explanation(response.text) if isinstance(response, requests.Response) else ""
    return explained or str(getattr(error, "message", "") or error)
