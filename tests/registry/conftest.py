from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlops.settings import Settings, load_settings
from tests.gcs import Gcs
from tests.minio import Minio

MakeModel = Callable[..., Path]


@dataclass(frozen=True, slots=True)
class Corner:
    """A project and a free place in a store.

    Attributes:
        settings: The project, which knows how to reach the store.
        uri: The place.
    """

    settings: Settings
    uri: str


@pytest.fixture(scope="session")
def buckets() -> dict[str, str]:
    """Remember the bucket of these tests on each server."""
    return {}


@pytest.fixture(params=["file", "s3", "gs"])
def corner(
    request: pytest.FixtureRequest,
    clean_environ: None,
    monkeypatch: pytest.MonkeyPatch,
    buckets: dict[str, str],
    tmp_path: Path,
) -> Corner:
    """Return a free place in each kind of store."""
    settings = load_settings(tmp_path, environ={})
    if request.param == "file":
        return Corner(settings, str(tmp_path / "places" / "model"))
    server: Minio | Gcs = request.getfixturevalue({"s3": "minio", "gs": "gcs"}[request.param])
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    if server.url not in buckets:
        buckets[server.url] = server.bucket()
    return Corner(settings, f"{request.param}://{buckets[server.url]}/{uuid.uuid4().hex}/model")


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Return a function that writes a folder which looks like a model to a store."""

    def make(name: str = "saved", **files: bytes) -> Path:
        folder = tmp_path / name
        (folder / "data").mkdir(parents=True)
        (folder / "MLmodel").write_text(f"flavors: {{}}\nmodel_uuid: {name}\n")
        (folder / "data" / "model.bin").write_bytes(files.pop("model", b"the model"))
        (folder / "empty").touch()
        for other, content in files.items():
            (folder / other).write_bytes(content)
        return folder

    return make
