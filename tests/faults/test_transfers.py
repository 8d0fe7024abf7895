"""Transfers that end in the middle: nothing half-written is used, and the next attempt goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from mlops.errors import NotFoundError, RemoteError
from mlops.registry import fetched
from mlops.registry.artifact_digest import read_content
from mlops.registry.artifact_manifest import pin
from mlops.registry.cache import open_cache
from mlops.registry.pull import pull
from mlops.registry.push import push
from mlops.registry.refs import resolve_all
from mlops.settings import Settings, load_settings
from tests.gcs import Gcs
from tests.minio import Minio
from tests.stores.sockets import CuttingProxy

_LARGE = 32 << 20

# Tells how far it is on its standard output, and is killed there.
_PUSH = """
import sys
from mlops.registry.push import push
from mlops.settings import load_settings
tell = lambda done, total: print(done, flush=True)
push(load_settings(), sys.argv[1], sys.argv[2], show=tell)
"""
_FETCH = """
import sys
from mlops.registry import fetched
from mlops.registry.artifact_manifest import pin
from mlops.registry.refs import resolve_all
from mlops.settings import load_settings
settings = load_settings()
tell = lambda done, total: print(done, flush=True)
version = pin(resolve_all(settings, sys.argv[1:])[0], settings)
with fetched([version], settings, tell):
    pass
"""


@pytest.fixture
def settings(clean_environ: None, tmp_path: Path) -> Settings:
    (tmp_path / "mlops.toml").touch()
    return load_settings(tmp_path, environ={})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model with a large file, and some small ones."""
    folder = tmp_path_factory.mktemp("model") / "model"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {}\n")
    (folder / "large").write_bytes(os.urandom(_LARGE))
    for number in range(3):
        (folder / f"small{number}").write_bytes(os.urandom(100_000))
    return folder


def be_in(monkeypatch: pytest.MonkeyPatch, environ: Mapping[str, str]) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)


def fetch(settings: Settings, uri: str) -> Path:
    (version,) = resolve_all(settings, [uri])
    with fetched([pin(version, settings)], settings) as (folder,):
        return folder


def kill_at(script: str, *words: str, done: int, folder: Path) -> None:
    """Run a script and kill it when it says that so many bytes are done."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *words], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        assert any(int(line) >= done for line in process.stdout)
        process.kill()
        assert process.wait() == -signal.SIGKILL


def test_a_store_that_stops_in_the_middle_of_a_push(
    own_minio: Minio, model: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_in(monkeypatch, own_minio.environ)
    uri = f"s3://{own_minio.bucket()}/model"
    once = threading.Lock()

    def stop(done: int, total: int) -> None:
        if done > total / 2 and once.acquire(blocking=False):
            own_minio.server.stop()

    with pytest.raises(RemoteError):
        push(settings, str(model), uri, show=stop)
    own_minio.server.start()
    with pytest.raises(NotFoundError, match="is incomplete"):
        fetch(settings, uri)
    resumed = push(settings, str(model), uri)
    assert resumed.change == "resume"
    assert read_content(fetch(settings, uri)) == read_content(model)


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_push_that_is_killed(
    scheme: str,
    request: pytest.FixtureRequest,
    model: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server: Minio | Gcs = request.getfixturevalue({"s3": "minio", "gs": "gcs"}[scheme])
    be_in(monkeypatch, server.environ)
    uri = f"{scheme}://{server.bucket()}/model"
    kill_at(_PUSH, str(model), uri, done=1, folder=settings.project_dir)
    with pytest.raises(NotFoundError, match="is incomplete"):
        fetch(settings, uri)
    with pytest.raises(NotFoundError, match="is incomplete"):
        pull(settings, uri, settings.project_dir / "pulled")
    assert push(settings, str(model), uri).change == "resume"
    assert read_content(fetch(settings, uri)) == read_content(model)


@pytest.fixture
def cut(
    minio: Minio, monkeypatch: pytest.MonkeyPatch, clean_environ: None
) -> Iterator[tuple[CuttingProxy, str]]:
    """Return a proxy in front of MinIO, and a free place behind it.

    What becomes of a single file is tested for every kind of store where the stores are.
    """
    proxy = CuttingProxy(minio.url)
    be_in(monkeypatch, minio.environ | {"MLFLOW_S3_ENDPOINT_URL": proxy.url})
    yield proxy, f"s3://{minio.bucket()}/model"
    proxy.close()


def test_a_download_that_is_cut_off(
    cut: tuple[CuttingProxy, str], model: Path, settings: Settings
) -> None:
    proxy, uri = cut
    push(settings, str(model), uri)
    target = settings.project_dir / "pulled"
    for bring in (lambda: fetch(settings, uri), lambda: pull(settings, uri, target)):
        proxy.budget = _LARGE // 2
        with pytest.raises(RemoteError):
            bring()
        assert open_cache(settings).models() == ()
        assert not target.exists()
        assert not list(settings.project_dir.glob(".pulled*"))
    proxy.budget = None
    assert read_content(fetch(settings, uri)) == read_content(model)
    assert pull(settings, uri, target).digest == read_content(model).digest


def test_a_download_that_is_killed_is_gone_on_with(
    minio: Minio, model: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_in(monkeypatch, minio.environ)
    uri = f"s3://{minio.bucket()}/model"
    push(settings, str(model), uri)
    kill_at(_FETCH, uri, done=_LARGE // 2, folder=settings.project_dir)
    cache = open_cache(settings)
    assert cache.models() == ()
    (part,) = cache.prune(dry_run=True).parts
    arrived = {path.name: path.stat().st_ino for path in part.glob("small*")}
    assert arrived
    folder = fetch(settings, uri)
    assert read_content(folder) == read_content(model)
    assert {name: (folder / name).stat().st_ino for name in arrived} == arrived
    assert cache.prune(dry_run=True).parts == ()
