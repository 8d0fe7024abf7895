"""The part of a SeldonDeployment that we render, with the rules its schema does not state.

The CRD has no enums and prunes unknown fields silently, so a misspelt `implementation` or a field
in the wrong place gets through and does nothing. Here they are errors, and so is what the
operator's webhook refuses and what the executor or Kubernetes would trip over later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel

#: Longest name of a Kubernetes service or label; the operator replaces longer ones by a hash.
MAX_NAME = 63

_NAME_PART = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")

# Services are named after the deployment, and a service's name begins with a letter.
DeploymentName = Annotated[
    str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$", max_length=MAX_NAME)
]
DnsLabel = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=MAX_NAME)
]
SecretName = Annotated[
    str,
    StringConstraints(
        pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$",
        max_length=253,
    ),
]
ModelUri = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9]*://.+$")]
Text = Annotated[str, Field(min_length=1)]


def _key(text: str) -> str:
    prefix, slash, name = text.rpartition("/")
    if not _NAME_PART.fullmatch(name) or (slash and not _NAME_PART.fullmatch(prefix)):
        raise ValueError(f"`{text}` is no key of a label or annotation")
    return text


Key = Annotated[str, AfterValidator(_key)]


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        alias_generator=to_camel,
        # `ModelUri` is Seldon's word; pydantic would keep `model_` for itself.
        protected_namespaces=(),
    )


class Parameter(_Strict):
    """A parameter of a node; all three are text."""

    name: Text
    value: str
    type: Literal["INT", "FLOAT", "DOUBLE", "STRING", "BOOL"]


class ModelServer(_Strict):
    """A leaf of the graph, served by Seldon's own MLflow server."""

    name: DnsLabel
    type: Literal["MODEL"]
    implementation: Literal["MLFLOW_SERVER"]
    model_uri: ModelUri
    env_secret_ref_name: SecretName | None = None
    parameters: list[Parameter] = Field(default_factory=list)

    @model_validator(mode="after")
    def _xtype_only(self) -> ModelServer:
        for parameter in self.parameters:
            if parameter.name != "xtype" or parameter.value not in ("ndarray", "DataFrame"):
                raise ValueError("MLFLOW_SERVER knows `xtype`, which is ndarray or DataFrame")
        return self


class RandomAbTest(_Strict):
    """The executor's own router, which draws a child anew for every request."""

    name: DnsLabel
    implementation: Literal["RANDOM_ABTEST"]
    parameters: list[Parameter] = Field(min_length=1, max_length=1)
    children: list[ModelServer] = Field(min_length=2, max_length=2)

    @model_validator(mode="after")
    def _ratio(self) -> RandomAbTest:
        (ratio,) = self.parameters
        if (ratio.name, ratio.type) != ("ratioA", "FLOAT") or not 0 <= float(ratio.value) <= 1:
            raise ValueError("the only parameter must be `ratioA`, a FLOAT in [0, 1]")
        return self


class EnvVar(_Strict):
    """An environment variable of the executor."""

    name: Text
    value: str


class Orchestrator(_Strict):
    """How the executor runs."""

    env: list[EnvVar]


class HttpGet(_Strict):
    """What a probe asks."""

    path: Literal["/health/ping"]
    port: Literal["http"]


class Probe(_Strict):
    """When a container counts as alive, or as ready."""

    http_get: HttpGet
    initial_delay_seconds: int = Field(ge=0)
    period_seconds: int = Field(ge=1)
    failure_threshold: int = Field(ge=1)

    @property
    def patience_s(self) -> int:
        """Seconds until it gives up."""
        return self.initial_delay_seconds + self.period_seconds * self.failure_threshold


class Container(_Strict):
    """What we add to the container that the operator makes for the node of the same name."""

    name: DnsLabel
    liveness_probe: Probe
    readiness_probe: Probe


class PodSpec(_Strict):
    """One pod."""

    containers: list[Container] = Field(min_length=1)


class ComponentSpec(_Strict):
    """One Deployment."""

    spec: PodSpec


class Predictor(_Strict):
    """A graph and what runs it; as the only one it has no `traffic`."""

    name: DnsLabel
    replicas: int = Field(ge=1)
    progress_deadline_seconds: int
    annotations: dict[Key, str]
    svc_orch_spec: Orchestrator | None = None
    graph: RandomAbTest | ModelServer = Field(union_mode="smart")
    component_specs: list[ComponentSpec] = Field(min_length=1)

    @property
    def nodes(self) -> list[str]:
        """Names of the graph's nodes, the root first."""
        children = self.graph.children if isinstance(self.graph, RandomAbTest) else []
        return [self.graph.name, *(child.name for child in children)]

    @model_validator(mode="after")
    def _rules(self) -> Predictor:
        faults = list(self._faults())
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _faults(self) -> Iterator[str]:
        containers = [c for component in self.component_specs for c in component.spec.containers]
        routed = isinstance(self.graph, RandomAbTest)
        if len(set(self.nodes)) < len(self.nodes):
            yield f"two nodes have the same name: {', '.join(self.nodes)}"
        if sorted(self.nodes[routed:]) != sorted(container.name for container in containers):
            yield "each model server needs one container of its name"
        if "version" not in self.annotations:
            yield "without annotations.version, metrics have no predictor_version"
        env = self.svc_orch_spec.env if self.svc_orch_spec else []
        if routed and not any(e.name == "SELDON_ENABLE_ROUTING_INJECTION" and e.value for e in env):
            yield "without SELDON_ENABLE_ROUTING_INJECTION, feedback goes to both arms"
        for container in containers:
            longest = max(container.liveness_probe.patience_s, container.readiness_probe.patience_s)
            if longest >= self.progress_deadline_seconds:
                yield f"the probes of {container.name} wait longer than progressDeadlineSeconds"


class Spec(_Strict):
    """One predictor: with several, the mesh would draw again for the feedback call."""

    protocol: Literal["seldon"]
    predictors: list[Predictor] = Field(min_length=1, max_length=1)


class Metadata(_Strict):
    """Name, labels and annotations."""

    name: DeploymentName
    labels: dict[Key, Annotated[str, Field(max_length=MAX_NAME)]]
    annotations: dict[Key, str]


class SeldonDeployment(_Strict):
    """The whole manifest."""

    api_version: Literal["machinelearning.seldon.io/v1"]
    kind: Literal["SeldonDeployment"]
    metadata: Metadata
    spec: Spec

    @model_validator(mode="after")
    def _names_fit(self) -> SeldonDeployment:
        for predictor in self.spec.predictors:
            for index, component in enumerate(predictor.component_specs):
                nodes = [container.name for container in component.spec.containers]
                name = object_name(self.metadata.name, predictor.name, index, nodes)
                if len(name) > MAX_NAME:
                    raise ValueError(f"`{name}` has {len(name)} characters, more than {MAX_NAME}")
        return self


def object_name(deployment: str, predictor: str, index: int, containers: list[str]) -> str:
    """Name that the operator gives to the Deployment of a component, its longest name.

    >>> object_name("wine", "default", 0, ["model-a"])
    'wine-default-0-model-a'
    """
    return "-".join([deployment, predictor, str(index), *containers])
