"""Large files to S3: what arrived before an upload was broken off is not sent again."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops.registry.stores import open_store
from mlops.registry.stores.multipart import PART_SIZE
from mlops.registry.stores.s3 import S3Store
from mlops.settings import load_settings
from tests.minio import Minio

_PARTS = 12


class _PlugPulledError(Exception):
    """Something ended the upload."""


@pytest.fixture(scope="module")
def bucket(minio: Minio) -> str:
    return minio.bucket()


@pytest.fixture
def store(
    minio: Minio,
    bucket: str,
    clean_environ: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[S3Store]:
    for name, value in minio.environ.items():
        monkeypatch.setenv(name, value)
    opened = open_store(f"s3://{bucket}/{request.node.name}", load_settings(tmp_path, environ={}))
    assert isinstance(opened, S3Store)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of several parts, the last of them short."""
    path = tmp_path_factory.mktemp("large") / "large"
    path.write_bytes(os.urandom((_PARTS - 1) * PART_SIZE) + b"end")
    return path


def sent_by(store: S3Store) -> list[int]:
    """Return a list that is told the number of each part that is sent."""
    numbers: list[int] = []

    def tell(params: dict[str, Any], **_: object) -> None:
        numbers.append(int(params["query_string"]["partNumber"]))

    store._client.meta.events.register("before-call.s3.UploadPart", tell)
    return numbers


def break_off(store: S3Store, path: Path, after: int) -> None:
    """Send a file until so many parts have arrived."""
    lock, arrived = threading.Lock(), [0]

    def pull_the_plug(count: int) -> None:
        with lock:
            arrived[0] += 1
            if arrived[0] >= after:
                raise _PlugPulledError

    with pytest.raises(_PlugPulledError):
        store.put(path, "large", on_bytes=pull_the_plug)
    # What was on its way then arrives, or does not; let it, before anybody counts.
    store._threads.shutdown()


def again(store: S3Store, tmp_path: Path) -> S3Store:
    opened = open_store(str(store.location), load_settings(tmp_path, environ={}))
    assert isinstance(opened, S3Store)
    return opened


def uploads(minio: Minio, store: S3Store) -> list[dict[str, Any]]:
    """Return the unfinished uploads to the key."""
    named = {"Bucket": store.location.bucket, "Prefix": store.location.key("large")}
    found: list[dict[str, Any]] = minio.client().list_multipart_uploads(**named).get("Uploads", [])
    return found


def arrived(minio: Minio, store: S3Store, upload: dict[str, Any]) -> set[int]:
    named = {"Bucket": store.location.bucket, "Key": upload["Key"]}
    parts = minio.client().list_parts(**named, UploadId=upload["UploadId"]).get("Parts", [])
    return {part["PartNumber"] for part in parts}


def test_an_upload_is_gone_on_with(
    store: S3Store, minio: Minio, large: Path, tmp_path: Path
) -> None:
    break_off(store, large, after=3)
    (upload,) = uploads(minio, store)
    there = arrived(minio, store, upload)
    # On a busy machine the others were on their way before the plug was pulled.
    assert 3 <= len(there) <= _PARTS

    second = again(store, tmp_path)
    sent = sent_by(second)
    told: list[int] = []
    file = second.put(large, "large", on_bytes=told.append)
    assert sorted(sent) == sorted(set(range(1, _PARTS + 1)) - there)
    assert sum(told) == file.size == large.stat().st_size
    assert uploads(minio, store) == []
    assert second.get("large", tmp_path / "back") == file
    assert (tmp_path / "back").read_bytes() == large.read_bytes()


def changed(large: Path, tmp_path: Path, position: int) -> Path:
    path = tmp_path / "changed"
    content = bytearray(large.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("position", [0, -1], ids=["first byte", "last byte"])
def test_parts_of_another_file_are_not_taken_for_its_own(
    store: S3Store, minio: Minio, large: Path, tmp_path: Path, position: int
) -> None:
    """Also where only what did not arrive differs: then the metadata are the other file's."""
    break_off(store, large, after=3)
    other = changed(large, tmp_path, position)
    second = again(store, tmp_path)
    told: list[int] = []
    file = second.put(other, "large", on_bytes=told.append)
    assert file.sha256 == hashlib.sha256(other.read_bytes()).hexdigest()
    assert sum(told) == file.size
    assert second.stat("large") == file
    assert second.get("large", tmp_path / "back") == file
    assert uploads(minio, store) == []
    second.close()


def test_who_may_only_write_can_push(
    minio: Minio,
    bucket: str,
    large: Path,
    tmp_path: Path,
    clean_environ: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = minio.keys_for("s3:PutObject", "s3:GetObject", bucket=bucket)
    for name, value in (minio.environ | keys.environ).items():
        monkeypatch.setenv(name, value)
    store = open_store(f"s3://{bucket}/writer", load_settings(tmp_path, environ={}))
    file = store.put(large, "large")
    assert store.stat("large") == file
    store.close()
