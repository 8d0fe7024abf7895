"""The servers of the tests are what they say."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from tests.fixtures_stores import TrackingServer
from tests.gcs import Gcs
from tests.minio import Minio

pytestmark = pytest.mark.usefixtures("clean_environ")


def test_minio_keeps_what_it_was_given_over_a_restart(own_minio: Minio) -> None:
    bucket = own_minio.bucket()
    own_minio.client().put_object(Bucket=bucket, Key="a/b", Body=b"x")
    own_minio.server.restart()
    assert own_minio.client().get_object(Bucket=bucket, Key="a/b")["Body"].read() == b"x"


def test_minio_gives_keys_that_may_only_read(minio: Minio) -> None:
    bucket = minio.bucket()
    minio.client().put_object(Bucket=bucket, Key="a", Body=b"x")
    reader = minio.client(keys=minio.keys_for("s3:GetObject", bucket=bucket))
    assert reader.get_object(Bucket=bucket, Key="a")["Body"].read() == b"x"
    with pytest.raises(reader.exceptions.ClientError, match="AccessDenied"):
        reader.put_object(Bucket=bucket, Key="b", Body=b"x")


def test_gcs_keeps_what_it_was_given_over_a_restart(own_gcs: Gcs, tmp_path: Path) -> None:
    bucket = own_gcs.bucket()
    client = own_gcs.client()
    client.bucket(bucket).blob("a/b").upload_from_string(b"x")
    own_gcs.server.restart()
    assert client.bucket(bucket).blob("a/b").download_as_bytes() == b"x"
    client.close()


def test_mlflow_servers_answer(
    proxied_mlflow: TrackingServer, direct_mlflow: TrackingServer
) -> None:
    for server in (proxied_mlflow, direct_mlflow):
        with urllib.request.urlopen(f"{server.uri}/version") as answer:
            assert answer.status == 200
