"""Whose models may be loaded: loading a model runs the code in it.

What was trained here is trusted, and so is a folder of this machine that was named by its path. A
model that comes out of a store or from an MLflow server, and was trained somewhere else, is loaded
once the user has confirmed it; that is remembered of its content. What was deployed is remembered,
so that a registered version whose files were replaced in the store is refused.

The memory is `.mlops/trusted.jsonl`, one line for each record.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mlops.errors import ConflictError, InvalidInputError, NotAllowedError
from mlops.registry.artifact_manifest import shorten
from mlops.registry.fetching import content_digest, plain_folder
from mlops.settings.secrets import without_credentials

if TYPE_CHECKING:
    from mlops.settings.needs import StoreSettings
    from mlops.spec.model import ModelVersion

Line: TypeAlias = dict[str, str]
_FILE = "trusted.jsonl"


def remember_trained(settings: StoreSettings, version: ModelVersion | None) -> None:
    """Record that a model was trained here."""
    if version is not None and not _is_ours(settings, version, ()):
        _remember(settings, {"trained": version.run_id, "model": version.label})


def remember_pushed(settings: StoreSettings, version: ModelVersion, digest: str) -> None:
    """Record the digest of a model trained here: it may come back from where it was pushed."""
    known = list(_known(settings))
    if _is_ours(settings, version, known) and {"trusted": digest} not in known:
        _remember(settings, {"trusted": digest})


def check_trusted(
    settings: StoreSettings, versions: Sequence[ModelVersion], folders: Sequence[Path]
) -> None:
    """Refuse to load models that are not trusted, and those that were replaced.

    Args:
        settings: Where the memory is; `artifacts.trust` trusts all of `versions`.
        versions: The models.
        folders: What `fetched` gave for them, in their order.

    Raises:
        ConflictError: A registered version holds something else than when it was deployed first.
        NotAllowedError: A model was trained elsewhere, and it was not allowed to run.
    """
    known = list(_known(settings))
    for version, folder in zip(versions, folders, strict=True):
        digest = content_digest(folder, settings)
        if not digest:
            continue
        # A registered version means the same forever; a URI means what is there.
        pin = {"pinned": version.label, "source": without_credentials(version.source)}
        before = next((line["digest"] for line in known if pin.items() <= line.items()), "")
        if version.name and before not in ("", digest):
            raise ConflictError(
                f"`{version.label}` holds {shorten(digest)} at `{pin['source']}`; it was deployed "
                f"as {shorten(before)}.",
                hint="Its files were replaced. Register what is there now as a new version.",
            )
        learned = [{**pin, "digest": digest}] if version.name and not before else []
        if {"trusted": digest} not in known and not _is_ours(settings, version, known):
            # Remembered too: a push into the folder would make a place in a store of it.
            named = not version.name and plain_folder(version.source) is not None
            if not named and not settings.artifacts.trust:
                raise NotAllowedError(
                    f"`{version.label}` ({shorten(digest)}) was not trained in this project, and "
                    "loading a model runs the code in it.",
                    hint="If you trust its author, repeat with `--trust`, which is remembered "
                    "of these files; in CI set MLOPS_ARTIFACTS_TRUST=true.",
                )
            learned.append({"trusted": digest})
        for line in learned:
            _remember(settings, line)
            known.append(line)


def _is_ours(settings: StoreSettings, version: ModelVersion, known: Sequence[Line]) -> bool:
    """Whether a model was trained here; only this user writes to a database of this machine."""
    local = settings.tracking_uri.partition(":")[0] in ("sqlite", "file")
    seen = any(line.get("trained") == version.run_id for line in known)
    return bool(version.run_id) and (local or seen)


def _known(settings: StoreSettings) -> Iterator[Line]:
    path = settings.home / _FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except ValueError as error:
            raise InvalidInputError(
                f"`{path}` is damaged.", hint="Remove the line that is not JSON."
            ) from error


def _remember(settings: StoreSettings, line: Line) -> None:
    path: Path = settings.make_home() / _FILE
    # One write at the end of the file: commands side by side do not mix their lines.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{json.dumps(line)}\n".encode())
    finally:
        os.close(descriptor)
