"""The cache of downloads: what is used stays, what was not used for the longest time goes."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops.errors import ConflictError
from mlops.registry import artifact_digest, fetched, fetching
from mlops.registry.artifact_digest import read_content
from mlops.registry.artifact_manifest import pin
from mlops.registry.cache import Cache, open_cache
from mlops.registry.cache_lease import Lease, lock_of
from mlops.registry.locks import locked
from mlops.settings import load_settings
from mlops.spec.model import ModelVersion
from tests.registry.conftest import MakeModel

Add = Callable[..., Path]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """Return an empty cache with room for 250 bytes."""
    return Cache(tmp_path / "cache", 250)


@pytest.fixture
def add(cache: Cache, make_model: MakeModel) -> Add:
    """Return a function that adds a model of about 100 bytes, used so many seconds ago."""

    def call(name: str, used_s_ago: int = 0) -> Path:
        model = make_model(name, model=name.encode().ljust(60))
        with cache.part(name) as part:
            shutil.copytree(model, part, dirs_exist_ok=True)
            folder = cache.add(part, read_content(model))
        cache.remember(name, f"s3://bucket/{name}", read_content(model).digest)
        now = lock_of(folder).stat().st_mtime
        os.utime(lock_of(folder), (now - used_s_ago, now - used_s_ago))
        return folder

    return call


def names(cache: Cache) -> list[str]:
    return [model.sources[0].rpartition("/")[2] for model in cache.models()]


def test_the_least_recently_used_goes_first(cache: Cache, add: Add) -> None:
    add("b", 20)
    add("a", 30)
    add("c", 10)
    assert names(cache) == ["c", "b", "a"]
    planned = cache.prune(dry_run=True)
    assert names(cache) == ["c", "b", "a"]
    removed = cache.prune()
    assert [model.sources for model in removed.models] == [("s3://bucket/a",)]
    assert removed.models == planned.models
    assert names(cache) == ["c", "b"]
    assert removed.left == sum(model.size for model in cache.models()) <= 250
    assert cache.prune().models == ()
    assert cache.digest_of("a") == ""
    assert cache.digest_of("b") != ""


def test_use_counts_as_use(cache: Cache, add: Add) -> None:
    oldest, _, _ = add("a", 30), add("b", 20), add("c", 10)
    with Lease() as hold:
        assert hold.take(oldest)
    assert names(cache)[0] == "a"
    cache.prune()
    assert names(cache) == ["a", "c"]


def test_what_is_in_use_stays_whatever_the_limit(cache: Cache, add: Add) -> None:
    used, other = add("used", 30), add("other")
    with Lease() as hold:
        hold.take(used)
        cache.prune(everything=True)
        assert names(cache) == ["used"]
        assert cache.models()[0].in_use
        assert not other.exists()
        hold.keep([])
        assert not cache.models()[0].in_use
    cache.prune(everything=True)
    assert names(cache) == []
    assert not any(path.is_file() for path in used.parent.iterdir() if path.name != "adding.lock")


def _hold(folder: Path, ready: multiprocessing.synchronize.Event) -> None:
    Lease().take(folder)
    ready.set()
    multiprocessing.Event().wait()


def test_a_process_that_dies_lets_go(cache: Cache, add: Add) -> None:
    folder = add("a")
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    process = spawn.Process(target=_hold, args=(folder, ready))
    process.start()
    assert ready.wait(60)
    assert cache.models()[0].in_use
    cache.prune(everything=True)
    assert folder.is_dir()
    process.kill()
    process.join()
    cache.prune(everything=True)
    assert not folder.exists()


def test_equal_content_is_kept_once(cache: Cache, add: Add, make_model: MakeModel) -> None:
    folder = add("a")
    with cache.part("another source") as part:
        shutil.copytree(folder, part, dirs_exist_ok=True)
        assert cache.add(part, read_content(folder)) == folder
    cache.remember("another source", "gs://user:planted@b/a", f"sha256:{folder.name}")
    (model,) = cache.models()
    assert model.sources == ("gs://b/a", "s3://bucket/a")
    assert list((cache.folder / "parts").iterdir()) == []


def test_a_folder_that_is_no_longer_whole_is_not_used(cache: Cache, add: Add) -> None:
    folder = add("a")
    digest = f"sha256:{folder.name}"
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "code.pyc").touch()
    assert cache.find(digest) == folder
    (folder / "data" / "model.bin").write_bytes(b"short")
    assert cache.find(digest) is None
    # Another download puts it right.
    assert add("again") != folder
    with cache.part("a") as part:
        shutil.copytree(folder.parents[2] / "a", part, dirs_exist_ok=True)
        cache.add(part, read_content(part))
    assert cache.find(digest) == folder


def test_a_damaged_record_is_no_record(cache: Cache, add: Add) -> None:
    folder = add("a")
    folder.with_name(f"{folder.name}.json").write_text("{")
    assert cache.find(f"sha256:{folder.name}") is None
    assert cache.models() == ()


def test_what_a_broken_download_left_is_kept_for_the_next_and_removed_by_prune(
    cache: Cache, make_model: MakeModel
) -> None:
    class PlugPulledError(Exception):
        pass

    def broken_off() -> None:
        with cache.part("source") as part:
            (part / "half").write_bytes(b"12345")
            raise PlugPulledError

    with pytest.raises(PlugPulledError):
        broken_off()
    assert cache.models() == ()
    with cache.part("source") as part:
        assert (part / "half").read_bytes() == b"12345"
        # While it is under way, it is not removed.
        assert cache.prune().parts == ()
    assert cache.prune(parts=False).parts == ()
    removed = cache.prune()
    assert (removed.parts, removed.freed) == ((part,), 5)
    assert list((cache.folder / "parts").iterdir()) == []


def test_a_lock_on_a_file_that_was_removed_is_not_enough(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path):
        path.unlink()
        with locked(path):
            assert path.exists()


def test_a_model_that_is_removed_between_fetching_and_holding_is_fetched_again(
    tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(tmp_path, environ={})
    model = make_model()
    answers = [tmp_path / "gone", tmp_path / "gone", model]
    monkeypatch.setattr(fetching, "fetch", lambda *_: answers.pop(0))
    version = ModelVersion("x", "x", str(model))
    with fetched([version], settings) as (folder,):
        assert folder == model
    answers.extend([tmp_path / "gone"] * 3)
    with pytest.raises(ConflictError), fetched([version], settings):
        pass


def test_the_limit_is_a_setting(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, flags={"cache.max_mb": 3}, environ={})
    assert open_cache(settings).max_bytes == 3_000_000
    assert not settings.home.exists()


def test_what_is_kept_for_a_deployment_stays_whatever_the_limit(cache: Cache, add: Add) -> None:
    folders = {name: add(name) for name in "abcd"}
    digest = {name: cache.digest_in(folder) for name, folder in folders.items()}
    for name in ("a", "b", "b", "c"):
        cache.keep("pair", [digest[name]])
    cache.keep("shop", [digest["c"], digest["c"]])
    # Those of the live revision, and before them.
    cache.prune(everything=True)
    assert sorted(names(cache)) == ["b", "c"]
    assert {model.sources[0][-1]: model.kept_for for model in cache.models()} == {
        "b": ("pair",),
        "c": ("pair", "shop"),
    }
    (cache.folder / "deployments" / "pair.json").write_text("{")
    cache.prune(everything=True)
    assert names(cache) == ["c"]


def test_a_folder_is_read_once_to_pin_it_and_once_to_copy_it(
    tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []
    sha256_of = artifact_digest.sha256_of

    def noted(path: Path) -> str:
        hashed.append(path)
        return sha256_of(path)

    settings = load_settings(tmp_path, environ={})
    model = make_model("saved", model=b"x")
    version = pin(ModelVersion("./saved", str(model), str(model)), settings)
    monkeypatch.setattr(artifact_digest, "sha256_of", noted)
    shown: list[tuple[int, int]] = []
    folder = fetching.fetch(version, settings, lambda done, total: shown.append((done, total)))
    assert read_content(folder).digest == version.digest
    assert not any(path.is_relative_to(model) for path in hashed)
    size = read_content(model).size
    assert shown[-1] == (size, size)


def test_an_interrupted_copy_of_another_model(tmp_path: Path, make_model: MakeModel) -> None:
    settings = load_settings(tmp_path, environ={})
    model = make_model("saved", model=b"x")
    version = pin(ModelVersion("./saved", str(model), str(model)), settings)
    with open_cache(settings).part(f"{model}\n{version.digest}") as part:
        (part / "left.bin").write_bytes(b"of another")
    assert read_content(fetching.fetch(version, settings)).digest == version.digest
