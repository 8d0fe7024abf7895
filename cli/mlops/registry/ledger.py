"""The ledger: every revision of a deployment, kept in MLflow.

A revision is an MLflow run, whose artifact `revision.json` is the frozen spec, plus a version of
the registered model `mlops.deployment.NAME`. MLflow gives that version's number atomically, so two
people who deploy at once get two numbers, and the later one can see that it came second. The alias
`live` points at the revision that serves.

Registry, server and ledger cannot commit together. An entry is therefore written as `pending`
first, with everything that is to be done; the steps can be repeated; `commit` is the last of them.
Whoever finds a pending entry later can finish it or give it up.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops.errors import ConflictError, NotFoundError
from mlops.registry.client import LEDGER_PREFIX, experiment_id
from mlops.registry.faults import mlflow_errors
from mlops.registry.refs import look_up_model, version_numbers
from mlops.spec.deployment import DeploymentSpec, from_dict, to_dict

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

    from mlops.settings import Settings

_EXPERIMENT = "mlops.deployments"
_FILE = "revision.json"
_LIVE = "live"
# MLflow cuts long tag values off or refuses them, depending on its store.
_MAX_TAG = 4_000


@dataclass(frozen=True, slots=True)
class AliasMove:
    """An alias that a revision moves when it goes live.

    Attributes:
        model: Registered model.
        alias: Alias on it.
        version: Version it shall name; 0 to take it off.
        before: Version it named, 0 for none; what a rollback restores.
    """

    model: str
    alias: str
    version: int
    before: int


@dataclass(frozen=True, slots=True)
class Intent:
    """What a new revision is to do, and why.

    Attributes:
        action: `deploy`, `promote` or `rollback`.
        spec: What is to be live.
        reason: In the words of a person, or of the verdict.
        evidence: The report that led to it, as JSON data; None if there was none.
        aliases: Aliases to move with it.
    """

    action: str
    spec: DeploymentSpec
    reason: str = ""
    evidence: dict[str, Any] | None = None
    aliases: tuple[AliasMove, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One revision in the ledger.

    Attributes:
        number: Revision number, from 1.
        intent: What it was to do.
        state: `pending`, `live`, `replaced` or `failed`.
        author: `user@host` of who made it.
        created_ms: When it was written, milliseconds since 1970 in UTC.
        live_ms: When it went live; 0 if it never did.
        error: Why it failed, else empty.
    """

    number: int
    intent: Intent
    state: str
    author: str
    created_ms: int
    live_ms: int
    error: str


class Ledger:
    """The revisions of one deployment.

    Args:
        client: An open MLflow client.
        settings: The project's settings, for messages and for where artifacts go.
        name: Name of the deployment.
    """

    def __init__(self, client: MlflowClient, settings: Settings, name: str) -> None:
        self._client = client
        self._settings = settings
        self._name = name
        self._model = f"{LEDGER_PREFIX}{name}"

    def numbers(self) -> list[int]:
        """Return every revision number, newest first."""
        with mlflow_errors(self._settings):
            found = look_up_model(self._client, self._model)
            return version_numbers(self._client, self._model) if found else []

    def live_number(self) -> int:
        """Return the number of the live revision, 0 if there is none."""
        with mlflow_errors(self._settings):
            found = look_up_model(self._client, self._model)
        return int(found.aliases.get(_LIVE, 0)) if found else 0

    def live(self) -> Entry | None:
        """Return the live revision, or None."""
        number = self.live_number()
        return self.entry(number) if number else None

    def pending(self) -> Entry | None:
        """Return the newest revision if it is neither live nor given up, else None."""
        numbers = self.numbers()
        newest = self.entry(numbers[0]) if numbers else None
        return newest if newest and newest.state == "pending" else None

    def history(self) -> list[Entry]:
        """Return every revision, newest first."""
        return [self.entry(number) for number in self.numbers()]

    def entry(self, number: int) -> Entry:
        """Return one revision.

        Raises:
            NotFoundError: There is no revision of that number.
        """
        if number not in self.numbers():
            raise NotFoundError(
                f"`{self._name}` has no revision {number}.", hint=f"`mlops history {self._name}`"
            )
        import mlflow

        with mlflow_errors(self._settings):
            version = self._client.get_model_version(self._model, str(number))
            document = mlflow.artifacts.load_dict(f"{version.source}/{_FILE}")
        return _entry(version, document, is_live=number == self.live_number())

    def begin(self, intent: Intent, newest_seen: int) -> int:
        """Write a pending revision and return its number.

        Args:
            intent: What it is to do.
            newest_seen: The newest number there was when the intent was made, 0 for none.

        Raises:
            ConflictError: Somebody wrote a revision since; theirs stands and this one is given up.
        """
        tags = {
            "mlops.state": "pending",
            "mlops.action": intent.action,
            "mlops.author": f"{getpass.getuser()}@{socket.gethostname()}",
            "mlops.reason": intent.reason[:_MAX_TAG],
        }
        with mlflow_errors(self._settings):
            experiment = experiment_id(self._client, self._settings, _EXPERIMENT)
            run = self._client.create_run(
                experiment, run_name=f"{self._name} {intent.action}", tags=tags
            )
            self._client.log_dict(run.info.run_id, _document(intent), _FILE)
            self._client.set_terminated(run.info.run_id)
            self._register()
            version = self._client.create_model_version(
                self._model, source=run.info.artifact_uri, run_id=run.info.run_id, tags=tags
            )
        number = int(version.version)
        others = [other for other in self.numbers() if newest_seen < other < number]
        if others:
            self.abandon(number, f"revision {others[-1]} came first")
            raise ConflictError(
                f"Somebody else deployed `{self._name}` meanwhile: {self._difference(others[-1], intent)}",
                hint=f"`mlops history {self._name}` shows theirs; repeat the command to replace it.",
            )
        return number

    def commit(self, number: int, now_ms: int) -> None:
        """Move the intent's aliases, then call the revision live. May be repeated."""
        intent = self.entry(number).intent
        with mlflow_errors(self._settings):
            for move in intent.aliases:
                self._move(move)
            self._tag(number, "mlops.live_ms", str(now_ms))
            self._client.set_registered_model_alias(self._model, _LIVE, str(number))
            self._tag(number, "mlops.state", "live")

    def abandon(self, number: int, error: str) -> None:
        """Give a pending revision up; it stays in the history with the reason. May be repeated."""
        with mlflow_errors(self._settings):
            self._tag(number, "mlops.error", error[:_MAX_TAG])
            self._tag(number, "mlops.state", "failed")

    def _register(self) -> None:
        from mlflow.exceptions import MlflowException

        if look_up_model(self._client, self._model) is None:
            try:
                self._client.create_registered_model(
                    self._model, description=f"Revisions of the deployment {self._name} (mlops)."
                )
            except MlflowException as error:
                # Somebody else's first deployment of this name was quicker.
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise

    def _move(self, move: AliasMove) -> None:
        model = look_up_model(self._client, move.model)
        current = int(model.aliases.get(move.alias, 0)) if model else 0
        if current == move.version:
            return
        if move.version:
            self._client.set_registered_model_alias(move.model, move.alias, str(move.version))
        else:
            self._client.delete_registered_model_alias(move.model, move.alias)

    def _tag(self, number: int, key: str, value: str) -> None:
        self._client.set_model_version_tag(self._model, str(number), key, value)

    def _difference(self, theirs: int, ours: Intent) -> str:
        entry = self.entry(theirs)
        return (
            f"revision {theirs} by {entry.author} is {summary(entry.intent.spec)}; "
            f"yours was to be {summary(ours.spec)}."
        )


def summary(spec: DeploymentSpec) -> str:
    """Say in a few words what a spec serves.

    >>> from mlops.spec.model import ModelVersion
    >>> from mlops.spec.deployment import Arm
    >>> wine = ModelVersion("wine", "wine/3", "models/wine")
    >>> summary(DeploymentSpec("wine", (Arm("old", wine, 0.9), Arm("new", wine, 0.1))))
    'old (wine/3) 90 %, new (wine/3) 10 %'
    """
    return ", ".join(
        f"{arm.name} ({arm.model.label}) {arm.weight * 100:.4g} %" for arm in spec.arms
    )


def _document(intent: Intent) -> dict[str, Any]:
    return {
        "action": intent.action,
        "spec": to_dict(intent.spec),
        "reason": intent.reason,
        "evidence": intent.evidence,
        "aliases": [
            {"model": m.model, "alias": m.alias, "version": m.version, "before": m.before}
            for m in intent.aliases
        ],
    }


def _entry(version: MlflowVersion, document: Mapping[str, Any], *, is_live: bool) -> Entry:
    tags = version.tags
    state = tags.get("mlops.state", "pending")
    if state == "live" and not is_live:
        state = "replaced"
    return Entry(
        number=int(version.version),
        intent=Intent(
            action=document["action"],
            spec=from_dict(document["spec"]),
            reason=document["reason"],
            evidence=document["evidence"],
            aliases=tuple(AliasMove(**move) for move in document["aliases"]),
        ),
        state="live" if is_live else state,
        author=tags.get("mlops.author", ""),
        created_ms=int(version.creation_timestamp),
        live_ms=int(tags.get("mlops.live_ms", 0)),
        error=tags.get("mlops.error", ""),
    )
