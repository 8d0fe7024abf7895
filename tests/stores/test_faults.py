"""What goes wrong with a store is told apart, against servers made to fail that way."""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import botocore.auth
import pytest

from mlops.errors import MlopsError
from mlops.registry.stores import open_store
from mlops.registry.stores.access import Patience
from mlops.registry.stores.base import Store
from mlops.settings import load_settings
from tests.gcs import Gcs
from tests.minio import Minio
from tests.servers import unused_port
from tests.stores.sockets import CuttingProxy, answering, silent

_EXPIRED = """<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"""
# A server that is well may be slow where many tests run at once.
_PATIENT = Patience(attempts=1, timeout_s=30.0, deadline_s=5.0)
_HASTY = Patience(attempts=1, timeout_s=1.0, deadline_s=1.0)


@pytest.fixture(autouse=True)
def nobody(clean_environ: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Be somebody without any credentials, on no machine that has some of its own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("K_SERVICE", "KUBERNETES_SERVICE_HOST", "CLOUDSDK_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def bucket(minio: Minio) -> str:
    made = minio.bucket()
    minio.client().put_object(Bucket=made, Key="there", Body=b"x")
    return made


Environ = Callable[[dict[str, str]], None]


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> Environ:
    def put(values: dict[str, str]) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return put


def _open(
    folder: Path, uri: str, endpoint: str = "", patience: Patience = _PATIENT, **flags: Any
) -> Store:
    given = {"artifacts.root": uri, "artifacts.endpoint_url": endpoint or None}
    more = {f"artifacts.{name}": value for name, value in flags.items()}
    return open_store(uri, load_settings(folder, flags=given | more, environ={}), patience)


def _failures(folder: Path, uri: str, endpoint: str = "", **flags: Any) -> dict[str, MlopsError]:
    """Do everything to a store; return the error of each operation that fails."""
    source = folder / "source"
    source.write_bytes(b"x" * 100)
    failed: dict[str, MlopsError] = {}
    operations: dict[str, Callable[[Store], object]] = {
        "put": lambda store: store.put(source, "new"),
        "files": lambda store: list(store.files()),
        "stat": lambda store: store.stat("there"),
        "get": lambda store: store.get("there", folder / "got"),
        "delete": lambda store: store.delete("new"),
    }
    for name, operate in operations.items():
        try:
            store = _open(folder, uri, endpoint, **flags)
        except MlopsError as error:
            return {"open": error}
        try:
            operate(store)
        except MlopsError as error:
            failed[name] = error
        finally:
            store.close()
    assert not (folder / "got").exists() or "get" not in failed
    return failed


def _reasons(failed: dict[str, MlopsError]) -> dict[str, str]:
    assert all(error.hint for error in failed.values())
    return {name: error.reason for name, error in failed.items()}


def _all(reason: str) -> dict[str, str]:
    return dict.fromkeys(("put", "files", "stat", "get", "delete"), reason)


# S3, on a real MinIO.


def test_wrong_keys(minio: Minio, bucket: str, tmp_path: Path, environ: Environ) -> None:
    for variable in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
        environ(minio.environ | {variable: "planted0000secret0000"})
        failed = _failures(tmp_path, f"s3://{bucket}", minio.url)
        assert _reasons(failed) == _all("keys")
        assert all("AWS_SECRET_ACCESS_KEY" in (error.hint or "") for error in failed.values())
        assert "planted" not in str([(error.message, error.hint) for error in failed.values()])


def test_a_bucket_that_does_not_exist(minio: Minio, tmp_path: Path, environ: Environ) -> None:
    environ(minio.environ)
    failed = _failures(tmp_path, "s3://no-such-bucket-here/p", minio.url)
    assert _reasons(failed) == _all("bucket")
    command = f"aws s3 mb s3://no-such-bucket-here --endpoint-url {minio.url}"
    assert command in (failed["put"].hint or "")


def test_denied_permissions(minio: Minio, bucket: str, tmp_path: Path, environ: Environ) -> None:
    reader = minio.keys_for("s3:GetObject", "s3:ListBucket", bucket=bucket)
    environ(minio.environ | reader.environ)
    failed = _failures(tmp_path, f"s3://{bucket}", minio.url)
    assert _reasons(failed) == {"put": "permission", "delete": "permission"}
    assert "s3:PutObject" in (failed["put"].hint or "")


def test_a_read_only_bucket(minio: Minio, tmp_path: Path, environ: Environ) -> None:
    writer = minio.keys_for("s3:PutObject")
    environ(minio.environ | writer.environ)
    made = minio.bucket()
    minio.client().put_object(Bucket=made, Key="there", Body=b"x")
    failed = _failures(tmp_path, f"s3://{made}", minio.url)
    assert _reasons(failed) == dict.fromkeys(("files", "stat", "get", "delete"), "permission")


def test_temporary_keys_that_the_store_has_forgotten(
    minio: Minio, own_minio: Minio, bucket: str, tmp_path: Path, environ: Environ
) -> None:
    """MinIO answers to expired keys as to unknown ones; none live shorter than fifteen minutes."""
    environ(minio.environ | own_minio.keys_for("s3:*").environ)
    failed = _failures(tmp_path, f"s3://{bucket}", minio.url)
    assert _reasons(failed) == _all("token")
    assert "AWS_SESSION_TOKEN" in (failed["put"].hint or "")


def test_a_token_that_is_not_of_its_keys(
    minio: Minio, bucket: str, tmp_path: Path, environ: Environ
) -> None:
    keys = minio.keys_for("s3:*")
    environ(minio.environ | keys.environ | {"AWS_SESSION_TOKEN": f"x{keys.token[1:]}"})
    assert _reasons(_failures(tmp_path, f"s3://{bucket}", minio.url)) == _all("token")


def test_an_expired_token_in_amazons_words(tmp_path: Path, environ: Environ) -> None:
    """Not a real store: no store of ours says this, so a server says what Amazon documents."""
    environ({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c"})
    with answering(400, _EXPIRED, "application/xml") as url:
        assert _reasons(_failures(tmp_path, "s3://bucket", url)) == _all("token")


def test_a_wrong_clock(
    minio: Minio,
    bucket: str,
    tmp_path: Path,
    environ: Environ,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The clock that requests are signed by is an hour slow."""
    now = botocore.auth.get_current_datetime
    monkeypatch.setattr(
        botocore.auth,
        "get_current_datetime",
        lambda *words, **options: now(*words, **options) - dt.timedelta(hours=1),
    )
    environ(minio.environ)
    failed = _failures(tmp_path, f"s3://{bucket}", minio.url)
    assert _reasons(failed) == _all("clock")
    assert "clock" in (failed["put"].hint or "")


@pytest.mark.parametrize(
    ("environment", "credentials", "word"),
    [
        ({}, "", ""),
        ({"AWS_ACCESS_KEY_ID": "planted"}, "", "AWS_SECRET_ACCESS_KEY"),
        ({}, "environment", "AWS_ACCESS_KEY_ID"),
        ({}, "profile:nobody", "nobody"),
        ({}, "file:nowhere", "nowhere"),
        ({"AWS_PROFILE": "nobody"}, "", "nobody"),
    ],
)
def test_no_credentials_for_s3(
    tmp_path: Path,
    environ: Environ,
    environment: dict[str, str],
    credentials: str,
    word: str,
) -> None:
    environ(environment)
    started = time.monotonic()
    failed = _failures(tmp_path, "s3://bucket", "http://127.0.0.1:1", credentials=credentials)
    assert _reasons(failed) == {"open": "credentials"}
    error = failed["open"]
    assert word in f"{error.message} {error.hint}"
    assert "planted" not in f"{error.message} {error.hint}"
    assert error.exit_code == 4
    assert time.monotonic() - started < 5


# Cloud Storage.


def test_a_cloud_bucket_that_does_not_exist(gcs: Gcs, tmp_path: Path) -> None:
    failed = _failures(tmp_path, "gs://no-such-bucket", gcs.url)
    assert _reasons(failed) == _all("bucket")
    assert "gcloud storage buckets create gs://no-such-bucket" in (failed["put"].hint or "")


@pytest.mark.parametrize(
    ("variable", "credentials", "word"),
    [
        ("", "", "gcloud auth application-default login"),
        ("", "environment", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("", "file:nowhere.json", "nowhere.json"),
        ("/nowhere.json", "", "/nowhere.json"),
    ],
)
def test_no_credentials_for_cloud_storage_are_told_at_once(
    tmp_path: Path, environ: Environ, variable: str, credentials: str, word: str
) -> None:
    """google-auth, and MLflow with it, tries for a minute and a half."""
    environ({"GOOGLE_APPLICATION_CREDENTIALS": variable} if variable else {})
    started = time.monotonic()
    failed = _failures(tmp_path, "gs://bucket", credentials=credentials)
    assert _reasons(failed) == {"open": "credentials"}
    assert word in f"{failed['open'].message} {failed['open'].hint}"
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Invalid JWT: Token must be a short-lived token and in a reasonable timeframe", "clock"),
        ("Invalid JWT Signature.", "keys"),
        ("Token has been expired or revoked.", "token"),
    ],
)
def test_keys_that_google_does_not_take(tmp_path: Path, said: str, reason: str) -> None:
    """Not Google: a server says what Google documents; the request to it is the real one."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    private = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    answer = json.dumps({"error": "invalid_grant", "error_description": said})
    with answering(400, answer, "application/json") as url:
        key = {
            "type": "service_account",
            "client_email": "tests@example.com",
            "private_key": private.decode(),
            "token_uri": url,
            "project_id": "tests",
        }
        (tmp_path / "key.json").write_text(json.dumps(key))
        with pytest.raises(MlopsError) as caught:
            list(_open(tmp_path, "gs://bucket", credentials="file:key.json").files())
    assert caught.value.reason == reason
    assert "PRIVATE" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    ("status", "said", "reason"),
    [
        (403, "me@x does not have storage.objects.list access to the bucket.", "permission"),
        (404, "The specified bucket does not exist.", "bucket"),
        (404, "No such object: bucket/there", "file"),
    ],
)
def test_what_cloud_storage_says(tmp_path: Path, status: int, said: str, reason: str) -> None:
    """Not Google: fake-gcs-server lets everybody in, so a server says what Google documents."""
    body = json.dumps({"error": {"code": status, "message": said, "errors": [{"message": said}]}})
    with answering(status, body, "application/json") as url:
        failed = _failures(tmp_path, "gs://bucket", url)
    # A file that is not there is no fault of `delete`.
    expected = _all(reason) if reason != "file" else dict.fromkeys(_all(reason), "file")
    expected = {k: v for k, v in expected.items() if (k, v) != ("delete", "file")}
    assert _reasons(failed) == expected
    assert said in failed["stat"].message


# The network, for both.

_KINDS = ["s3", "gs"]


@pytest.fixture(params=_KINDS)
def kind(request: pytest.FixtureRequest, environ: Environ) -> str:
    """A kind of store, and keys that any MinIO would want to see."""
    environ({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})
    return str(request.param)


def _puts(folder: Path, uri: str, endpoint: str, patience: Patience = _PATIENT) -> MlopsError:
    source = folder / "source"
    source.write_bytes(b"x")
    store = _open(folder, uri, endpoint, patience)
    started = time.monotonic()
    with pytest.raises(MlopsError) as caught:
        store.put(source, "new")
    store.close()
    assert time.monotonic() - started < 15
    return caught.value


def test_a_port_without_a_listener(kind: str, tmp_path: Path) -> None:
    endpoint = f"http://127.0.0.1:{unused_port()}"
    error = _puts(tmp_path, f"{kind}://bucket", endpoint)
    assert error.reason == "refused"
    assert endpoint in error.message
    variable = {"s3": "MLFLOW_S3_ENDPOINT_URL", "gs": "STORAGE_EMULATOR_HOST"}[kind]
    assert variable in (error.hint or "")


def test_no_such_host(kind: str, tmp_path: Path) -> None:
    assert _puts(tmp_path, f"{kind}://bucket", "http://store.invalid:9").reason == "address"


def test_a_server_without_tls(minio: Minio, tmp_path: Path, environ: Environ) -> None:
    environ(minio.environ)
    error = _puts(tmp_path, "s3://bucket", minio.url.replace("http:", "https:"))
    assert error.reason == "tls"


def test_a_server_that_says_nothing(kind: str, tmp_path: Path) -> None:
    with silent() as url:
        assert _puts(tmp_path, f"{kind}://bucket", url, _HASTY).reason == "timeout"


@pytest.mark.parametrize("status", [200, 404, 405])
def test_another_kind_of_server(kind: str, tmp_path: Path, status: int) -> None:
    with answering(status, "<html><body>hello</body></html>") as url:
        store = _open(tmp_path, f"{kind}://bucket", url)
        with pytest.raises(MlopsError) as caught:
            list(store.files())
        store.close()
    assert caught.value.reason == "protocol"
    assert url in caught.value.message


# In the middle of it.


@contextmanager
def _patient(folder: Path, uri: str, endpoint: str) -> Iterator[Store]:
    given = {"artifacts.root": uri, "artifacts.endpoint_url": endpoint}
    store = open_store(uri, load_settings(folder, flags=given, environ={}), _PATIENT)
    try:
        yield store
    finally:
        store.close()


def _stopped_while_sending(server: Minio | Gcs, store: Store, folder: Path) -> MlopsError:
    source = folder / "large"
    with source.open("wb") as file:
        file.truncate(200 << 20)
    stopping = threading.Event()

    def stop(count: int) -> None:
        if not stopping.is_set():
            stopping.set()
            server.server.stop()

    with pytest.raises(MlopsError) as caught:
        store.put(source, "large", sha256="0" * 64, on_bytes=stop)
    assert stopping.is_set()
    return caught.value


def test_minio_stopped_in_the_middle_of_an_upload(
    own_minio: Minio, tmp_path: Path, environ: Environ
) -> None:
    environ(own_minio.environ)
    with _patient(tmp_path, f"s3://{own_minio.bucket()}", own_minio.url) as store:
        error = _stopped_while_sending(own_minio, store, tmp_path)
        assert error.reason in ("refused", "broken", "failed")
        assert error.exit_code == 6
        own_minio.server.restart()
        assert list(store.files()) == []


def test_cloud_storage_stopped_in_the_middle_of_an_upload(own_gcs: Gcs, tmp_path: Path) -> None:
    with _patient(tmp_path, f"gs://{own_gcs.bucket()}", own_gcs.url) as store:
        error = _stopped_while_sending(own_gcs, store, tmp_path)
        assert error.reason in ("refused", "broken", "failed")
        own_gcs.server.restart()
        assert list(store.files()) == []


@pytest.mark.parametrize("size", [1 << 20, 24 << 20])
def test_a_download_that_is_cut_off_leaves_nothing(
    request: pytest.FixtureRequest, kind: str, tmp_path: Path, environ: Environ, size: int
) -> None:
    server: Minio | Gcs = request.getfixturevalue("minio" if kind == "s3" else "gcs")
    environ(server.environ)
    proxy = CuttingProxy(server.url)
    source = tmp_path / "source"
    source.write_bytes(b"x" * size)
    target = tmp_path / "new" / "target"
    try:
        with _patient(tmp_path, f"{kind}://{server.bucket()}", proxy.url) as store:
            store.put(source, "a")
            proxy.budget = 100_000
            with pytest.raises(MlopsError) as caught:
                store.get("a", target)
            assert caught.value.exit_code == 6
            assert list(target.parent.iterdir()) == []
            proxy.budget = None
            store.get("a", target)
            assert target.stat().st_size == size
    finally:
        proxy.close()


def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    """A file where a folder belongs stops root too."""
    (tmp_path / "blocked").write_bytes(b"")
    failed = _failures(tmp_path, str(tmp_path / "blocked" / "root"))
    assert failed["put"].hint
    assert failed["put"].reason == "failed"
