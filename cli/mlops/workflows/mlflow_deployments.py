"""`mlflow deployments … -t mlops`: MLflow's own command and client for deployments of mlops.

MLflow finds this module by the entry point `mlflow.deployments`. A deployment of MLflow's is one of
mlops on this machine. Its endpoint has the same name: `predict` takes either, and a
deployment's name beside an endpoint is an arm of it.

Contract: `mlflow/deployments/base.py` and `mlflow/deployments/cli.py` of MLflow 3.17.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow
from mlflow.deployments import BaseDeploymentClient, PredictionsResponse
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INVALID_PARAMETER_VALUE,
    RESOURCE_ALREADY_EXISTS,
    RESOURCE_DOES_NOT_EXIST,
)
from mlflow.tracking import is_tracking_uri_set
from mlflow.utils.proto_json_utils import NumpyEncoder, dump_input_data

from mlops.deployment.deploy import deploy
from mlops.deployment.ledgers import open_ledger
from mlops.deployment.local import stay
from mlops.deployment.request import DeployRequest, read_request
from mlops.deployment.runtime_files import deployment_name, places
from mlops.deployment.targets.contract import How, TargetStatus
from mlops.errors import MlopsError, NotFoundError, one_of
from mlops.registry.ledger import LOCAL
from mlops.settings import Settings, load_settings
from mlops.spec.deployment import DeploymentSpec
from mlops.workflows.operation import stop
from mlops.workflows.replay import connect, require_running
from mlops.workflows.statuses import statuses

_FLAVOR = "python_function"
#: Names in `config` that are settings.
_SETTINGS = {
    "host": "deploy.host",
    "port": "deploy.port",
    "runtime": "deploy.runtime",
    "sticky_by": "deploy.sticky_by",
    "reward": "feedback.reward",
    "reward_range": "feedback.reward_range",
}
#: Names in `config` that say which models answer beside the one of `model_uri`.
_MODELS = ("challenger", "split", "canary", "shadow")
_HELP = """\
Deploys a model on this machine, with a stable URL, A/B tests, feedback and a report.

Target URI: `mlops` for the project of the current folder, `mlops:/path` for that of another one.
Models, deployments and their journals are those of the `mlops` command there; it is beside
this one, and has more.

  mlflow deployments create -t mlops --name wine -m models:/wine/1
  mlflow deployments predict -t mlops --name wine -I rows.json
  mlflow deployments update -t mlops --name wine -m models:/wine/1 -C challenger=models:/wine/2
  mlflow deployments get -t mlops --name wine
  mlflow deployments delete -t mlops --name wine

Config (`-C name=value`) of create, update and run-local:

  challenger=REF       a second model, for an A/B test of both
  split=70/30          the shares of the two; equal without it
  canary=REF=PERCENT   a second model that gets so much of the traffic
  shadow=REF           a model that gets copies of the requests
  host, port           where the server listens; the first free port from 8080
  runtime              what executes the models: auto, pyfunc, native, …
  sticky_by            `header:NAME` or `field:NAME`: the same value, the same model
  reward               squared-error, absolute-error, exact, module:function, …
  reward_range         LOW..HIGH: no reward is ever outside

An endpoint is a deployment. `predict(deployment_name=ARM, endpoint=NAME)` asks one arm of it, and
stays out of the statistics. `delete` stops the server; the evidence stays. Flavor: python_function.
"""


class MlopsDeploymentClient(BaseDeploymentClient):  # type: ignore[misc] # MLflow ships no types
    """Deployments of one project on this machine.

    Every method raises `MlflowException`, with what to do about it.

    Args:
        target_uri: `mlops`, or `mlops:/path` of a project's folder.
    """

    def __init__(self, target_uri: str) -> None:
        super().__init__(target_uri)
        _, _, folder = target_uri.partition(":")
        self._folder = Path(folder) if folder else None

    def create_deployment(
        self,
        name: str,
        model_uri: str,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Deploy a model under a name that is not in use; return what `get_deployment` does."""
        with _mlflow_errors():
            settings = self._settings(name, flavor, config, endpoint)
            if _is_deployed(settings, name):
                raise MlflowException(
                    f"There is a deployment `{name}` already; `update` changes it.",
                    error_code=RESOURCE_ALREADY_EXISTS,
                )
            deploy(settings, _request(settings, model_uri, config or {}), LOCAL)
            return self.get_deployment(name)

    def update_deployment(
        self,
        name: str,
        model_uri: str | None = None,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Change a deployment; without `model_uri` its models stay."""
        with _mlflow_errors():
            settings = self._settings(name, flavor, config, endpoint)
            _require(settings, name)
            if model_uri is None:
                request = _same_models(settings, name, config or {})
            else:
                request = _request(settings, model_uri, config or {})
            deploy(settings, request, LOCAL)
            return self.get_deployment(name)

    def delete_deployment(
        self, name: str, config: Mapping[str, Any] | None = None, endpoint: str | None = None
    ) -> None:
        """Stop a deployment, if there is one; its evidence stays."""
        with _mlflow_errors():
            settings = self._settings(name, None, config, endpoint)
            if _is_deployed(settings, name):
                stop(settings, name)

    def list_deployments(self, endpoint: str | None = None) -> list[dict[str, Any]]:
        """Return every deployment of the project that was not stopped, on clusters too."""
        with _mlflow_errors():
            found = statuses(self._settings(), None)
            return [
                _described(each)
                for each in found
                if each.state != "stopped" and endpoint in (None, each.name)
            ]

    def get_deployment(self, name: str, endpoint: str | None = None) -> dict[str, Any]:
        """Return name, state, URL, revision and arms of a deployment."""
        with _mlflow_errors():
            settings = self._settings(name, None, None, endpoint)
            return _described(_require(settings, name))

    def predict(
        self,
        deployment_name: str | None = None,
        inputs: object = None,
        endpoint: str | None = None,
    ) -> PredictionsResponse:
        """Predict with a deployment, or with one arm of the endpoint that it is.

        Args:
            deployment_name: The deployment; beside an endpoint an arm of it.
            inputs: A data frame, an array, a list, or a dict: a request's body or columns.
            endpoint: The deployment, if not named by `deployment_name`.
        """
        name, arm = (endpoint, deployment_name) if endpoint else (deployment_name, None)
        if not name:
            raise MlflowException(
                "Name a deployment or an endpoint.", error_code=INVALID_PARAMETER_VALUE
            )
        headers = {"x-mlops-arm": arm} if arm and arm != name else {}
        with _mlflow_errors():
            settings = self._settings(name)
            _require(settings, name)
            with connect(require_running(places(settings, name))) as connection:
                body = _body(inputs)
                answer, _ = connection.post("/invocations", body, headers=headers)
        return PredictionsResponse.from_json(json.dumps(answer))

    def list_endpoints(self) -> list[dict[str, Any]]:
        """Return the deployments, each of which is an endpoint."""
        return self.list_deployments()

    def get_endpoint(self, endpoint: str) -> dict[str, Any]:
        """Return the deployment of this name."""
        return self.get_deployment(endpoint)

    def _settings(
        self,
        name: str = "",
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> Settings:
        """Resolve the project's settings, after checking what MLflow was given."""
        if flavor not in (None, _FLAVOR):
            raise _refused(f"Flavor `{flavor}` is not deployed; every model is as `{_FLAVOR}`.")
        if endpoint not in (None, name):
            raise _refused(
                f"`{name}` is an endpoint of its own, not under `{endpoint}`: a second model is "
                "a `challenger`, `canary` or `shadow` in `config`."
            )
        unknown = sorted(set(config or ()) - {*_SETTINGS, *_MODELS})
        if unknown:
            raise _refused(
                f"`config` has no `{unknown[0]}`; it has {one_of([*_MODELS, *_SETTINGS])}."
            )
        flags = {_SETTINGS[key]: str(v) for key, v in (config or {}).items() if key in _SETTINGS}
        flags["deploy.name"] = name
        if is_tracking_uri_set():
            flags["tracking.uri"] = mlflow.get_tracking_uri()
        settings = load_settings(self._folder, {key: v for key, v in flags.items() if v})
        if name and deployment_name(settings) != name:
            raise _refused(f"`{name}` is not a name; `{deployment_name(settings)}` would be one.")
        return settings


def run_local(
    name: str,
    model_uri: str,
    flavor: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> None:
    """Deploy a model and run in the foreground until interrupted.

    MLflow's interface passes no target, contrary to its documentation.
    """
    client = MlopsDeploymentClient("mlops")
    with _mlflow_errors():
        settings = client._settings(name, flavor, config)
        request = _request(settings, model_uri, config or {})
        result = deploy(settings, request, LOCAL, How(foreground=True))
        if result.process is None:
            raise MlflowException(
                f"`{name}` runs in the background already; `delete` stops it.",
                error_code=RESOURCE_ALREADY_EXISTS,
            )
        code = stay(result.process)
    if code:
        raise MlflowException(f"The server of `{name}` ended with exit code {code}.")


def target_help() -> str:
    """Return what `mlflow deployments help -t mlops` prints."""
    return _HELP


def _body(inputs: object) -> bytes:
    """Write inputs as a request of MLflow's scoring protocol.

    MLflow's own function raises for a dict.
    """
    if not isinstance(inputs, Mapping):
        return bytes(dump_input_data(inputs).encode())
    forms = {"dataframe_split", "dataframe_records", "instances", "inputs"}
    document = inputs if forms & inputs.keys() else {"inputs": inputs}
    return json.dumps(document, cls=NumpyEncoder).encode()


def _request(settings: Settings, model_uri: str, config: Mapping[str, Any]) -> DeployRequest:
    ref, challenger = _ref(model_uri), config.get("challenger")
    shadow = config.get("shadow")
    return read_request(
        settings,
        ab=(ref, _ref(challenger)) if challenger else None,
        model=None if challenger else ref,
        canary=config.get("canary"),
        split=config.get("split"),
        shadows=[shadow] if shadow else [],
    )


def _ref(model_uri: str) -> str:
    """Write a relative path as mlops does; a bare name is a registered model here."""
    is_folder = "://" not in model_uri and (Path(model_uri) / "MLmodel").is_file()
    return str(Path(model_uri).resolve()) if is_folder else model_uri


def _same_models(settings: Settings, name: str, config: Mapping[str, Any]) -> DeployRequest:
    live = open_ledger(settings, name).live()
    if live is None:
        raise NotFoundError(f"The ledger has no live revision of `{name}`; give `model_uri`.")
    spec: DeploymentSpec = live.intent.spec
    if len(spec.arms) == 1:
        return _request(settings, spec.arms[0].model.label, config)
    if {"challenger", "canary"} & set(config):
        raise _refused("Name the first model with `model_uri`.")
    return read_request(
        settings,
        arms=[f"{arm.name}={arm.model.label}:{arm.weight!r}" for arm in spec.arms]
        if "split" not in config
        else [f"{arm.name}={arm.model.label}" for arm in spec.arms],
        split=config.get("split"),
        shadows=[config["shadow"]] if "shadow" in config else [],
    )


def _is_deployed(settings: Settings, name: str) -> bool:
    found = statuses(settings, None)
    return any(each.name == name and each.state != "stopped" for each in found)


def _require(settings: Settings, name: str) -> TargetStatus:
    """Return the status of a deployment that was not stopped."""
    found = next((each for each in statuses(settings, None) if each.name == name), None)
    if found is None or found.state == "stopped":
        raise NotFoundError(f"There is no deployment `{name}`, or it was stopped; create it.")
    return found


def _described(status: TargetStatus) -> dict[str, Any]:
    document: dict[str, Any] = {"name": status.name, "flavor": _FLAVOR, "state": status.state}
    document["revision"] = status.revision
    arms = getattr(status, "arms", None)
    if arms is None:
        return {**document, "urls": list(getattr(status, "urls", (status.url,)))}
    known = [{key: arm[key] for key in ("name", "version", "weight")} for arm in arms]
    return {**document, "url": status.url, "arms": known}


def _refused(message: str) -> MlflowException:
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)


@contextlib.contextmanager
def _mlflow_errors() -> Iterator[None]:
    try:
        yield
    except MlopsError as error:
        text = f"{error.message} {error.hint or ''}".strip()
        code = RESOURCE_DOES_NOT_EXIST if isinstance(error, NotFoundError) else None
        raise (MlflowException(text, error_code=code) if code else MlflowException(text)) from error


__all__ = ["MlopsDeploymentClient", "run_local", "target_help"]
