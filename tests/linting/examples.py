"""A bad and a good example of every rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tests.linting.manifests import GONE

Change: TypeAlias = tuple[str, Any]


@dataclass(frozen=True)
class Example:
    """What breaks a rule, and what comes close and does not.

    Attributes:
        of: The set of manifests.
        bad: Changes that break the rule.
        good: Changes that do not; without any, the set as it is.
        path: Where the finding is, if that is worth saying.
        versions: Platform to version.
        feedback: Whether feedback is sent.
    """

    of: str
    bad: tuple[Change, ...]
    good: tuple[Change, ...] = ()
    path: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    feedback: bool = False


_P = "0.spec.predictors"
_ISVC = "0.spec.predictor"
_MODE = "0.metadata.annotations.serving|kserve|io/deploymentMode"
_SCALER = "0.metadata.annotations.serving|kserve|io/autoscalerClass"
_QUERY = {"metric": {"query": "rate(x[1m])"}, "target": {"type": "Value", "value": "5"}}
_BY_QUERY = {"metrics": [{"type": "External", "external": _QUERY}]}
_LOGGER = {"url": "http://sink", "mode": "all"}
_STOCK = (f"{_P}.0.componentSpecs.0.spec.containers.0.image", GONE)
_CONTAINER = "0.spec.template.spec.containers.0"
_ROUTE = "0.spec.rules.0"
_SHADOW = ((f"{_P}.1.shadow", True), (f"{_P}.0.traffic", 100), (f"{_P}.1.traffic", 20))

_SELDON_HPA = {
    "maxReplicas": 3,
    "metrics": [{"type": "Resource", "resource": {"name": "cpu", "targetAverageUtilization": 50}}],
}

EXAMPLES: Mapping[str, Example] = {
    # general
    "unknown-field": Example(
        "seldon-one",
        ((f"{_P}.0.graph.modelURI", "s3://b/1"),),
        path="spec.predictors[0].graph.modelURI",
    ),
    "wrong-type": Example(
        "seldon-ab",
        ((f"{_P}.0.graph.parameters.0.value", 0.5),),
        path="spec.predictors[0].graph.parameters[0].value",
    ),
    "missing-field": Example("seldon2", (("0.spec.mirror", {"name": "wine-c"}),)),
    "wrong-value": Example("kserve-graph", (("0.spec.nodes.root.routerType", "Spliter"),)),
    "unknown-kind": Example(
        "kserve", (("0.apiVersion", "serving.kserve.io/v1"),), path="apiVersion"
    ),
    "not-a-manifest": Example("kubernetes", (("1.kind", GONE),)),
    "name": Example("kubernetes", (("1.metadata.name", "Wine_1"),)),
    "repeated-object": Example(
        "seldon2",
        (("2.metadata.name", "wine-a"),),
        (("2.metadata.name", "wine-a"), ("2.metadata.namespace", "other")),
    ),
    "local-path": Example(
        "kserve",
        ((f"{_ISVC}.model.storageUri", "/home/me/model"),),
        ((f"{_ISVC}.model.storageUri", "/mnt/models"),),
        path="spec.predictor.model.storageUri",
    ),
    "kubernetes/requests": Example(
        "kubernetes",
        ((f"{_CONTAINER}.resources.limits", {"cpu": "0.4"}),),
        ((f"{_CONTAINER}.resources.limits", {"cpu": 1}),),
        path="spec.template.spec.containers[0].resources.requests.cpu",
    ),
    "kubernetes/memory-unit": Example(
        "kubernetes",
        ((f"{_CONTAINER}.resources.requests.memory", "512m"),),
        ((f"{_CONTAINER}.resources.requests.memory", "512M"),),
    ),
    "kubernetes/volumes": Example(
        "kubernetes",
        ((f"{_CONTAINER}.volumeMounts", [{"name": "data", "mountPath": "/data"}]),),
        (
            (f"{_CONTAINER}.volumeMounts", [{"name": "data", "mountPath": "/data"}]),
            ("0.spec.template.spec.volumes", [{"name": "data", "emptyDir": {}}]),
        ),
    ),
    "kubernetes/names": Example(
        "kubernetes",
        ((f"{_CONTAINER}.ports.+", {"name": "http", "containerPort": 81}),),
        ((f"{_CONTAINER}.ports.+", {"name": "http-2", "containerPort": 81}),),
        path="spec.template.spec.containers[0].ports[1].name",
    ),
    "kubernetes/probe-port": Example(
        "kubernetes",
        ((f"{_CONTAINER}.readinessProbe", {"httpGet": {"port": "web"}}),),
        ((f"{_CONTAINER}.readinessProbe", {"httpGet": {"port": "http"}}),),
    ),
    "kubernetes/labels": Example(
        "kubernetes",
        (("0.metadata.labels", {"model": "org/wine"}),),
        (("0.metadata.annotations", {"model": "org/wine"}),),
        path="metadata.labels.model",
    ),
    "kubernetes/secret-data": Example(
        "seldon-store",
        (("1.data", {"user": "admin"}),),
        (("1.data", {"user": "YWRtaW4="}),),
        path="data.user",
    ),
    "kserve/model-format": Example(
        "kserve",
        ((f"{_ISVC}.model.runtime", GONE), (f"{_ISVC}.model.modelFormat.name", "sklaern")),
        ((f"{_ISVC}.model.runtime", GONE), (f"{_ISVC}.model.modelFormat.name", "sklearn")),
        path="spec.predictor.model.modelFormat.name",
    ),
    "kserve/s3-endpoint": Example(
        "kserve-s3",
        (("2.metadata.annotations.serving|kserve|io/s3-endpoint", "s3://bucket/wine"),),
        (("2.metadata.annotations.serving|kserve|io/s3-endpoint", "http://minio:9000"),),
    ),
    "kserve/s3-annotation": Example(
        "kserve-s3",
        (("3.metadata.annotations", {"serving.kserve.io/s3-region": "eu-west-1"}),),
        (
            (
                "3.metadata.annotations",
                {
                    "serving.kserve.io/s3-region": "eu-west-1",
                    "eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/reader",
                },
            ),
        ),
    ),
    "kserve/system-namespace": Example("kserve", (("0.metadata.namespace", "kserve"),)),
    "kserve/long-name": Example(
        "kserve", (("0.metadata.name", "w" * 54),), (("0.metadata.name", "w" * 53),)
    ),
    "kserve/container-name": Example(
        "kserve",
        (
            ("1.spec.containers.+", {"name": "log", "image": "log:1"}),
            ("1.spec.containers.0.name", "a"),
        ),
        (("1.spec.containers.+", {"name": "log", "image": "log:1"}),),
    ),
    "kserve/parallel-size": Example(
        "kserve",
        ((f"{_ISVC}.workerSpec", {"tensorParallelSize": 0}),),
        ((f"{_ISVC}.workerSpec", {"tensorParallelSize": 1}),),
    ),
    "kserve/llm-scaling": Example(
        "kserve-llm",
        (("0.spec.replicas", 2),),
        path="spec.scaling",
    ),
    "seldon/hpa-requests": Example(
        "seldon-one",
        ((f"{_P}.0.componentSpecs.0.hpaSpec", _SELDON_HPA),),
        (
            (f"{_P}.0.componentSpecs.0.hpaSpec", _SELDON_HPA),
            (
                f"{_P}.0.componentSpecs.0.spec.containers.0.resources",
                {"requests": {"cpu": "100m"}},
            ),
        ),
    ),
    "seldon2/storage": Example("seldon2", (("1.spec.storageUri", "pvc://models/wine"),)),
    "seldon2/replicas": Example(
        "seldon2",
        (("1.spec.replicas", 2),),
        (("1.spec.replicas", 2), ("4.spec.maxReplicas", 3)),
    ),
    "secret-value": Example(
        "kubernetes",
        ((f"{_CONTAINER}.env.+", {"name": "AWS_SECRET_ACCESS_KEY", "value": "hunter2"}),),
        (
            (
                f"{_CONTAINER}.env.+",
                {
                    "name": "AWS_SECRET_ACCESS_KEY",
                    "valueFrom": {"secretKeyRef": {"name": "s3", "key": "secret"}},
                },
            ),
            (f"{_CONTAINER}.env.+", {"name": "TOKEN_FILE", "value": "/run/token"}),
        ),
    ),
    "mlflow-uri": Example(
        "kserve",
        ((f"{_ISVC}.model.storageUri", "models:/wine/3"),),
        ((f"{_ISVC}.model.storageUri", "gs://models/wine/3"),),
    ),
    "image-tag": Example(
        "kubernetes",
        ((f"{_CONTAINER}.image", "localhost:5000/wine"),),
        ((f"{_CONTAINER}.image", "localhost:5000/wine@sha256:" + "0" * 64),),
    ),
    # kubernetes
    "kubernetes/selector": Example(
        "kubernetes", (("0.spec.selector", {"matchLabels": {"app": "beer"}}),)
    ),
    "kubernetes/service-selector": Example("kubernetes", (("1.spec.selector", {"app": "beer"}),)),
    "kubernetes/service-port": Example(
        "kubernetes",
        (("1.spec.ports.0.targetPort", "web"),),
        (("1.spec.ports.0.targetPort", 8080),),
    ),
    "kubernetes/hpa-replicas": Example("kubernetes", (("0.spec.replicas", 2),)),
    "kubernetes/hpa-requests": Example("kubernetes", ((f"{_CONTAINER}.resources", {}),)),
    "kubernetes/hpa-bounds": Example("kubernetes", (("2.spec.minReplicas", 11),)),
    "kubernetes/disruption": Example(
        "kubernetes", (("3.spec.minAvailable", 2),), (("2.spec.minReplicas", 3),)
    ),
    "kubernetes/shared-sqlite": Example(
        "kubernetes",
        ((f"{_CONTAINER}.env", []),),
        (
            (f"{_CONTAINER}.env", []),
            ("0.spec.strategy", {"type": "Recreate"}),
            ("2.spec.scaleTargetRef.name", "other"),
        ),
    ),
    # gateway
    "gateway/mirror-share": Example(
        "kserve-route",
        ((f"{_ROUTE}.filters.0.requestMirror.fraction", {"numerator": 1}),),
        (
            (f"{_ROUTE}.filters.0.requestMirror.percent", GONE),
            (f"{_ROUTE}.filters.0.requestMirror.fraction", {"numerator": 1}),
        ),
    ),
    "gateway/mirror-version": Example(
        "kserve-route",
        ((f"{_ROUTE}.filters.0.requestMirror.percent", 50),),
        ((f"{_ROUTE}.filters.0.requestMirror.percent", GONE),),
        versions={"gateway-api": "1.2.1"},
    ),
    "gateway/weights": Example(
        "kserve-route",
        ((f"{_ROUTE}.backendRefs.0.weight", 0), (f"{_ROUTE}.backendRefs.1.weight", 0)),
        ((f"{_ROUTE}.backendRefs.0.weight", 0), (f"{_ROUTE}.backendRefs.1.weight", GONE)),
    ),
    "gateway/backend": Example("kserve-route", ((f"{_ROUTE}.backendRefs.0.name", "wine-a"),)),
    "gateway/served-names": Example("kserve-route", (("1.spec.predictor.model.env", []),)),
    # kserve
    "kserve/name": Example("kserve", (("0.metadata.name", "3wines"),)),
    "kserve/no-mode": Example("kserve", ((_MODE, GONE),)),
    "kserve/unknown-mode": Example("kserve", ((_MODE, "Standart"),)),
    "kserve/old-mode": Example("kserve", ((_MODE, "RawDeployment"),)),
    "kserve/one-server": Example(
        "kserve",
        ((f"{_ISVC}.sklearn", {"storageUri": "s3://b/1"}),),
        ((f"{_ISVC}.containers", [{"name": "sidecar", "image": "me/side:1"}]),),
    ),
    "kserve/replicas": Example(
        "kserve", ((f"{_ISVC}.minReplicas", 3), (f"{_ISVC}.maxReplicas", 2))
    ),
    "kserve/zero-replicas": Example(
        "kserve",
        ((f"{_ISVC}.minReplicas", 0),),
        ((f"{_ISVC}.minReplicas", 0), (_MODE, "Knative")),
    ),
    "kserve/logger-mode": Example(
        "kserve", ((f"{_ISVC}.logger", {"url": "http://sink"}),), ((f"{_ISVC}.logger", _LOGGER),)
    ),
    "kserve/logger-storage": Example(
        "kserve", ((f"{_ISVC}.logger", {**_LOGGER, "storage": {"path": "x"}}),)
    ),
    "kserve/storage-ways": Example(
        "kserve",
        ((f"{_ISVC}.model.storageUri", "gs://b/1"), (f"{_ISVC}.model.storage", {"key": "k"})),
        ((f"{_ISVC}.model.storage", {"key": "k"}),),
    ),
    "kserve/storage-scheme": Example(
        "kserve",
        ((f"{_ISVC}.model.storageUri", "gcs://b/1"),),
        ((f"{_ISVC}.model.storageUri", "pvc://claim/1"),),
    ),
    "kserve/model-name": Example("kserve", ((f"{_ISVC}.model.name", "wine"),)),
    "kserve/pythonpath": Example(
        "kserve",
        (
            (
                f"{_ISVC}.containers",
                [
                    {
                        "name": "side",
                        "image": "me/side:1",
                        "env": [{"name": "PYTHONPATH", "value": "x"}],
                    }
                ],
            ),
        ),
    ),
    "kserve/strategy": Example(
        "kserve",
        ((f"{_ISVC}.deploymentStrategy", {"type": "Recreate"}), (_MODE, "Knative")),
        ((f"{_ISVC}.deploymentStrategy", {"type": "Recreate"}),),
    ),
    "kserve/autoscaler-class": Example("kserve", ((_SCALER, "hba"),), ((_SCALER, "hpa"),)),
    "kserve/autoscaler-ignored": Example(
        "kserve", ((_SCALER, "hpa"), (_MODE, "Knative")), ((_SCALER, "hpa"),)
    ),
    "kserve/scale-metric": Example(
        "kserve",
        ((_SCALER, "hpa"), (f"{_ISVC}.scaleMetric", "rps")),
        ((f"{_ISVC}.scaleMetric", "rps"), (_MODE, "Knative")),
    ),
    "kserve/scale-target": Example(
        "kserve",
        ((_SCALER, "hpa"), (f"{_ISVC}.scaleTarget", 101)),
        ((_MODE, "Knative"), (f"{_ISVC}.scaleTarget", 101)),
    ),
    "kserve/autoscaling-metrics": Example(
        "kserve",
        ((_SCALER, "hpa"), (f"{_ISVC}.autoScaling", _BY_QUERY)),
        ((_SCALER, "keda"), (f"{_ISVC}.autoScaling", _BY_QUERY)),
    ),
    "kserve/canary-percent": Example(
        "kserve",
        ((f"{_ISVC}.canaryTrafficPercent", 10),),
        ((f"{_ISVC}.canaryTrafficPercent", 10), (_MODE, "Knative")),
    ),
    "kserve/canary-mode": Example("kserve-canary", ((_MODE, "Knative"),)),
    "kserve/canary-version": Example(
        "kserve-canary", (("0.spec.canary.0.trafficPercent", 10),), (("0.spec.canary", []),)
    ),
    "kserve/canary": Example(
        "kserve-canary",
        (("0.spec.canary.0.predictor.name", "old"),),
        (("0.spec.canary.0.trafficPercent", 100),),
        path="spec.canary[0].predictor.name",
    ),
    "kserve/mlflow-protocol": Example(
        "kserve",
        ((f"{_ISVC}.model.runtime", GONE), (f"{_ISVC}.model.protocolVersion", GONE)),
        ((f"{_ISVC}.model.protocolVersion", GONE),),
    ),
    "kserve/mlflow-version": Example(
        "kserve",
        ((f"{_ISVC}.model.runtime", GONE), (f"{_ISVC}.model.modelFormat.version", "3")),
        ((f"{_ISVC}.model.modelFormat.version", "3"),),
    ),
    "kserve/protocol": Example("kserve", ((f"{_ISVC}.model.protocolVersion", "V2"),)),
    "kserve/runtime": Example(
        "kserve",
        ((f"{_ISVC}.model.runtime", "kserve-mlservr"),),
        ((f"{_ISVC}.model.runtime", "another-teams"),),
    ),
    "kserve/stock-image": Example("kserve", ((f"{_ISVC}.model.runtime", GONE),)),
    "kserve/s3-secret": Example(
        "kserve-s3",
        (("3.secrets", []), (f"{_ISVC}.serviceAccountName", "reader")),
        ((f"{_ISVC}.serviceAccountName", "reader"),),
    ),
    "kserve/full-image": Example(
        "kserve", (("1.spec.containers.0.image", "seldonio/mlserver:1.7.1"),)
    ),
    "kserve/metrics-port": Example(
        "kserve", (("1.spec.annotations.prometheus|kserve|io/port", "8080"),)
    ),
    "kserve/feedback": Example("kserve", (("0.metadata.name", "wine"),), feedback=True),
    "kserve/graph-root": Example(
        "kserve-graph",
        (
            (
                "0.spec.nodes",
                {"start": {"routerType": "Sequence", "steps": [{"serviceName": "wine-a"}]}},
            ),
        ),
    ),
    "kserve/graph-names": Example("kserve-graph", (("0.spec.nodes.root.steps.1.name", "a"),)),
    "kserve/graph-target": Example(
        "kserve-graph", (("0.spec.nodes.root.steps.0.serviceUrl", "http://x/v2/models/y/infer"),)
    ),
    "kserve/graph-weights": Example("kserve-graph", (("0.spec.nodes.root.steps.0.weight", 60),)),
    "kserve/graph-node": Example(
        "kserve-graph",
        (("0.spec.nodes.root.steps.0", {"name": "a", "nodeName": "x", "weight": 50}),),
    ),
    "kserve/graph-cycle": Example(
        "kserve-graph",
        (("0.spec.nodes.root.steps.0", {"name": "a", "nodeName": "root", "weight": 50}),),
    ),
    "kserve/graph-service": Example(
        "kserve-graph", (("0.spec.nodes.root.steps.0.serviceName", "wine-c"),)
    ),
    "kserve/graph-url": Example(
        "kserve-graph",
        (
            (
                "0.spec.nodes.root.steps.0",
                {"name": "a", "serviceUrl": "http://wine-a/", "weight": 50},
            ),
        ),
        (
            (
                "0.spec.nodes.root.steps.0",
                {"name": "a", "serviceUrl": "http://w/v2/models/a/infer", "weight": 50},
            ),
        ),
    ),
    # seldon 1
    "seldon/no-predictors": Example("seldon-one", (("0.spec.predictors", []),)),
    "seldon/repeated-predictor": Example("seldon-split", ((f"{_P}.1.name", "a"),)),
    "seldon/unknown-value": Example(
        "seldon-one",
        ((f"{_P}.0.graph.type", "MODLE"),),
        ((f"{_P}.0.graph.type", "UNKNOWN_TYPE"), (f"{_P}.0.graph.methods", ["TRANSFORM_INPUT"])),
        path="spec.predictors[0].graph.type",
    ),
    "seldon/traffic-sum": Example(
        "seldon-split",
        ((f"{_P}.0.traffic", 60),),
        ((f"{_P}.0.traffic", 100), (f"{_P}.1.shadow", True)),
    ),
    "seldon/traffic-range": Example(
        "seldon-split", ((f"{_P}.0.traffic", 150), (f"{_P}.1.traffic", -50))
    ),
    "seldon/shadows": Example(
        "seldon-split",
        ((f"{_P}.0.shadow", True), (f"{_P}.1.shadow", True)),
        _SHADOW,
    ),
    "seldon/split-feedback": Example(
        "seldon-split",
        (("0.spec.protocol", "seldon"),),
        (
            ("0.spec.protocol", "seldon"),
            ("0.metadata.annotations", {"mlops/feedback": "none"}),
        ),
    ),
    "seldon/lost-feedback": Example(
        "seldon-split",
        (("0.spec.protocol", "seldon"),),
        (("0.spec.protocol", "seldon"), (f"{_P}.1", GONE), (f"{_P}.0.traffic", 100)),
        feedback=True,
    ),
    "seldon/zero-reward": Example(
        "seldon-one", (("0.spec.protocol", "seldon"), _STOCK), feedback=True
    ),
    "seldon/v2-feedback": Example(
        "seldon-one",
        (("0.spec.protocol", "v2"),),
        (("0.spec.protocol", "seldon"),),
        feedback=True,
    ),
    "seldon/routing-injection": Example("seldon-ab", ((f"{_P}.0.svcOrchSpec.env", []),)),
    "seldon/no-engine": Example(
        "seldon-ab", (("0.spec.annotations", {"seldon.io/no-engine": "true"}),)
    ),
    "seldon/executor-off": Example(
        "seldon-one",
        (("0.spec.annotations", {"seldon.io/executor": "false"}),),
        (("0.spec.annotations", {"seldon.io/executor": "true"}),),
        path="spec.annotations.seldon.io/executor",
    ),
    "seldon/repeated-service": Example(
        "seldon-split",
        (
            (f"{_P}.0.annotations.seldon|io/svc-name", "wine"),
            (f"{_P}.1.annotations.seldon|io/svc-name", "wine"),
        ),
    ),
    "seldon/kafka": Example("seldon-one", (("0.spec.serverType", "kafka"),)),
    "seldon/endpoints": Example(
        "seldon-one",
        ((f"{_P}.0.graph.endpoint", {"type": "GRPC"}), ("0.spec.transport", "rest")),
        ((f"{_P}.0.graph.endpoint", {"type": "REST"}), ("0.spec.transport", "rest")),
    ),
    "seldon/v2-names": Example(
        "seldon-split",
        (
            (f"{_P}.1.graph.name", "other"),
            (f"{_P}.1.componentSpecs.0.spec.containers.0.name", "other"),
        ),
    ),
    "seldon/zero-traffic": Example(
        "seldon-split", ((f"{_P}.0.traffic", 100), (f"{_P}.1.traffic", 0))
    ),
    "seldon/regex-header": Example(
        "seldon-one",
        (("0.spec.annotations", {"seldon.io/ambassador-regex-header": "a:b"}),),
        (
            (
                "0.spec.annotations",
                {
                    "seldon.io/ambassador-regex-header": "a:b",
                    "seldon.io/ambassador-header": "c:d",
                },
            ),
        ),
    ),
    "seldon/long-names": Example(
        "seldon-one", (("0.metadata.name", "w" * 57),), (("0.metadata.name", "w" * 54),)
    ),
    "seldon/java-engine": Example(
        "seldon-ab",
        ((f"{_P}.0.svcOrchSpec.env.+", {"name": "SELDON_LOG_REQUESTS", "value": "true"}),),
    ),
    "seldon/api-version": Example(
        "seldon-one", (("0.apiVersion", "machinelearning.seldon.io/v1alpha2"),)
    ),
    "seldon/kfserving": Example("seldon-one", (("0.spec.protocol", "kfserving"),)),
    "seldon/spec-name": Example("seldon-one", (("0.spec.name", "wine"),)),
    "seldon/version-annotation": Example("seldon-one", ((f"{_P}.0.annotations", {}),)),
    "seldon/ignored-replicas": Example(
        "seldon-one",
        (
            (f"{_P}.0.componentSpecs.0.hpaSpec", {"maxReplicas": 3}),
            (f"{_P}.0.componentSpecs.0.replicas", 2),
        ),
        ((f"{_P}.0.componentSpecs.0.hpaSpec", {"maxReplicas": 3}),),
    ),
    "seldon/licence": Example(
        "seldon-bandit",
        (
            (
                f"{_P}.0.componentSpecs.0.spec.containers.0.image",
                "seldonio/mab_epsilon_greedy:1.18.2",
            ),
        ),
        (
            (
                f"{_P}.0.componentSpecs.0.spec.containers.0.image",
                "seldonio/mab_epsilon_greedy:1.17.1",
            ),
        ),
    ),
    "seldon/node-name": Example(
        "seldon-one",
        (
            (f"{_P}.0.graph.name", "Wine_A"),
            (f"{_P}.0.componentSpecs.0.spec.containers.0.name", "Wine_A"),
        ),
    ),
    "seldon/no-container": Example(
        "seldon-bandit", ((f"{_P}.0.componentSpecs.0.spec.containers.0.name", "other"),)
    ),
    "seldon/no-methods": Example(
        "seldon-one",
        ((f"{_P}.0.graph.type", "UNKNOWN_TYPE"), (f"{_P}.0.graph.implementation", GONE)),
        ((f"{_P}.0.graph.type", "UNKNOWN_TYPE"), (f"{_P}.0.graph.methods", ["TRANSFORM_INPUT"])),
    ),
    "seldon/no-model-uri": Example("seldon-one", ((f"{_P}.0.graph.modelUri", GONE),)),
    "seldon/implementation": Example(
        "seldon-one", ((f"{_P}.0.graph.implementation", "MLFLOW_SEVER"),)
    ),
    "seldon/dead-implementation": Example(
        "seldon-ab", ((f"{_P}.0.graph.implementation", "AVERAGE_COMBINER"),)
    ),
    "seldon/server-protocol": Example(
        "seldon-one",
        (("0.spec.protocol", "tensorflow"),),
        (("0.spec.protocol", "seldon"),),
    ),
    "seldon/logger-mode": Example(
        "seldon-one",
        ((f"{_P}.0.graph.logger", {"url": "http://sink"}),),
        ((f"{_P}.0.graph.logger", _LOGGER),),
    ),
    "seldon/logger-url": Example(
        "seldon-one",
        ((f"{_P}.0.graph.logger", {"mode": "all"}),),
        ((f"{_P}.0.graph.logger", _LOGGER),),
    ),
    "seldon/shadow-logger": Example(
        "seldon-split",
        (*_SHADOW, (f"{_P}.0.graph.logger", _LOGGER), (f"{_P}.1.graph.logger", _LOGGER)),
        (
            *_SHADOW,
            (f"{_P}.0.graph.logger", _LOGGER),
            (f"{_P}.1.graph.logger", {"url": "http://other", "mode": "all"}),
        ),
    ),
    "seldon/parameter": Example("seldon-bandit", ((f"{_P}.0.graph.parameters.0.value", "two"),)),
    "seldon/abtest-children": Example("seldon-ab", ((f"{_P}.0.graph.children.1", GONE),)),
    "seldon/abtest-parameter": Example(
        "seldon-ab",
        ((f"{_P}.0.graph.parameters.+", {"name": "seed", "value": "1", "type": "INT"}),),
    ),
    "seldon/abtest-ratio": Example(
        "seldon-ab",
        ((f"{_P}.0.graph.parameters.0.value", "50"),),
        ((f"{_P}.0.graph.parameters.0.value", "1"),),
    ),
    "seldon/abtest-type": Example("seldon-ab", ((f"{_P}.0.graph.type", "ROUTER"),)),
    "seldon/branches": Example("seldon-bandit", ((f"{_P}.0.graph.parameters.0.value", "3"),)),
    "seldon/epsilon": Example("seldon-bandit", ((f"{_P}.0.graph.parameters.1.value", "10"),)),
    "seldon/bandit-replicas": Example("seldon-bandit", ((f"{_P}.0.replicas", 2),)),
    "seldon/short-probes": Example(
        "seldon-one",
        (("0.spec.protocol", "seldon"), _STOCK),
        (
            ("0.spec.protocol", "seldon"),
            _STOCK,
            (
                f"{_P}.0.componentSpecs.0.spec.containers.0.livenessProbe",
                {"initialDelaySeconds": 80, "periodSeconds": 5, "failureThreshold": 200},
            ),
        ),
    ),
    "seldon/stock-server": Example("seldon-one", (_STOCK,)),
    "seldon/rclone-remote": Example(
        "seldon-store",
        ((f"{_P}.0.graph.envSecretRefName", "store"), (f"{_P}.0.graph.modelUri", "minio://b/1")),
        ((f"{_P}.0.graph.envSecretRefName", "store"),),
    ),
    "seldon/anonymous-gs": Example(
        "seldon-one",
        ((f"{_P}.0.graph.modelUri", "gs://b/1"),),
        ((f"{_P}.0.graph.modelUri", "gcs://b/1"),),
    ),
    # seldon 2
    "seldon2/name": Example("seldon2", (("4.metadata.name", "ours.two"),)),
    "seldon2/default": Example("seldon2", (("0.spec.default", "wine-c"),)),
    "seldon2/no-default": Example("seldon2", (("0.spec.default", GONE),)),
    "seldon2/shared-default": Example(
        "seldon2",
        (
            ("5.apiVersion", "mlops.seldon.io/v1alpha1"),
            ("5.kind", "Experiment"),
            ("5.stringData", GONE),
            (
                "5.spec",
                {
                    "default": "wine-a",
                    "candidates": [{"name": "wine-a", "weight": 1}],
                },
            ),
        ),
    ),
    "seldon2/candidates": Example(
        "seldon2",
        (("0.spec.mirror.name", "wine-b"),),
        path="spec.mirror.name",
    ),
    "seldon2/weights": Example(
        "seldon2",
        (("0.spec.candidates.0.weight", 0), ("0.spec.candidates.1.weight", 0)),
        (("0.spec.candidates.0.weight", 0),),
    ),
    "seldon2/mirror": Example("seldon2", (("0.spec.mirror.percent", 101),)),
    "seldon2/resource-type": Example(
        "seldon2", (("0.spec.resourceType", "pipelines"),), (("0.spec.resourceType", "model"),)
    ),
    "seldon2/unknown-candidate": Example("seldon2", (("0.spec.candidates.0.name", "wine-d"),)),
    "seldon2/exclusive": Example(
        "seldon2", (("1.spec.explainer", {"type": "x", "modelRef": "a", "pipelineRef": "b"}),)
    ),
    "seldon2/capability": Example(
        "seldon2",
        (("1.spec.requirements.+", "spark-mllib"),),
        (("1.spec.requirements.+", "gpu"), ("4.spec.extraCapabilities", ["gpu"])),
    ),
    "seldon2/memory": Example("seldon2", (("1.spec.memory", GONE),)),
    "seldon2/storage-secret": Example(
        "seldon2",
        (("1.spec.storageUri", "gs://b/1"),),
        path="spec.storageUri",
    ),
    "seldon2/image": Example("seldon2", (("1.spec.server", GONE),)),
    "seldon2/licence": Example(
        "seldon2",
        (("1.spec.llm", {"modelRef": "x"}),),
    ),
    "seldon2/full-image": Example(
        "seldon2", (("4.spec.podSpec.containers.0.image", "seldonio/mlserver:1.7.1"),)
    ),
    "seldon2/feedback": Example("seldon2", (("0.metadata.name", "wine"),), feedback=True),
    "seldon2/steps": Example("seldon2-pipeline", (("0.spec.steps.2.name", "checked"),)),
    "seldon2/step-inputs": Example(
        "seldon2-pipeline",
        (("0.spec.steps.1.inputs", ["clear.outputs"]),),
        (("0.spec.steps.1.inputs", ["clean.outputs.alcohol"]),),
    ),
    "seldon2/step-triggers": Example("seldon2-pipeline", (("0.spec.steps.1.triggers", ["clear"]),)),
    "seldon2/step-cycle": Example(
        "seldon2-pipeline",
        (("0.spec.steps.0.inputs", ["wine"]),),
        (("0.spec.steps.0.inputs", ["wine"]), ("0.spec.allowCycles", True)),
    ),
    "seldon2/external-inputs": Example(
        "seldon2-pipeline",
        (("0.spec.input.externalInputs", ["other"]),),
        (("0.spec.input.externalInputs", ["other.step.clean.outputs.alcohol"]),),
    ),
    "seldon2/no-output": Example("seldon2-pipeline", (("0.spec.output", GONE),)),
    "seldon2/batched-output": Example("seldon2-pipeline", (("0.spec.output.steps", ["drift"]),)),
    # Prometheus and Grafana
    "monitoring/selector": Example(
        "monitoring",
        (("3.spec.selector.matchLabels", {"app": "wein"}),),
        (("1.metadata.labels", {"app": "wine", "tier": "front"}),),
        path="spec.selector",
    ),
    "monitoring/port": Example(
        "monitoring",
        # The name of the container's port where that of the Service is meant.
        (("3.spec.endpoints.0.port", "http"),),
        (("2.spec.selector.matchLabels", {"app": "elsewhere"}),),
        path="spec.endpoints[0].port",
    ),
    "monitoring/for": Example(
        "monitoring", (("4.spec.groups.0.rules.1.for", GONE),), path="spec.groups[0].rules[1]"
    ),
    "monitoring/release": Example(
        "monitoring",
        (("4.metadata.labels", {}),),
        tuple((f"{number}.metadata.labels", {}) for number in (2, 3, 4)),
    ),
    "monitoring/network": Example(
        "monitoring",
        (("5.spec.ingress.0.from.1", GONE),),
        (("5.spec.ingress.0.from", GONE),),
        path="spec.ingress",
    ),
    "monitoring/dashboard": Example(
        "monitoring",
        (("6.data", {"wine.json": "{panels: []}"}),),
        (("6.data", {"wine.json": "{}"}), ("6.metadata.labels", {})),
    ),
}
