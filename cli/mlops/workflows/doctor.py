"""Checks before training and deploying, which change nothing."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from packaging.version import Version

from mlops.consumers import CONSUMERS
from mlops.deployment.access import given_tls
from mlops.deployment.hidden_inputs import describe_hidden, hidden_inputs
from mlops.deployment.owners import all_ahead
from mlops.deployment.runtime_files import is_alive, known_names, places, read_server_state
from mlops.deployment.start_settings import changed_since_start, describe_changed
from mlops.deployment.targets import TARGETS
from mlops.errors import InvalidInputError, MlopsError, NotFoundError, RemoteError, of_system
from mlops.plugins import Plugins
from mlops.policies import POLICIES
from mlops.protocols import CODECS
from mlops.protocols.clients import CLIENT_CODECS
from mlops.registry.stores import STORES, parse_location
from mlops.registry.stores.probe import Step, probe
from mlops.registry.tracking_probe import Tracking, ask_tracking, is_server
from mlops.rewards import REWARDS
from mlops.runtimes import RUNTIMES
from mlops.settings.secrets import without_credentials
from mlops.sinks import SINKS
from mlops.spec.access import Tls
from mlops.spec.tls import read_validity
from mlops.spec.wire import WIRES
from mlops.training.environments import MANAGERS
from mlops.training.runner.factory import BACKENDS

if TYPE_CHECKING:
    from mlops.settings import Settings

State = Literal["ok", "warning", "failed", "skipped"]

_MLFLOW = (Version("3.10"), Version("4"))
_PYTHON = (3, 11)
_PORTS = range(8080, 8180)
_CLUSTER_S = 5
_RENEW = "Write the files again; a server that runs reads them by itself."


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        name: What it is.
        state: `failed` is for what is needed, `warning` for what is optional.
        message: What was found, and what that means.
        fix: The command or variable that fixes it; empty if nothing needs fixing.
        reason: A word for programs, where a check can fail in several ways.
        duration_s: How long it took in seconds.
        steps: What was done to a store, in order.
    """

    name: str
    state: State
    message: str
    fix: str = ""
    reason: str = ""
    duration_s: float = 0.0
    steps: tuple[Step, ...] = ()


class _Skipped(Exception):  # noqa: N818 - no error
    """There is nothing to check; the text says why."""


class _Warned(Exception):  # noqa: N818 - no error yet
    """It works, and will not for long: what, and what to do."""


def examine(settings: Settings, stores: Sequence[str] = ()) -> tuple[Check, ...]:
    """Run all checks; see `healthy`.

    Args:
        settings: The project's settings.
        stores: URIs of stores to try beside the project's own.
    """
    tracking = _run("tracking", lambda: _tracking(settings))
    return (
        _run("python", _python),
        _run("mlflow", _mlflow),
        _run("settings", lambda: _settings(settings)),
        tracking,
        _run("mlruns", lambda: _mlruns(settings), needed=False),
        *check_stores(settings, stores),
        _run("extensions", _extensions, needed=False),
        *_tls_checks(settings),
        *_server_checks(settings),
        *_owner_checks(settings),
        _run("port", lambda: _port(settings), needed=False),
        _run("uv", _uv, needed=False),
        _run("kubectl", _kubectl, needed=False),
        _run("cluster", _cluster, needed=False),
    )


def check_stores(settings: Settings, stores: Sequence[str] = ()) -> tuple[Check, ...]:
    """Put, get, list and delete a small file in each store: the project's own, and others."""
    try:
        own = _own_store(settings)
    except MlopsError as error:
        asked = _failed("store", error)
        return (asked, *(_store(uri, settings) for uri in dict.fromkeys(stores)))
    if own:
        return tuple(_store(uri, settings) for uri in dict.fromkeys([own, *stores]))
    message = "the MLflow server keeps the artifacts, and no client needs to reach their store"
    nothing = Check("store", "skipped", message)
    return (nothing, *(_store(uri, settings) for uri in dict.fromkeys(stores)))


def _failed(name: str, error: MlopsError) -> Check:
    return Check(name, "failed", error.message, error.hint or "", error.reason or error.code)


def healthy(checks: Sequence[Check]) -> bool:
    """Whether no required check failed."""
    return all(check.state != "failed" for check in checks)


def _own_store(settings: Settings) -> str:
    """Return the root of the store that clients of this project write artifacts to, or nothing."""
    if settings.artifacts.root or not is_server(settings):
        return settings.artifact_root
    found = ask_tracking(settings).artifacts
    scheme = parse_location(found).scheme if found else ""
    return found if scheme in STORES and scheme != "file" else ""


def _run(name: str, look: Callable[[], str], *, needed: bool = True) -> Check:
    started = time.monotonic()

    def check(state: State, message: str, fix: str = "", reason: str = "") -> Check:
        return Check(name, state, message, fix, reason, time.monotonic() - started)

    try:
        return check("ok", look())
    except _Skipped as skipped:
        return check("skipped", str(skipped))
    except _Warned as warned:
        message, fix = warned.args
        return check("warning", message, fix, "ending")
    except MlopsError as error:
        state: State = "failed" if needed else "warning"
        return check(state, error.message, error.hint or "", error.reason or error.code)


def _extensions() -> str:
    """Check what other packages add, see `docs/extensions.md`."""
    families: Sequence[Plugins[Any]] = (
        BACKENDS, CLIENT_CODECS, CODECS, CONSUMERS, MANAGERS, POLICIES, REWARDS, RUNTIMES, SINKS,
        STORES, TARGETS, WIRES,
    )  # fmt: skip
    added = [(family, each) for family in families for each in family.added()]
    faults = [each for _, each in added if each.fault]
    if faults:
        raise InvalidInputError(
            " ".join(dict.fromkeys(each.fault for each in faults)),
            hint=f"pip uninstall {' '.join(sorted({each.package for each in faults}))}, or tell "
            "its authors; nothing else is affected",
        )
    if not added:
        raise _Skipped("no other package extends mlops")
    return ", ".join(f"{f.family} `{each.name}` of {each.package}" for f, each in added)


def _store(uri: str, settings: Settings) -> Check:
    started = time.monotonic()
    name = f"store {without_credentials(uri)}"
    if parse_location(uri).scheme not in STORES:
        message = "left to MLflow's own client, so not tried"
        return Check(name, "skipped", message)
    if uri.startswith(str(settings.home)):
        try:
            settings.make_home()
        except OSError as refused:
            return _failed(name, of_system(refused) or MlopsError(f"{settings.home}: {refused}"))
    found = probe(uri, settings)
    took = time.monotonic() - started
    if found.error is None:
        return Check(name, "ok", "can be written, read, listed", "", "", took, found.steps)
    error = found.error
    failed = f"{found.steps[-1].name} failed: {error.message}" if found.steps else error.message
    fix, reason = error.hint or "", error.reason or error.code
    return Check(name, "failed", failed, fix, reason, took, found.steps)


def _python() -> str:
    if sys.version_info < _PYTHON:
        raise InvalidInputError(
            f"Python {platform.python_version()} is too old.",
            hint="Use Python 3.11 or newer: `uv venv --python 3.12`.",
        )
    return f"{platform.python_version()} at {sys.executable}"


def _mlflow() -> str:
    found = metadata.version("mlflow")
    oldest, first_beyond = _MLFLOW
    if not oldest <= Version(found) < first_beyond:
        raise InvalidInputError(
            f"MLflow {found} is installed; {oldest} or newer, below {first_beyond}, is needed.",
            hint=f"pip install 'mlflow>={oldest},<{first_beyond}'",
        )
    return f"{found}"


def _settings(settings: Settings) -> str:
    # It loads what renders manifests, which the check of stores alone does not need.
    from mlops.workflows.setting_faults import setting_faults

    if faults := tuple(setting_faults(settings)):
        raise InvalidInputError(
            "\n".join(faults),
            hint="`mlops config show --origin` lists every setting.",
            reason="settings",
        )
    return f"{settings.project_file or 'the defaults'} can be trained and deployed with"


def _tracking(settings: Settings) -> str:
    found = ask_tracking(settings)
    if not found.version:
        return f"{found.uri}"
    return f"{found.uri}, MLflow {found.version}{_version_gap(found)}"


def _version_gap(found: Tracking) -> str:
    here = metadata.version("mlflow")
    if Version(found.version).major == Version(here).major:
        return ""
    return f" there and {here} here: not everything will be understood"


def _mlruns(settings: Settings) -> str:
    """Look for a folder in which older versions of MLflow kept runs."""
    for folder in dict.fromkeys([settings.project_dir, Path.cwd()]):
        old = folder / "mlruns"
        if old.is_dir() and any(old.glob("*/meta.yaml")):
            raise InvalidInputError(
                f"`{old}` has runs of an older MLflow, which are not seen here.",
                hint=f"`mlflow migrate-filestore --source {old} --target "
                f"sqlite:///{old.parent / 'old-runs.db'}` makes a database of them.",
                reason="mlruns",
            )
    return "no runs are left behind in an old ./mlruns"


def _tls_checks(settings: Settings) -> Iterator[Check]:
    """Check the files for TLS that the settings name, and those of each server that runs here."""
    checked: list[Tls | None] = [None]
    try:
        given = given_tls(settings)
    except MlopsError as error:
        yield _failed("tls", error)
        given = None
    alive = [n for n in known_names(settings) if is_alive(places(settings, n))]
    states = ((name, read_server_state(places(settings, name))) for name in alive)
    served = [(f"tls {name}", state.launch.tls) for name, state in states if state is not None]
    for name, tls in (("tls", given), *served):
        if tls is not None and tls not in checked:
            checked.append(tls)
            yield _run(name, partial(_tls, tls))


def _server_checks(settings: Settings) -> Iterator[Check]:
    """Name the servers here that were started with other settings, of those no command names."""
    for name in known_names(settings):
        yield from _hidden_checks(settings, name)
        changed = changed_since_start(settings, name, addresses=False)
        if changed:
            fix = f"`mlops stop {name}`, then `mlops start {name}`."
            text = f"{describe_changed(name, changed)}."
            yield Check(f"server {name}", "warning", text, fix, "settings")


def _owner_checks(settings: Settings) -> Iterator[Check]:
    """Name the deployments here whose name another project has deployed under since."""
    found = all_ahead(settings, [places(settings, name) for name in known_names(settings)])
    for name, (text, fix) in found.items():
        yield Check(f"name {name}", "warning", text, fix, "ledger")


def _hidden_checks(settings: Settings, name: str) -> Iterator[Check]:
    """Name what a server's journal hides of what its models take, and what that prevents."""
    state = read_server_state(places(settings, name))
    if state is None:
        return
    folders = [path for path in state.launch.served.paths if path]
    said = describe_hidden(hidden_inputs(state.launch.hidden, folders))
    if said:
        fix = 'See "What is lost" in docs/personal-data.md.'
        yield Check(f"features {name}", "warning", said, fix, "hidden")


def _tls(tls: Tls) -> str:
    try:
        _, validity = read_validity(tls)
    except InvalidInputError as error:
        raise InvalidInputError(error.message, hint=error.hint or _RENEW, reason="file") from error
    if faults := validity.faults():
        raise InvalidInputError(" ".join(faults), hint=_RENEW, reason="expired")
    if soon := validity.warnings():
        raise _Warned(" ".join(soon), _RENEW)
    return f"`{tls.cert}` and what belongs to it are accepted until {validity.until:%Y-%m-%d}"


def _port(settings: Settings) -> str:
    host, wanted = settings.deploy.host, settings.deploy.port
    ours = _our_ports(settings)
    if not wanted:
        free = next((port for port in _PORTS if _is_free(host, port)), 0)
        if not free:
            raise RemoteError("No port from 8080 to 8179 is free.", hint="`ss -ltnp`")
        return f"{free} is free on {host}"
    if wanted not in ours and not _is_free(host, wanted):
        raise RemoteError(
            f"Port {wanted} of {host} is taken.",
            hint=f"`ss -ltnp 'sport = :{wanted}'` says by whom; or set `port` of [deploy], "
            "`MLOPS_DEPLOY_PORT`.",
            reason="port",
        )
    return f"{wanted} is {'our own' if wanted in ours else 'free'} on {host}"


def _our_ports(settings: Settings) -> set[int]:
    found = set()
    for name in known_names(settings):
        where = places(settings, name)
        state = read_server_state(where)
        if state is not None and is_alive(where):
            found.add(int(state.url.rpartition(":")[2].strip("/") or 0))
    return found


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError:
            return False
    return True


def _uv() -> str:
    found = shutil.which("uv", path=os.pathsep.join(_program_folders()))
    if found is None:
        raise _Skipped("not installed; `pip install uv` makes `--env-manager uv` possible")
    return found


def _program_folders() -> Iterator[str]:
    yield str(Path(sys.executable).parent)
    yield os.environ.get("PATH", os.defpath)


def _kubectl() -> str:
    if not _cluster_is_configured():
        raise _Skipped("no cluster is configured")
    found = shutil.which("kubectl")
    if found is None:
        raise NotFoundError(
            "A cluster is configured, and kubectl is not installed.",
            hint="https://kubernetes.io/docs/tasks/tools/",
            reason="kubectl",
        )
    return found


def _cluster() -> str:
    if not _cluster_is_configured() or shutil.which("kubectl") is None:
        raise _Skipped("no cluster is configured")
    words = ["kubectl", "get", "--raw", "/version", f"--request-timeout={_CLUSTER_S}s"]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=2 * _CLUSTER_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise _no_cluster("no answer in time") from None
    if done.returncode != 0:
        raise _no_cluster((done.stderr.strip().splitlines() or ["no reason given"])[-1])
    return "answers"


def _no_cluster(why: str) -> MlopsError:
    return RemoteError(
        f"The cluster does not answer: {without_credentials(why)}",
        hint="`kubectl config current-context` says which it is, `KUBECONFIG` names the file.",
        reason="cluster",
    )


def _cluster_is_configured() -> bool:
    named = os.environ.get("KUBECONFIG", "")
    files = named.split(os.pathsep) if named else [str(Path.home() / ".kube" / "config")]
    return any(Path(file).is_file() for file in files if file)
