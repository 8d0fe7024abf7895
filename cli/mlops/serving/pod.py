"""`python -m mlops.serving.pod fetch|serve|model|route`: the server in a pod.

`fetch` pulls the models of a revision; `serve` serves it. Both read what `mlops deploy --target
kubernetes` has put into a ConfigMap, and need nothing else of a project: no settings, no registry,
no home, no entry in /etc/passwd, no place to write outside of what is mounted.

`model` serves one model folder under one name, for a platform that splits traffic itself: as a
ServingRuntime of KServe, or in place of MLServer's image in Seldon Core v1. It reads the variables
that these platforms set for MLServer, and keeps no journal.

`route` is a ROUTER of a graph of Seldon Core v1: it draws an arm for each request, tells which, and
learns from the graph's feedback, but asks no model.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import json
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlops.errors import ConflictError, InvalidInputError, MlopsError
from mlops.journal.null import URL as NO_JOURNAL
from mlops.serving.revision_number import numbered
from mlops.serving.start import serve
from mlops.settings.actor import place_of
from mlops.spec.access import Access, Issuer, issuer_from_dict
from mlops.spec.deployment import Arm, DeploymentSpec, Revision, from_dict
from mlops.spec.model import ModelVersion
from mlops.spec.request_id import KEY_BYTES
from mlops.spec.request_log import LogSink, sink_from_dict
from mlops.spec.server import WATCHED, Launch, Served

_SCHEMA_VERSION = 1
_JOURNAL_URL = "MLOPS_JOURNAL_URL"
# As the setting, which `--new-key` is on a machine.
_NEW_KEY = "MLOPS_DEPLOY_NEW_KEY"


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are in the pod; the defaults are what the manifests mount.

    Attributes:
        config: Folder with `revision.json`.
        key: Folder with `request-id-key`, and `token` if callers may send one.
        keys: Folder with `keys.json`, the API keys of callers, if there are any.
        models: Where models are pulled to.
        run: Small files of the running server: lock, state, socket.
        journal: Folder of a SQLite journal.
        host: Address to listen on.
        port: Port to listen on.
    """

    config: Path = Path("/etc/mlops")
    key: Path = Path("/etc/mlops-key")
    keys: Path = Path("/etc/mlops-keys")
    models: Path = Path("/models")
    run: Path = Path("/run/mlops")
    journal: Path = Path("/var/lib/mlops")
    host: str = "0.0.0.0"  # noqa: S104 - a pod's own address; a NetworkPolicy says who may call
    port: int = 8080


@dataclass(frozen=True, slots=True)
class Config:
    """What a pod is to serve.

    Attributes:
        revision: The revision.
        features: `all`, `none`, or the names of the features kept with each decision.
        client_ids: Whether feedback may name a request by its caller's own id.
        journal_max_mb: Megabytes from which the journal is too large; 0 for never.
        grpc_port: Port to listen on for gRPC; 0 for no gRPC.
        workers: Processes that share the requests; 0 for as many as the pod has processors.
        unprotected: Whether every client that reaches the pod may call.
        issuer: Whose signed tokens count; None for none.
        sinks: Where the request log goes.
        hashed: Features that the journal has as keyed hashes only.
        dropped: Features that it never has.
        watch: What is watched.
        season: The period of traffic: `none`, `day` or `week`.
        in_ledger: Whether the revision's number is from the ledger.
    """

    revision: Revision
    features: str | tuple[str, ...]
    journal_max_mb: int = 0
    client_ids: bool = True
    grpc_port: int = 0
    workers: int = 0
    unprotected: bool = False
    issuer: Issuer | None = None
    sinks: tuple[LogSink, ...] = ()
    hashed: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    watch: tuple[str, ...] = WATCHED
    season: str = "none"
    in_ledger: bool = True


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the container was started for; return the exit code."""
    # Process 1 has no default handler: without one, a pod that is deleted while it loads
    # would stay until it is killed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    given = _parser().parse_args(arguments)
    places = Places(**{field: getattr(given, field) for field in Places.__dataclass_fields__})
    try:
        if given.task == "fetch":
            fetch(read_config(places.config), places)
        elif given.task == "serve":
            config = read_config(places.config)
            serve(_numbered(config, launch(config, places, os.environ)))
        elif given.task == "route":
            config = read_config(places.config)
            serve(_numbered(config, route_launch(config, places, os.environ)))
        else:
            serve(model_launch(places, os.environ))
    except MlopsError as error:
        logging.error("%s%s", error.message, f" ({error.hint})" if error.hint else "")
        return error.exit_code
    return 0


def read_config(folder: Path) -> Config:
    """Read the mounted ConfigMap.

    Raises:
        InvalidInputError: It is missing or not of this version.
    """
    path = folder / "revision.json"
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = document["schema_version"]
        if version != _SCHEMA_VERSION:
            raise InvalidInputError(
                f"`{path}` has version {version}; this image reads {_SCHEMA_VERSION}.",
                hint="Render with the mlops that the image was built with.",
            )
        features = document["features"]
        return Config(
            Revision(int(document["revision"]), from_dict(document["spec"])),
            features if isinstance(features, str) else tuple(features),
            int(document.get("journal_max_mb", 0)),
            bool(document.get("client_ids", True)),
            int(document.get("grpc_port", 0)),
            int(document.get("workers", 0)),
            bool(document.get("insecure_no_auth", False)),
            issuer_from_dict(document.get("issuer")),
            tuple(sink_from_dict(sink) for sink in document.get("sinks", ())),
            tuple(document.get("hashed", ())),
            tuple(document.get("dropped", ())),
            tuple(sorted({*WATCHED} ^ {*document.get("watch_changed", ())})),
            str(document.get("season", "none")),
            bool(document.get("in_ledger", True)),
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(f"`{path}` cannot be read: {error!r}.") from error


def fetch(config: Config, places: Places) -> None:
    """Pull every model that is not there yet; each appears complete or not at all.

    Raises:
        ConflictError: Another model is there than the one that was deployed.
        MlopsError: A model cannot be pulled.
    """
    for model in config.revision.spec.models:
        if model.endpoint:
            continue
        folder = _folder(model, places)
        if not (folder / "MLmodel").is_file():
            logging.info("pulling %s from %s", model.label, model.source)
            _pull(model, folder)
        else:
            _check(model, folder)
    logging.info("models are in %s", places.models)


def launch(config: Config, places: Places, environ: Mapping[str, str]) -> Launch:
    """Say how the server of a revision is started."""
    models = config.revision.spec.models
    paths = ["" if model.endpoint else str(_folder(model, places)) for model in models]
    token = places.key / "token"
    return Launch(
        name=config.revision.spec.name,
        served=Served(config.revision, tuple(paths)),
        host=places.host,
        port=places.port,
        journal_url=_journal(places, environ),
        features=config.features,
        journal_max_mb=config.journal_max_mb,
        client_ids=config.client_ids,
        state_file=str(places.run / "state.json"),
        lock_file=str(places.run / "lock"),
        key_file=str(places.key / "request-id-key"),
        token_file=str(token) if token.exists() else "",
        socket=str(places.run / "admin.sock"),
        log_file="",
        grpc_port=config.grpc_port,
        # Each start has the folder for itself; workers share it.
        runtimes=str(places.run / "runtimes"),
        workers=config.workers or processors(),
        sinks=config.sinks,
        hashed=config.hashed,
        dropped=config.dropped,
        watch=config.watch,
        season=config.season,
        access=Access(str(places.keys / "keys.json"), config.issuer, config.unprotected),
        new_key=environ.get(_NEW_KEY, "").lower() == "true",
        # A pod's own name: replicas have the same folder.
        place=place_of(places.run),
    )


def route_launch(config: Config, places: Places, environ: Mapping[str, str]) -> Launch:
    """Say how the server of a graph's ROUTER is started."""
    served = Served(config.revision, ("",) * len(config.revision.spec.arms))
    port = environ.get("PREDICTIVE_UNIT_HTTP_SERVICE_PORT")
    return replace(
        launch(config, places, environ),
        served=served,
        port=int(port) if port else places.port,
        # Its callers are the platform's router, which asks who they are, and its probes.
        access=Access(unprotected=True),
    )


def processors(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many processors the pod may use, by its CPU limit; 1 where it has none.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html, `cpu.max`; version 1 of cgroups has
    two files for it.

    Args:
        cgroup: Where the kernel shows this container's control group.
    """
    found: list[list[str]] = []
    for name in ("cpu.max", "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"):
        # A pod that is confined may not be shown its own limits.
        with contextlib.suppress(OSError):
            found.append(Path(cgroup, name).read_text(encoding="ascii").split())
    quota, period = [*itertools.chain(*found), "max", "max"][:2]
    if not quota.isdigit() or not period.isdigit():
        return 1
    return max(1, int(quota) // int(period))


def _numbered(config: Config, launch: Launch) -> Launch:
    # Replicas and the pods before them share the journal, and it is all that they share.
    return numbered(launch, time.time_ns() // 1_000_000, in_ledger=config.in_ledger)


def _journal(places: Places, environ: Mapping[str, str]) -> str:
    # By reference: the server's state file must not hold the password.
    if environ.get(_JOURNAL_URL):
        return f"env:{_JOURNAL_URL}"
    return f"sqlite:///{places.journal / 'journal.db'}"


def model_launch(places: Places, environ: Mapping[str, str]) -> Launch:
    """Say how a server of one model is started, by the variables a platform sets for MLServer."""
    name = environ.get("MLSERVER_MODEL_NAME") or environ.get("PREDICTIVE_UNIT_ID") or "model"
    folder = Path(environ.get("MLSERVER_MODEL_URI") or "/mnt/models")
    port = environ.get("MLSERVER_HTTP_PORT") or environ.get("PREDICTIVE_UNIT_HTTP_SERVICE_PORT")
    label = environ.get("MLOPS_MODEL_LABEL") or str(folder)
    run = Path(tempfile.mkdtemp(prefix="mlops-"))
    key = run / "request-id-key"
    # Any pod of this model must know the ids that another one made. It keeps no secret: nothing
    # that feedback says is stored here.
    key.write_bytes(hashlib.blake2b(f"{name}\0{label}".encode(), digest_size=KEY_BYTES).digest())
    arm = Arm(name, ModelVersion(ref=label, label=label, source=str(folder)), 1.0)
    return Launch(
        name=name,
        served=Served(Revision(1, DeploymentSpec(name, (arm,))), (str(folder),)),
        host=places.host,
        port=int(port) if port else places.port,
        journal_url=NO_JOURNAL,
        features="none",
        state_file=str(run / "state.json"),
        lock_file=str(run / "lock"),
        key_file=str(key),
        token_file="",
        socket=str(run / "admin.sock"),
        log_file="",
        # Its callers are the platform's router, which asks who they are, and its probes.
        access=Access(unprotected=True),
    )


def _folder(model: ModelVersion, places: Places) -> Path:
    return places.models / hashlib.sha256(model.source.encode()).hexdigest()[:32]


def _pull(model: ModelVersion, folder: Path) -> None:
    from mlops.registry.client import quieten
    from mlops.registry.faults import store_errors

    quieten()
    import mlflow

    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".part-") as part:
        with store_errors(model.source):
            got = mlflow.artifacts.download_artifacts(artifact_uri=model.source, dst_path=part)
        if not (Path(got) / "MLmodel").is_file():
            raise InvalidInputError(f"`{model.source}` has no `MLmodel` file.")
        _check(model, Path(got))
        Path(got).replace(folder)


def _check(model: ModelVersion, folder: Path) -> None:
    """Make sure that a folder holds the model that the ConfigMap pins.

    What a listing pins is compared with the listing of now, since only the store knows the tags.

    Raises:
        ConflictError: It holds another one.
    """
    kind = model.digest.partition(":")[0]
    if not kind:
        return
    if kind == "listing":
        found = _listing(model.source)
    else:
        from mlops.registry.artifact_digest import read_content

        found = read_content(folder).digest
    if found != model.digest:
        raise ConflictError(
            f"`{model.source}` holds {found}; {model.label} was deployed as {model.digest}.",
            hint="Push the deployed model there again, or deploy what is there now.",
        )


def _listing(source: str) -> str:
    from mlops.registry.artifact_manifest import look
    from mlops.registry.stores import open_store
    from mlops.settings import load_settings

    # The variables of a kind of store count where the root is of that kind.
    store = open_store(source, load_settings(flags={"artifacts.root": source}))
    try:
        return look(store).digest
    finally:
        store.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mlops.serving.pod")
    parser.add_argument("task", choices=["fetch", "serve", "model", "route"])
    defaults = Places()
    for name in Places.__dataclass_fields__:
        value = getattr(defaults, name)
        parser.add_argument(
            f"--{name}", type=type(value) if name in ("host", "port") else Path, default=value
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
