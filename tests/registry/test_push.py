"""Pushing, pulling and fetching, against a folder, MinIO and Cloud Storage alike."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops.errors import ConflictError, InvalidInputError, MlopsError, NotFoundError, RemoteError
from mlops.registry import fetched, transfer
from mlops.registry import push as push_module
from mlops.registry.artifact_digest import read_content
from mlops.registry.artifact_manifest import pin
from mlops.registry.cache import open_cache
from mlops.registry.pull import Pull, pull
from mlops.registry.push import push
from mlops.registry.refs import resolve_all
from mlops.registry.stores import File, Store, open_store
from mlops.settings import Settings
from mlops.spec.content import MANIFEST, MLMODEL
from mlops.spec.model import ModelVersion
from tests.registry.conftest import Corner, MakeModel


@contextlib.contextmanager
def opened(corner: Corner) -> Iterator[Store]:
    store = open_store(corner.uri, corner.settings)
    yield store
    store.close()


def listed(corner: Corner) -> dict[str, tuple[int, str]]:
    with opened(corner) as store:
        return {file.key: (file.size, file.tag) for file in store.files()}


def pinned(corner: Corner) -> ModelVersion:
    (version,) = resolve_all(corner.settings, [corner.uri])
    return pin(version, corner.settings)


def fetch(corner: Corner) -> Path:
    with fetched([pinned(corner)], corner.settings) as (folder,):
        return folder


def test_a_model_is_pushed_once_and_comes_back(corner: Corner, make_model: MakeModel) -> None:
    model = make_model()
    first = push(corner.settings, str(model), corner.uri)
    assert (first.change, first.files, first.transferred, first.done) == ("create", 3, 3, True)
    assert (first.uri, first.digest) == (corner.uri, read_content(model).digest)
    there = listed(corner)
    assert set(there) == {MANIFEST, MLMODEL, "data/model.bin", "empty"}

    again = push(corner.settings, str(model), corner.uri)
    assert (again.change, again.transferred, again.transferred_size) == ("nothing", 0, 0)
    assert listed(corner) == there

    folder = fetch(corner)
    assert read_content(folder) == read_content(model)
    pulled = pull(corner.settings, corner.uri, corner.settings.project_dir / "pulled")
    assert pulled.digest == first.digest
    assert read_content(pulled.folder) == read_content(model)
    assert not (pulled.folder / MANIFEST).exists()


def test_another_model_is_replaced_only_by_force(corner: Corner, make_model: MakeModel) -> None:
    push(corner.settings, str(make_model("old", extra=b"1")), corner.uri)
    with opened(corner) as store:
        foreign = make_model("foreign") / "empty"
        store.put(foreign, "notes.txt")
    there = listed(corner)
    new = make_model("new", model=b"another")
    with pytest.raises(ConflictError, match="is at `"):
        push(corner.settings, str(new), corner.uri)
    planned = push(corner.settings, str(new), corner.uri, force=True, dry_run=True)
    assert (planned.change, planned.transferred, planned.done) == ("replace", 2, False)
    assert listed(corner) == there

    before = pinned(corner)
    (unpinned,) = resolve_all(corner.settings, [corner.uri])
    with fetched([unpinned], corner.settings) as (folder,):
        assert read_content(folder).digest == before.digest
    open_cache(corner.settings).prune(everything=True)
    done = push(corner.settings, str(new), corner.uri, force=True)
    assert (done.change, done.transferred) == ("replace", 2)
    # What the push before brought is gone, what somebody else put there is not.
    assert set(listed(corner)) == {MANIFEST, MLMODEL, "data/model.bin", "empty", "notes.txt"}
    assert read_content(fetch(corner)) == read_content(new)
    # Without a pin it means what is there now.
    with fetched([unpinned], corner.settings) as (folder,):
        assert read_content(folder) == read_content(new)
    with (
        pytest.raises(ConflictError, match="holds another model now"),
        fetched([before], corner.settings),
    ):
        pass


def test_files_that_no_push_brought_are_not_overwritten(
    corner: Corner, make_model: MakeModel
) -> None:
    model = make_model()
    with opened(corner) as store:
        store.put(model / "empty", "empty")
    with pytest.raises(ConflictError, match="no push created"):
        push(corner.settings, str(model), corner.uri)
    assert push(corner.settings, str(model), corner.uri, force=True).transferred == 2


def test_a_damaged_file_is_noticed_and_mended(corner: Corner, make_model: MakeModel) -> None:
    model = make_model()
    push(corner.settings, str(model), corner.uri)
    (other := corner.settings.project_dir / "other").write_bytes(b"THE MODEL")
    with opened(corner) as store:
        store.put(other, "data/model.bin")
    with pytest.raises(MlopsError, match=r"data/model\.bin` is not what was pushed"):
        fetch(corner)
    assert not any(open_cache(corner.settings).models())
    mended = push(corner.settings, str(model), corner.uri)
    assert (mended.change, mended.transferred) == ("mend", 2)
    assert read_content(fetch(corner)) == read_content(model)


class _BrokenOffError(Exception):
    """The plug was pulled."""


class Breaking:
    """A store that fails at its n-th writing call, before or after it took effect."""

    def __init__(self, store: Store, calls: int, *, after: bool) -> None:
        self._store = store
        self._left = calls
        self._after = after
        self.wrote: list[str] = []

    def __getattr__(self, name: str) -> object:
        method = getattr(self._store, name)
        if name not in ("put", "delete"):
            return method

        def call(*args: object, **options: object) -> object:
            self._left -= 1
            if self._left < 0 or (self._left == 0 and not self._after):
                raise _BrokenOffError
            result = method(*args, **options)
            self.wrote.append(str(args[-1]))
            if self._left == 0:
                raise _BrokenOffError
            return result

        return call


@pytest.mark.parametrize("corner", ["file"], indirect=True)
@pytest.mark.parametrize("force", [False, True], ids=["create", "replace"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_push_that_is_broken_off_anywhere_is_no_model_and_is_gone_on_with(
    corner: Corner,
    make_model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
    *,
    after: bool,
    force: bool,
) -> None:
    old, new = make_model("old", extra=b"1"), make_model("new", model=b"another")
    broken: list[Breaking] = []

    def breaking(calls: int) -> None:
        def open_breaking(uri: str, settings: Settings) -> Store:
            broken.append(Breaking(open_store(uri, settings), calls, after=after))
            return broken[-1]  # type: ignore[return-value]

        monkeypatch.setattr(push_module, "open_store", open_breaking)

    for calls in range(1, 20):
        shutil.rmtree(corner.uri, ignore_errors=True)
        breaking(1000)
        if force:
            push(corner.settings, str(old), corner.uri)
        breaking(calls)
        try:
            push(corner.settings, str(new), corner.uri, force=force)
        except _BrokenOffError:
            pass
        else:
            break
        wrote, there = broken[-1].wrote, listed(corner)
        if wrote == [] and force:
            assert read_content(fetch(corner)) == read_content(old)
        elif wrote.count(MANIFEST) == 2:
            assert read_content(fetch(corner)) == read_content(new)
        else:
            with pytest.raises(NotFoundError):
                fetch(corner)
            # A tool that knows nothing of manifests finds no model either, or a whole one.
            assert MLMODEL not in there or wrote[-1] in (MLMODEL, MANIFEST)
        breaking(1000)
        resumed = push(corner.settings, str(new), corner.uri, force=force)
        if wrote and wrote.count(MANIFEST) < 2:
            assert resumed.change == "resume"
        assert len({*wrote} & {"empty", "data/model.bin"}) + resumed.transferred <= 4
        assert read_content(fetch(corner)) == read_content(new)
    else:
        pytest.fail("it never got through")
    assert calls > 5


@pytest.mark.parametrize("corner", ["s3"], indirect=True)
def test_two_pushes_at_once_do_not_make_a_mixture(
    corner: Corner, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = make_model("ours"), make_model("theirs", model=b"of others")
    upload = transfer.upload

    def meanwhile(*args: Any) -> None:
        monkeypatch.setattr(push_module, "upload", upload)
        push(corner.settings, str(theirs), corner.uri, force=True)
        upload(*args)

    monkeypatch.setattr(push_module, "upload", meanwhile)
    with pytest.raises(ConflictError, match="Another command pushed"):
        push(corner.settings, str(ours), corner.uri)
    with pytest.raises(RemoteError):
        fetch(corner)


def test_a_model_that_no_push_brought_is_pinned_by_what_is_listed(
    corner: Corner, make_model: MakeModel
) -> None:
    """A training leaves its model in a store without a manifest."""
    model = make_model()
    with opened(corner) as store:
        for file in read_content(model).files:
            store.put(model / file.path, file.path)
    before = pinned(corner)
    if corner.uri.startswith("/"):
        assert before.digest == read_content(model).digest
    else:
        assert before.digest.startswith("listing:")
    assert before == pinned(corner)
    with fetched([before], corner.settings) as (folder,):
        assert folder != Path(corner.uri)
    assert read_content(folder) == read_content(model)

    (model / "empty").write_bytes(b"no longer")
    with opened(corner) as store:
        store.put(model / "empty", "empty")
    assert pinned(corner).digest != before.digest
    # What was pinned is still in the cache; without it, nothing else is taken for it.
    with fetched([before], corner.settings) as (same,):
        assert same == folder
    open_cache(corner.settings).prune(everything=True)
    with pytest.raises(ConflictError), fetched([before], corner.settings):
        pass
    assert read_content(fetch(corner)) == read_content(model)


def test_nothing_and_no_model_at_a_place(corner: Corner, make_model: MakeModel) -> None:
    with pytest.raises(NotFoundError, match=r"no model|not a model|does not exist"):
        fetch(corner)
    with opened(corner) as store:
        store.put(make_model() / "empty", "empty")
    with pytest.raises(NotFoundError):
        fetch(corner)


@pytest.mark.parametrize("corner", ["s3"], indirect=True)
def test_references_to_the_same_bytes_share_a_folder(corner: Corner, make_model: MakeModel) -> None:
    model = make_model()
    places = [f"{corner.uri}/{name}" for name in "ab"]
    for uri in places:
        push(corner.settings, str(model), uri)
    first, second = (fetch(Corner(corner.settings, uri)) for uri in places)
    assert first == second
    (cached,) = open_cache(corner.settings).models()
    assert cached.sources == tuple(places)
    assert cached.size == read_content(model).size


@pytest.mark.parametrize("corner", ["file"], indirect=True)
def test_pull_replaces_models_only_and_only_by_force(corner: Corner, make_model: MakeModel) -> None:
    model, other = make_model(), make_model("other", model=b"another")
    target = corner.settings.project_dir / "deep" / "pulled"

    def get(source: Path, *, force: bool = False, dry_run: bool = False) -> Pull:
        return pull(corner.settings, str(source), target, force=force, dry_run=dry_run)

    assert get(model, dry_run=True).change == "create"
    assert not target.parent.exists()
    assert get(model).change == "create"
    assert get(model).change == "nothing"
    with pytest.raises(ConflictError, match="holds another model"):
        get(other)
    assert get(other, force=True).change == "replace"
    assert read_content(target) == read_content(other)
    assert [path.name for path in target.parent.iterdir()] == ["pulled"]
    (target / MLMODEL).unlink()
    with pytest.raises(ConflictError, match="not a model"):
        get(model, force=True)


@pytest.mark.parametrize("corner", ["file"], indirect=True)
def test_what_cannot_be_pushed(corner: Corner, make_model: MakeModel) -> None:
    linked = make_model("linked")
    (linked / "more").symlink_to(linked / "data")
    with pytest.raises(InvalidInputError, match="link to a folder"):
        push(corner.settings, str(linked), corner.uri)
    with pytest.raises(InvalidInputError, match="must not hold credentials") as caught:
        push(corner.settings, str(make_model()), "s3://key:planted@bucket/model")
    assert "planted" not in caught.value.message
    assert not Path(corner.uri).exists()


@pytest.mark.parametrize("corner", ["file"], indirect=True)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "has version 2"),
        ({"digest": "sha256:0"}, "its digest is not that of its files"),
        ({"files": [{"path": "../x", "size": 1, "sha256": "0" * 64}]}, "cannot be a file"),
        ({"files": [{"path": "x", "size": 1}]}, "damaged"),
    ],
)
def test_a_manifest_that_cannot_be_trusted(
    corner: Corner, make_model: MakeModel, change: dict[str, object], message: str
) -> None:
    push(corner.settings, str(make_model()), corner.uri)
    file = Path(corner.uri, MANIFEST)
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(InvalidInputError, match=message):
        fetch(corner)


@pytest.mark.parametrize("corner", ["s3", "gs"], indirect=True)
def test_a_key_that_leads_out_of_the_folder(corner: Corner, make_model: MakeModel) -> None:
    """What a store lists decides where a download writes."""
    with opened(corner) as store:
        real = list(store.files())
    assert real == []

    class Listing:
        location = store.location

        def files(self) -> Iterator[File]:
            yield File("MLmodel", 1)
            yield File("../../outside", 1)

    from mlops.registry.artifact_manifest import look

    with pytest.raises(InvalidInputError, match="outside"):
        look(Listing())  # type: ignore[arg-type]


def test_the_records_of_pushes_are_read_from_tags() -> None:
    from mlops.registry.push import PushRecord, push_records

    tags = {
        "mlops.pushed.a": json.dumps({"uri": "s3://b/a", "digest": "sha256:1", "pushed_ms": 1}),
        "mlops.pushed.b": json.dumps({"uri": "s3://b/b", "digest": "sha256:1", "pushed_ms": 2}),
        "mlops.pushed.c": "somebody's own",
        "other": "x",
    }
    assert push_records(tags) == (
        PushRecord("s3://b/b", "sha256:1", 2),
        PushRecord("s3://b/a", "sha256:1", 1),
    )
