"""The ledger: every revision of a deployment, kept in MLflow.

A revision is an MLflow run, whose artifact `revision.json` is the frozen spec, plus a version of
the registered model `mlops.deployment.NAME`. MLflow gives that version's number atomically, so two
users who deploy at once get two numbers, and the later one can see that it came second. The alias
`live` points at the revision that serves.

Registry, server and ledger cannot commit together. An entry is therefore written as `pending`
first, with everything that is to be done; the steps can be repeated; `commit` is the last of them.
A later command that finds a pending entry can finish or abandon it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops.errors import ConflictError, NotFoundError
from mlops.registry.client import LEDGER_PREFIX, experiment_id
from mlops.registry.faults import mlflow_errors
from mlops.registry.refs import all_versions, look_up_model, version_numbers
from mlops.settings.actor import current_actor
from mlops.settings.repository import repository_of
from mlops.spec.deployment import DeploymentSpec, from_dict, models_digest, to_dict
from mlops.spec.place import Place, place_from_dict, place_to_dict
from mlops.spec.short_repr import short_repr

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

    from mlops.settings.needs import StoreSettings

#: The target that is the machine which deploys.
LOCAL = "local"
_EXPERIMENT = "mlops.deployments"
_FILE = "revision.json"
_RUNTIMES_FILE = "runtimes.json"
_CONTENTS_FILE = "contents.json"
_LIVE = "live"
_STATE = "mlops.state"
_STOPPED = "mlops.stopped_ms"
_STOPPED_BY = "mlops.stopped_by"
_PENDING = "pending"
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
        reason: As the user gave it, or the verdict's reason.
        evidence: The report that led to it, as JSON data; None if there was none.
        aliases: Aliases to move with it.
        place: Where it is to live; None for the machine that deploys it.
        given: StoreSettings that a command line named for it or for what it follows; a later deploy
            keeps them.
    """

    action: str
    spec: DeploymentSpec
    reason: str = ""
    evidence: dict[str, Any] | None = None
    aliases: tuple[AliasMove, ...] = ()
    place: Place | None = None
    given: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        """Name of the target that it lives on."""
        return self.place.target if self.place else LOCAL


@dataclass(frozen=True, slots=True)
class Entry:
    """One revision in the ledger.

    Attributes:
        number: Revision number, from 1.
        intent: What it was to do.
        state: `pending`, `live`, `replaced` or `failed`.
        author: `user@host` of who made it.
        place: Project on that host; what an interrupted command left can be judged there only.
        created_ms: When it was written, milliseconds since 1970 in UTC.
        live_ms: When it went live; 0 if it never did.
        error: Why it failed, else empty.
        stopped_ms: When it was taken out of its cluster; 0 if it was not. A server of this machine
            records that itself.
        job: CI job that made it, and for whom; empty outside of CI.
        repository: Of the project's folder there, see `repository_of`.
    """

    number: int
    intent: Intent
    state: str
    author: str
    place: str
    created_ms: int
    live_ms: int
    error: str
    stopped_ms: int = 0
    job: str = ""
    repository: str = ""

    def __repr__(self) -> str:
        return short_repr(
            self,
            number=self.number,
            action=self.intent.action,
            state=self.state,
            arms=[arm.name for arm in self.intent.spec.arms],
            author=self.author,
            error=self.error,
        )


@dataclass(frozen=True, slots=True)
class Readiness:
    """The state of a revision, without its content.

    Attributes:
        number: Revision number, from 1.
        state: As `Entry.state`.
        stopped_ms: As `Entry.stopped_ms`.
        stopped_by: `user@host` of who took it out of its cluster.
        read: Reads its entry, and MLflow's document of it.
    """

    number: int
    state: str
    stopped_ms: int
    stopped_by: str
    read: Callable[[], tuple[Entry, dict[str, Any]]]


class Ledger:
    """The revisions of one deployment.

    Args:
        client: An open MLflow client.
        settings: The project's settings, for messages and for where artifacts go.
        name: Name of the deployment.
    """

    def __init__(self, client: MlflowClient, settings: StoreSettings, name: str) -> None:
        self._client = client
        self._settings = settings
        self._name = name
        self._model = f"{LEDGER_PREFIX}{name}"
        self.actor = current_actor()
        self.place = f"{self.actor.host}:{settings.home}"

    def numbers(self) -> list[int]:
        """Return every revision number, newest first."""
        return [int(version.version) for version in self._versions()]

    def live_number(self) -> int:
        """Return the number of the live revision, 0 if there is none."""
        with mlflow_errors(self._settings):
            found = look_up_model(self._client, self._model)
        return int(found.aliases.get(_LIVE, 0)) if found else 0

    def live(self) -> Entry | None:
        """Return the live revision, or None."""
        number = self.live_number()
        return self.entry(number) if number else None

    def pending(self) -> list[Entry]:
        """Return the revisions neither committed nor given up, newest first."""
        live = self.live_number()
        waiting = (v for v in self._versions() if v.tags.get(_STATE, _PENDING) == _PENDING)
        return [self._read(version, live) for version in waiting]

    def history(self) -> list[Entry]:
        """Return every revision, newest first."""
        live = self.live_number()
        return [self._read(version, live) for version in self._versions()]

    def standings(self) -> list[Readiness]:
        """Return the state of every revision, newest first; cheap, as no document is read."""
        live = self.live_number()
        return [self._standing(version, live) for version in self._versions()]

    def _standing(self, version: MlflowVersion, live: int) -> Readiness:
        number = int(version.version)
        return Readiness(
            number,
            _state(version, is_live=number == live),
            int(version.tags.get(_STOPPED, 0)),
            version.tags.get(_STOPPED_BY, ""),
            lambda: self._documented(version, live),
        )

    def entry(self, number: int) -> Entry:
        """Return one revision.

        Raises:
            NotFoundError: There is no revision of that number.
        """
        for version in self._versions():
            if int(version.version) == number:
                return self._read(version, self.live_number())
        raise NotFoundError(
            f"`{self._name}` has no revision {number}.", hint=f"`mlops history {self._name}`"
        )

    def begin(self, intent: Intent, newest_seen: int) -> int:
        """Write a pending revision and return its number.

        Args:
            intent: What it is to do.
            newest_seen: The newest number there was when the intent was made, 0 for none.

        Raises:
            ConflictError: Another revision was written since; it counts and this one is abandoned.
        """
        tags = {
            _STATE: _PENDING,
            "mlops.action": intent.action,
            "mlops.author": self.actor.name,
            "mlops.job": self.actor.job[:_MAX_TAG],
            "mlops.place": self.place,
            "mlops.repository": repository_of(self._settings.project_dir)[:_MAX_TAG],
            "mlops.target": intent.target,
            "mlops.models": models_digest(intent.spec),
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
                f"Another command deployed `{self._name}` in the meantime: "
                f"{self._difference(others[-1], intent)}",
                hint=f"`mlops history {self._name}` shows theirs; repeat yours to replace it.",
            )
        return number

    def commit(self, number: int, now_ms: int) -> None:
        """Move the intent's aliases, then call the revision live. May be repeated.

        Raises:
            ConflictError: It was abandoned in the meantime, or replaced.
        """
        entry = self.entry(number)
        if entry.state in ("failed", "replaced"):
            raise self._lost(entry)
        with mlflow_errors(self._settings):
            # Where `live` points here already, the rest was done, and names may have moved since.
            if entry.state != "live":
                for move in entry.intent.aliases:
                    self._move(move)
                self._tag(number, "mlops.live_ms", str(now_ms))
                self._client.set_registered_model_alias(self._model, _LIVE, str(number))
            if entry.stopped_ms:
                self._tag(number, _STOPPED, "0")
            self._tag(number, _STATE, "live")

    def note_runtimes(self, number: int, runtimes: Mapping[str, Any]) -> None:
        """Store what executes the models of a revision beside its spec. May be repeated.

        Args:
            number: Of the revision.
            runtimes: Name of each arm to JSON data.
        """
        with mlflow_errors(self._settings):
            run_id = self._client.get_model_version(self._model, str(number)).run_id
            self._client.log_dict(run_id, dict(runtimes), _RUNTIMES_FILE)

    def note_contents(self, number: int, contents: Mapping[str, str]) -> None:
        """Store what the files of its models were when a revision went live. May be repeated.

        A registered version is immutable by convention only: any client with write access to the
        artifact store can replace its files.

        Args:
            number: Of the revision.
            contents: Name of each arm to the digest of its model's files.
        """
        with mlflow_errors(self._settings):
            run_id = self._client.get_model_version(self._model, str(number)).run_id
            self._client.log_dict(run_id, dict(contents), _CONTENTS_FILE)

    def contents(self, number: int) -> dict[str, str]:
        """Return what `note_contents` stored; empty where the files were not looked at."""
        return self._noted(number, _CONTENTS_FILE)

    def runtimes(self, number: int) -> dict[str, Any]:
        """Return what `note_runtimes` stored; empty if it was never called."""
        return self._noted(number, _RUNTIMES_FILE)

    def _noted(self, number: int, file: str) -> dict[str, Any]:
        import mlflow

        with mlflow_errors(self._settings):
            version = self._client.get_model_version(self._model, str(number))
            if file not in {each.path for each in self._client.list_artifacts(version.run_id)}:
                return {}
            found: dict[str, Any] = mlflow.artifacts.load_dict(f"{version.source}/{file}")
            return found

    def tag(self, key: str, value: str, number: int = 0) -> None:
        """Tag the deployment, or one revision of it, with data of another part."""
        with mlflow_errors(self._settings):
            if number:
                self._tag(number, key, value)
            else:
                self._client.set_registered_model_tag(self._model, key, value)

    def tags(self, prefix: str) -> list[tuple[int, str, str]]:
        """Return revision, 0 for the deployment, key and value of every tag with this prefix."""
        with mlflow_errors(self._settings):
            model = look_up_model(self._client, self._model)
        if model is None:
            return []
        tagged = [(0, model.tags), *((int(v.version), v.tags) for v in self._versions())]
        return [
            (number, key, value)
            for number, tags in tagged
            for key, value in tags.items()
            if key.startswith(prefix)
        ]

    def stopped(self, number: int, now_ms: int) -> None:
        """Note that a revision was taken out of its cluster; `commit` undoes it."""
        with mlflow_errors(self._settings):
            self._tag(number, _STOPPED_BY, self.actor.name)
            self._tag(number, _STOPPED, str(now_ms))

    def abandon(self, number: int, error: str) -> None:
        """Abandon a pending revision; it stays in the history with the reason. May be repeated."""
        with mlflow_errors(self._settings):
            self._tag(number, "mlops.error", error[:_MAX_TAG])
            self._tag(number, _STATE, "failed")

    def _versions(self) -> list[MlflowVersion]:
        with mlflow_errors(self._settings):
            found = look_up_model(self._client, self._model)
            return all_versions(self._client, self._model) if found else []

    def _read(self, version: MlflowVersion, live: int) -> Entry:
        return self._documented(version, live)[0]

    def _documented(self, version: MlflowVersion, live: int) -> tuple[Entry, dict[str, Any]]:
        import mlflow

        with mlflow_errors(self._settings):
            document: dict[str, Any] = mlflow.artifacts.load_dict(f"{version.source}/{_FILE}")
        return _entry(version, document, is_live=int(version.version) == live), document

    def _register(self) -> None:
        from mlflow.exceptions import MlflowException

        if look_up_model(self._client, self._model) is None:
            try:
                self._client.create_registered_model(
                    self._model, description=f"Revisions of the deployment {self._name} (mlops)."
                )
            except MlflowException as error:
                # Another process made the first deployment of this name in the meantime.
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise

    def _move(self, move: AliasMove) -> None:
        model = look_up_model(self._client, move.model)
        if model is None or int(model.aliases.get(move.alias, 0)) == move.version:
            return
        if not move.version:
            self._client.delete_registered_model_alias(move.model, move.alias)
        # A deleted version cannot be named, and must not keep the rest from being
        # done: no later command could finish it either.
        elif move.version in version_numbers(self._client, move.model):
            self._client.set_registered_model_alias(move.model, move.alias, str(move.version))

    def _tag(self, number: int, key: str, value: str) -> None:
        self._client.set_model_version_tag(self._model, str(number), key, value)

    def _lost(self, entry: Entry) -> ConflictError:
        does = f"was given up: {entry.error}" if entry.state == "failed" else "was replaced"
        return ConflictError(
            f"Revision {entry.number} of `{self._name}` {does} while this command was running.",
            hint=f"`mlops history {self._name}` shows what others did; repeat yours to replace it.",
        )

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
    arms = [f"{arm.name} ({arm.model.label}) {arm.weight * 100:.4g} %" for arm in spec.arms]
    shadows = [
        f"shadow {each.name} ({each.model.label}) {each.share * 100:.4g} %" for each in spec.shadows
    ]
    return ", ".join([*arms, *shadows])


def _document(intent: Intent) -> dict[str, Any]:
    where = {} if intent.place is None else {"place": place_to_dict(intent.place)}
    return {
        "action": intent.action,
        "spec": to_dict(intent.spec),
        "reason": intent.reason,
        "evidence": intent.evidence,
        "aliases": [
            {"model": m.model, "alias": m.alias, "version": m.version, "before": m.before}
            for m in intent.aliases
        ],
        "given": list(intent.given),
        **where,
    }


def _entry(version: MlflowVersion, document: Mapping[str, Any], *, is_live: bool) -> Entry:
    tags = version.tags
    return Entry(
        number=int(version.version),
        intent=Intent(
            action=document["action"],
            spec=from_dict(document["spec"]),
            reason=document["reason"],
            evidence=document["evidence"],
            aliases=tuple(AliasMove(**move) for move in document["aliases"]),
            # Entries from before clusters were supported have none.
            place=place_from_dict(document["place"]) if "place" in document else None,
            given=tuple(document.get("given", ())),
        ),
        state=_state(version, is_live=is_live),
        author=tags.get("mlops.author", ""),
        place=tags.get("mlops.place", ""),
        created_ms=int(version.creation_timestamp),
        live_ms=int(tags.get("mlops.live_ms", 0)),
        error=tags.get("mlops.error", ""),
        stopped_ms=int(tags.get(_STOPPED, 0)),
        job=tags.get("mlops.job", ""),
        repository=tags.get("mlops.repository", ""),
    )


def _state(version: MlflowVersion, *, is_live: bool) -> str:
    state = str(version.tags.get(_STATE, _PENDING))
    if is_live:
        return "live"
    return "replaced" if state == "live" else state
