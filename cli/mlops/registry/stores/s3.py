"""Amazon S3 and what speaks its protocol, MinIO above all, through boto3."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import boto3
from boto3.exceptions import Boto3Error
from botocore import exceptions as boto
from botocore.config import Config
from botocore.parsers import ResponseParserError

from mlops.errors import MlopsError
from mlops.registry.stores.access import AWS_KEYS, Access
from mlops.registry.stores.base import (
    CHECKSUM_NAME,
    File,
    Location,
    OnBytes,
    check_arrival,
    file_checksum,
)
from mlops.registry.stores.faults import Reason, fault, network_reason
from mlops.registry.stores.multipart import PART_SIZE, PartsUpload

_CONNECTIONS = 32
_THREADS = 8
_PART = ".part-"
_PAGE = 1000

#: What boto3 raises.
ERRORS = (boto.BotoCoreError, boto.ClientError, Boto3Error, ResponseParserError)

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html, and MinIO's own.
_REASONS: Mapping[str, Reason] = {
    "NoSuchBucket": "bucket",
    "NoSuchKey": "file",
    "AccessDenied": "permission",
    "AllAccessDisabled": "permission",
    "MethodNotAllowed": "permission",
    "InvalidAccessKeyId": "keys",
    "SignatureDoesNotMatch": "keys",
    "InvalidToken": "token",
    "InvalidTokenId": "token",
    "ExpiredToken": "token",
    "ExpiredTokenException": "token",
    "TokenRefreshRequired": "token",
    "RequestTimeTooSkewed": "clock",
    "RequestExpired": "clock",
    "PermanentRedirect": "region",
    "AuthorizationHeaderMalformed": "region",
    "IllegalLocationConstraintException": "region",
    "RequestTimeout": "timeout",
    "XMinioStorageFull": "full",
    "BadDigest": "damaged",
}
# Statuses of answers to HEAD, which have no body.
_BY_STATUS: Mapping[int, Reason] = {
    301: "region",
    403: "permission",
    404: "file",
    405: "protocol",
}


class S3Store:
    """Keys are keys of a bucket; the checksum is in a file's metadata.

    A file of more than 8 MiB is sent in parts by several threads. Parts that arrived before a push
    was interrupted are not sent again.
    """

    def __init__(self, location: Location, access: Access) -> None:
        self._location = location
        self.access = access
        self._bucket = location.bucket
        # Of all files at once, so that many large ones open no more connections than one.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="mlops-s3")
        with self._faults(""):
            session = _session(access, str(location))
            keys = _check_credentials(session, access, str(location))
            self._temporary = bool(keys.token)
            self._client = session.client(
                "s3", endpoint_url=access.endpoint or None, config=_config(access)
            )

    @property
    def location(self) -> Location:
        """Bucket and prefix."""
        return self._location

    def put(
        self, source: Path, key: str, *, sha256: str = "", on_bytes: OnBytes | None = None
    ) -> File:
        """See `Store.put`."""
        stored = File(key, source.stat().st_size, sha256 or file_checksum(source))
        with self._faults(key):
            if stored.size > PART_SIZE:
                self._put_parts(source, key, stored, on_bytes)
            else:
                self._put_whole(source, key, stored, on_bytes)
        return stored

    def get(self, key: str, target: Path, *, on_bytes: OnBytes | None = None) -> File:
        """See `Store.get`."""
        expected = self.stat(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_PART, dir=target.parent) as folder:
            part = Path(folder) / "part"
            with self._faults(key):
                self._client.download_file(
                    self._bucket, self._location.key(key), str(part), Callback=on_bytes
                )
            check_arrival(part, expected, self._where(key))
            part.replace(target)
        return expected

    def stat(self, key: str) -> File:
        """See `Store.stat`."""
        named = {"Bucket": self._bucket, "Key": self._location.key(key)}
        with self._faults(key):
            try:
                head = self._client.head_object(**named)
            except boto.ClientError as error:
                # The answer to HEAD has no body that would say why.
                if _status(error) not in (400, 403, 404):
                    raise
                body = self._client.get_object(**named, Range="bytes=0-0")["Body"]
                body.close()
                raise
        return File(key, head["ContentLength"], head["Metadata"].get(CHECKSUM_NAME, ""))

    def files(self, prefix: str = "") -> Iterator[File]:
        """See `Store.files`."""
        root = f"{self._location.prefix}/" if self._location.prefix else ""
        pages = self._client.get_paginator("list_objects_v2")
        with self._faults(prefix):
            for page in pages.paginate(
                Bucket=self._bucket, Prefix=root + prefix, PaginationConfig={"PageSize": _PAGE}
            ):
                if page.get("Name") != self._bucket:
                    raise fault("protocol", self.access, self._where(prefix))
                for entry in page.get("Contents", ()):
                    # A console makes empty objects to look like folders.
                    if not entry["Key"].endswith("/"):
                        yield File(entry["Key"][len(root) :], entry["Size"], tag=entry["ETag"])

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        with self._faults(key):
            self._client.delete_object(Bucket=self._bucket, Key=self._location.key(key))

    def close(self) -> None:
        """See `Store.close`."""
        self._threads.shutdown(cancel_futures=True)
        self._client.close()

    def _put_whole(self, source: Path, key: str, stored: File, on_bytes: OnBytes | None) -> None:
        self._client.put_object(
            Bucket=self._bucket,
            Key=self._location.key(key),
            Body=source.read_bytes(),
            Metadata={CHECKSUM_NAME: stored.sha256},
        )
        if on_bytes is not None:
            on_bytes(stored.size)

    def _put_parts(self, source: Path, key: str, stored: File, on_bytes: OnBytes | None) -> None:
        upload = PartsUpload(
            self._client,
            self._threads,
            self._bucket,
            self._location.key(key),
            on_bytes or (lambda count: None),
        )
        upload.send(source, stored.sha256)

    def _where(self, key: str) -> str:
        return f"{self._location}/{key}".rstrip("/")

    @contextmanager
    def _faults(self, key: str) -> Iterator[None]:
        try:
            yield
        except ERRORS as error:
            temporary = getattr(self, "_temporary", False)
            raise s3_fault(error, self.access, self._where(key), temporary=temporary) from error


def s3_fault(
    error: Exception, access: Access, where: str, *, temporary: bool = False
) -> MlopsError:
    """Return the `MlopsError` for one of boto3's.

    Args:
        error: One of `ERRORS`.
        access: How the store was reached.
        where: URI of the thing asked for.
        temporary: Whether the keys have a session token.
    """
    cause = _cause(error)
    return fault(_reason(cause, temporary=temporary), access, where, _words(cause))


def _session(access: Access, where: str) -> boto3.Session:
    region = access.region or None
    if access.source == "profile":
        return boto3.Session(profile_name=access.name, region_name=region)
    if access.source == "file":
        if not Path(access.name).is_file():
            raise fault("credentials", access, where, f"the file `{access.name}` does not exist")
        from botocore.session import Session

        core = Session()
        core.set_config_variable("credentials_file", access.name)
        # A profile of another file, and keys in the environment, do not apply.
        core.set_config_variable("profile", "default")
        return boto3.Session(botocore_session=core, region_name=region)
    if access.source == "environment":
        access_key, secret, token = (os.environ.get(name) for name in AWS_KEYS)
        if not access_key or not secret:
            raise boto.NoCredentialsError
        return boto3.Session(access_key, secret, token, region_name=region)
    return boto3.Session(region_name=region)


@dataclass(frozen=True, slots=True)
class Keys:
    """Credentials that boto3 found at a source; in no `repr`.

    Attributes:
        access_key: The id.
        secret_key: The secret.
        token: Of temporary keys.
    """

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str = field(repr=False)


def find_keys(access: Access, where: str) -> Keys:
    """Return the keys of a source.

    Raises:
        NotAllowedError: There are none.
    """
    try:
        return _check_credentials(_session(access, where), access, where)
    except boto.BotoCoreError as error:
        raise fault("credentials", access, where, str(error)) from error


def _check_credentials(session: boto3.Session, access: Access, where: str) -> Keys:
    found = session.get_credentials()
    if found is None:
        detail = f"the file `{access.name}` has none" if access.source == "file" else ""
        raise fault("credentials", access, where, detail)
    frozen = found.get_frozen_credentials()
    return Keys(frozen.access_key, frozen.secret_key, frozen.token or "")


def _config(access: Access) -> Config:
    return Config(
        connect_timeout=access.patience.timeout_s,
        read_timeout=access.patience.timeout_s,
        retries={"mode": "standard", "total_max_attempts": access.patience.attempts},
        max_pool_connections=_CONNECTIONS,
    )


def _cause(error: Exception) -> Exception:
    """Return the cause of the errors of boto3's transfers, which have only a text."""
    last = getattr(error, "last_exception", None) or error.__context__
    return last if isinstance(error, Boto3Error) and isinstance(last, Exception) else error


def _status(error: boto.ClientError) -> int:
    status: int = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status


def _reason(error: Exception, *, temporary: bool) -> Reason:
    if isinstance(error, boto.ClientError):
        return _answered(error, temporary=temporary)
    missing = (
        boto.NoCredentialsError,
        boto.PartialCredentialsError,
        boto.ProfileNotFound,
        boto.CredentialRetrievalError,
    )
    if isinstance(error, missing):
        return "credentials"
    expired = (boto.UnauthorizedSSOTokenError, boto.TokenRetrievalError, boto.SSOTokenLoadError)
    if isinstance(error, expired):
        return "token"
    if isinstance(error, ResponseParserError):
        return "protocol"
    if isinstance(error, boto.HTTPClientError | boto.ConnectionError):
        return network_reason(error.kwargs.get("error") or error)
    return "failed"


def _answered(error: boto.ClientError, *, temporary: bool) -> Reason:
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code == "InvalidAccessKeyId" and temporary:
        # MinIO forgets temporary keys when they expire.
        return "token"
    if code in _REASONS:
        return _REASONS[code]
    if error.operation_name.startswith("Head"):
        return _BY_STATUS.get(_status(error), "failed")
    # A store names its errors; no name, or a number, is what some other server said.
    named = bool(code) and not code.isdigit()
    return "failed" if named or _status(error) >= 500 else "protocol"


def _words(error: Exception) -> str:
    if not isinstance(error, boto.ClientError):
        return str(error)
    said = error.response.get("Error", {})
    return f"{said.get('Message') or error} ({said.get('Code')}, {error.operation_name})"
