"""`mlops models push`: a model at a stable URI."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlops.errors import ConflictError
from mlops.registry.artifact_digest import read_content
from mlops.registry.artifact_manifest import Place, look, shorten
from mlops.registry.client import open_registry
from mlops.registry.faults import mlflow_errors
from mlops.registry.fetching import fetched
from mlops.registry.refs import resolve_all
from mlops.registry.stores import open_store
from mlops.registry.transfer import Meter, Show, each, stat_all, upload
from mlops.registry.trust import remember_pushed
from mlops.spec.content import MANIFEST, MLMODEL, Content, ContentFile, Manifest, manifest_to_dict

if TYPE_CHECKING:
    from mlops.registry.stores import Store
    from mlops.settings.needs import StoreSettings
    from mlops.spec.model import ModelVersion

#: Tags of a model version that say where it was pushed to begin with this.
PUSHED_TAG = "mlops.pushed."

Say = Callable[[str], None]
#: `create` at a free place, `resume` after an interruption, `replace` another model, `mend` files
#: that are missing or damaged, or `nothing`.
Change = Literal["create", "resume", "replace", "mend", "nothing"]


@dataclass(frozen=True, slots=True)
class PushPlan:
    """What a push has to do.

    Attributes:
        change: What it means for the place.
        transfer: Files that are not there, or are others.
        remove: Keys of the model that is replaced, which the new one does not have.
    """

    change: Change
    transfer: tuple[ContentFile, ...]
    remove: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Push:
    """What a push did, or would do.

    Attributes:
        model: What was pushed, for example `wine/3`.
        uri: Where it is now.
        digest: What it holds.
        size: Of all its files, in bytes.
        files: Number of its files.
        change: What happened to the place.
        transferred: Number of files that were transferred.
        transferred_size: Of these, in bytes.
        took_s: Seconds that reading the files, looking at the place and transferring took.
        recorded: Whether the model version says where it was pushed to.
        done: False for a dry run.
    """

    model: str
    uri: str
    digest: str
    size: int
    files: int
    change: Change
    transferred: int
    transferred_size: int
    took_s: float
    recorded: bool
    done: bool


@dataclass(frozen=True, slots=True)
class PushRecord:
    """The record of a push in a model version.

    Attributes:
        uri: Where it was pushed to.
        digest: What it held.
        pushed_ms: When, milliseconds since 1970 in UTC.
    """

    uri: str
    digest: str
    pushed_ms: int


def push(
    settings: StoreSettings,
    ref: str,
    uri: str,
    *,
    force: bool = False,
    dry_run: bool = False,
    say: Say = lambda _: None,
    show: Show = lambda done, total: None,
) -> Push:
    """Copy a model to a stable place; a second push transfers nothing.

    An interrupted push is never taken for a model, and resumes where it stopped.

    Args:
        settings: The project's settings.
        ref: The model.
        uri: `s3://…`, `gs://…`, `file://…` or a path.
        force: Replace another model that is there.
        dry_run: Look, and transfer nothing.
        say: Called with each phase.
        show: Called with the progress of a transfer.

    Raises:
        ConflictError: Something else is there, and `force` is False; or another command pushed
            to it in the meantime.
        MlopsError: The model does not exist, or the store cannot be used.
    """
    store = open_store(uri, settings)
    try:
        say("Looking up the model")
        (version,) = resolve_all(settings, [ref])
        say("Fetching the model")
        with fetched([version], settings, show) as (folder,):
            started = time.monotonic()
            say("Reading its files")
            content = read_content(folder)
            say("Looking at the destination")
            place = look(store)
            plan = make_plan(content, place, _checksums(store, content, place))
            _check(plan, place, content, force=force)
            if not dry_run and plan.change != "nothing":
                say("Pushing")
                _carry_out(plan, store, folder, Manifest(content, False, version.label), show)
            took_s = time.monotonic() - started
        if not dry_run:
            remember_pushed(settings, version, content.digest)
        recorded = not dry_run and _record(settings, version, str(store.location), content)
        return Push(
            model=version.label,
            uri=str(store.location),
            digest=content.digest,
            size=content.size,
            files=len(content.files),
            change=plan.change,
            transferred=len(plan.transfer),
            transferred_size=sum(file.size for file in plan.transfer),
            took_s=took_s,
            recorded=recorded,
            done=not dry_run,
        )
    finally:
        store.close()


def make_plan(content: Content, place: Place, checksums: Mapping[str, str]) -> PushPlan:
    """Compare a model with what is at a place.

    Args:
        content: The model.
        place: What the store lists, and its manifest.
        checksums: Key to the SHA-256 that the store has of it.
    """
    transfer = tuple(f for f in content.files if checksums.get(f.path) != f.sha256)
    before = place.manifest
    # Only what a push created there: a place may be a whole bucket.
    ours = {file.path for file in before.content.files} & set(place.files) if before else set()
    remove = tuple(sorted(ours - {file.path for file in content.files}))
    if transfer or remove:
        # It goes last, so that there is no model at the place before all of it is.
        transfer = tuple(f for f in content.files if f in transfer or f.path == MLMODEL)
    return PushPlan(_change(content, place, mends=bool(transfer)), transfer, remove)


def push_tag(uri: str) -> str:
    """Name the tag of a model version that says when it was pushed to a place."""
    return PUSHED_TAG + hashlib.sha256(uri.encode()).hexdigest()[:12]


def push_records(tags: Mapping[str, str]) -> tuple[PushRecord, ...]:
    """Read from a model version's tags where it was pushed to, last first."""
    found = []
    for name, text in tags.items():
        if name.startswith(PUSHED_TAG):
            try:
                found.append(PushRecord(**json.loads(text)))
            except (TypeError, ValueError):
                # A user's own tag of that name.
                continue
    return tuple(sorted(found, key=lambda record: record.pushed_ms, reverse=True))


def _change(content: Content, place: Place, *, mends: bool) -> Change:
    before = place.manifest
    if before is None:
        return "replace" if place.files else "create"
    if before.content != content:
        return "replace"
    if not before.complete:
        return "resume"
    return "mend" if mends else "nothing"


def _checksums(store: Store, content: Content, place: Place) -> dict[str, str]:
    """Ask the store for checksums of what it has, where the sizes show no difference."""
    sizes = {file.path: file.size for file in content.files}
    keys = [key for key, file in place.files.items() if sizes.get(key) == file.size]
    return {file.key: file.sha256 for file in stat_all(store, keys)}


def _check(plan: PushPlan, place: Place, content: Content, *, force: bool) -> None:
    if plan.change != "replace" or force:
        return
    there = place.manifest
    if there is None:
        what = "There are files that no push created"
    else:
        what = f"{there.model or 'Another model'} ({shorten(there.content.digest)}) is"
        what = what if there.complete else f"A part of {what}"
    raise ConflictError(
        f"{what} at `{place.where}`; this model is {shorten(content.digest)}.",
        hint="Choose another place, or replace what is there with `--force`.",
    )


def _carry_out(plan: PushPlan, store: Store, folder: Path, manifest: Manifest, show: Show) -> None:
    """Do what a plan says, in the order that `mlops.registry.artifact_manifest` defines."""
    _write_manifest(store, manifest)
    last = [file for file in plan.transfer if file.path == MLMODEL]
    if last:
        store.delete(MLMODEL)
    meter = Meter(sum(file.size for file in plan.transfer), show)
    upload(store, folder, (file for file in plan.transfer if file not in last), meter)
    each([lambda key=key: store.delete(key) for key in plan.remove])  # type: ignore[misc]
    upload(store, folder, last, meter)
    _check_whole(store, manifest)
    _write_manifest(store, Manifest(manifest.content, True, manifest.model))


def _check_whole(store: Store, manifest: Manifest) -> None:
    """Check that what is there is what was pushed, and that no other push changed it."""
    place = look(store)
    there = {key: file.size for key, file in place.files.items()}
    ours = place.manifest is not None and place.manifest.content == manifest.content
    if not ours or any(there.get(file.path) != file.size for file in manifest.content.files):
        raise ConflictError(
            f"Another command pushed to `{store.location}` at the same time, or deleted from it.",
            hint="See what is there now, and push again.",
        )


def _write_manifest(store: Store, manifest: Manifest) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, MANIFEST)
        file.write_text(json.dumps(manifest_to_dict(manifest), indent=1) + "\n", encoding="utf-8")
        store.put(file, MANIFEST)


def _record(settings: StoreSettings, version: ModelVersion, uri: str, content: Content) -> bool:
    """Say on a registered version where it was pushed to; a model outside the registry cannot."""
    if not version.name:
        return False
    client = open_registry(settings)
    tag = push_tag(uri)
    with mlflow_errors(settings):
        tags = client.get_model_version(version.name, str(version.version)).tags
        known = push_records({tag: tags[tag]} if tag in tags else {})
        if not any(record.digest == content.digest for record in known):
            now = {"uri": uri, "digest": content.digest, "pushed_ms": time.time_ns() // 1_000_000}
            client.set_model_version_tag(version.name, str(version.version), tag, json.dumps(now))
    return True
