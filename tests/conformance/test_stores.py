"""What every implementation of `Store` keeps to."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlops.errors import InvalidInputError, NotFoundError
from mlops.registry.stores import STORES, File, Store, open_store
from mlops.settings import load_settings
from tests.gcs import Gcs
from tests.minio import Minio

# More than one part of S3's and one piece of Google's transfers.
_LARGE = 40 << 20


def _file(request: pytest.FixtureRequest) -> str:
    folder: Path = request.getfixturevalue("tmp_path_factory").mktemp("files")
    return str(folder)


def _s3(request: pytest.FixtureRequest) -> str:
    minio: Minio = request.getfixturevalue("minio")
    request.getfixturevalue("set_environ")(minio.environ)
    return f"s3://{_bucket(request, minio)}"


def _gs(request: pytest.FixtureRequest) -> str:
    gcs: Gcs = request.getfixturevalue("gcs")
    request.getfixturevalue("set_environ")(gcs.environ)
    return f"gs://{_bucket(request, gcs)}"


_BUCKETS: dict[str, str] = {}


def _bucket(request: pytest.FixtureRequest, server: Minio | Gcs) -> str:
    """One bucket is enough for all tests."""
    if server.url not in _BUCKETS:
        _BUCKETS[server.url] = server.bucket()
    return _BUCKETS[server.url]


#: Name to a function that gives the URI of a place for stores.
PLACES: dict[str, Callable[[pytest.FixtureRequest], str]] = {"file": _file, "s3": _s3, "gs": _gs}


@pytest.fixture
def set_environ(
    clean_environ: None, monkeypatch: pytest.MonkeyPatch
) -> Callable[[dict[str, str]], None]:
    def put(environ: dict[str, str]) -> None:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)

    return put


def test_every_store_is_tested() -> None:
    assert list(STORES) == list(PLACES)


@pytest.fixture(params=PLACES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    place = PLACES[request.param](request)
    root = f"{place}/{uuid.uuid4().hex}/with space"
    opened = open_store(root, load_settings(tmp_path, environ={}))
    yield opened
    opened.close()


@pytest.fixture
def source(tmp_path: Path) -> Callable[[bytes], Path]:
    """Return a function that writes a file to put."""

    def write(content: bytes) -> Path:
        path = tmp_path / f"source-{uuid.uuid4().hex}"
        path.write_bytes(content)
        return path

    return write


Source = Callable[[bytes], Path]


@pytest.mark.parametrize("content", [b"", b"x", b"a\0b\r\n" * 1000], ids=["empty", "one", "some"])
def test_what_is_put_comes_back(
    store: Store, source: Source, tmp_path: Path, content: bytes
) -> None:
    digest = hashlib.sha256(content).hexdigest()
    expected = File("model/MLmodel", len(content), digest)
    assert store.put(source(content), "model/MLmodel") == expected
    assert store.stat("model/MLmodel") == expected
    assert store.get("model/MLmodel", tmp_path / "new" / "MLmodel") == expected
    assert (tmp_path / "new" / "MLmodel").read_bytes() == content
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["MLmodel"]


def test_a_large_file_comes_back_and_every_byte_is_told(
    store: Store, source: Source, tmp_path: Path
) -> None:
    content = bytes(range(256)) * (_LARGE // 256) + b"end"
    path = source(content)
    lock, told = threading.Lock(), {"put": 0, "get": 0}

    def teller(name: str) -> Callable[[int], None]:
        def tell(count: int) -> None:
            with lock:
                told[name] += count

        return tell

    store.put(path, "large", on_bytes=teller("put"))
    store.get("large", tmp_path / "large", on_bytes=teller("get"))
    assert (tmp_path / "large").read_bytes() == content
    assert told == {"put": len(content), "get": len(content)}


def test_a_key_is_replaced(store: Store, source: Source, tmp_path: Path) -> None:
    store.put(source(b"old and long"), "a")
    store.put(source(b"new"), "a")
    store.get("a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert [file.size for file in store.files()] == [3]


def test_files_are_listed_in_order(store: Store, source: Source) -> None:
    assert list(store.files()) == []
    for key in ("b/2", "a", "b/10", "bb", "ü/ä b.txt"):
        store.put(source(key.encode()), key)
    keys = ["a", "b/10", "b/2", "bb", "ü/ä b.txt"]
    assert [(f.key, f.size) for f in store.files()] == [(k, len(k.encode())) for k in keys]
    assert [file.key for file in store.files("b/")] == ["b/10", "b/2"]
    assert [file.key for file in store.files("b")] == ["b/10", "b/2", "bb"]


def test_more_files_than_a_page_holds(
    store: Store, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops.registry.stores.s3._PAGE", 3)
    monkeypatch.setattr("mlops.registry.stores.gcs._PAGE", 3)
    path = source(b"x")
    for number in range(10):
        store.put(path, f"{number}")
    assert [file.key for file in store.files()] == [f"{number}" for number in range(10)]


def test_deleting(store: Store, source: Source) -> None:
    store.put(source(b"x"), "a/b")
    store.put(source(b"x"), "a/c")
    store.delete("a/b")
    store.delete("a/b")
    store.delete("never/there")
    assert [file.key for file in store.files()] == ["a/c"]
    with pytest.raises(NotFoundError):
        store.stat("a/b")


def test_what_is_not_there(store: Store, source: Source, tmp_path: Path) -> None:
    store.put(source(b"x"), "other")
    for ask in (store.stat, lambda key: store.get(key, tmp_path / "got")):
        with pytest.raises(NotFoundError) as caught:
            ask("nowhere")
        assert caught.value.reason == "file"
        assert f"{store.location}/nowhere" in caught.value.message
    assert not (tmp_path / "got").exists()


def test_no_key_leads_elsewhere(store: Store, source: Source) -> None:
    path = source(b"x")
    for key in ("", "/a", "../a", "a/../../b", "a//b", "a/", ".", "nul\0"):
        for ask in (store.stat, store.delete, lambda key: store.put(path, key)):
            with pytest.raises(InvalidInputError):
                ask(key)


def test_a_target_is_replaced_whole(store: Store, source: Source, tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(b"old")
    store.put(source(b"new"), "a")
    store.get("a", tmp_path / "here")
    assert (tmp_path / "here").read_bytes() == b"new"


def test_several_threads(store: Store, source: Source, tmp_path: Path) -> None:
    contents = [str(number).encode() * 1000 for number in range(16)]
    paths = [source(content) for content in contents]

    def carry(number: int) -> bytes:
        store.put(paths[number], f"{number}")
        store.get(f"{number}", tmp_path / f"{number}")
        return (tmp_path / f"{number}").read_bytes()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(carry, range(16))) == contents
