"""A bad and a good example of every rule about KServe."""

from __future__ import annotations

from collections.abc import Mapping

from tests.linting.example import LOGGER, PREDICTOR, Example
from tests.linting.manifests import GONE

_MODE = "0.metadata.annotations.serving|kserve|io/deploymentMode"
_SCALER = "0.metadata.annotations.serving|kserve|io/autoscalerClass"
_QUERY = {"metric": {"query": "rate(x[1m])"}, "target": {"type": "Value", "value": "5"}}
_BY_QUERY = {"metrics": [{"type": "External", "external": _QUERY}]}

EXAMPLES: Mapping[str, Example] = {
    "kserve/model-format": Example(
        "kserve",
        ((f"{PREDICTOR}.model.runtime", GONE), (f"{PREDICTOR}.model.modelFormat.name", "sklaern")),
        ((f"{PREDICTOR}.model.runtime", GONE), (f"{PREDICTOR}.model.modelFormat.name", "sklearn")),
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
        ((f"{PREDICTOR}.workerSpec", {"tensorParallelSize": 0}),),
        ((f"{PREDICTOR}.workerSpec", {"tensorParallelSize": 1}),),
    ),
    "kserve/llm-scaling": Example(
        "kserve-llm",
        (("0.spec.replicas", 2),),
        path="spec.scaling",
    ),
    "kserve/name": Example("kserve", (("0.metadata.name", "3wines"),)),
    "kserve/no-mode": Example("kserve", ((_MODE, GONE),)),
    "kserve/unknown-mode": Example("kserve", ((_MODE, "Standart"),)),
    "kserve/old-mode": Example("kserve", ((_MODE, "RawDeployment"),)),
    "kserve/one-server": Example(
        "kserve",
        ((f"{PREDICTOR}.sklearn", {"storageUri": "s3://b/1"}),),
        ((f"{PREDICTOR}.containers", [{"name": "sidecar", "image": "me/side:1"}]),),
    ),
    "kserve/replicas": Example(
        "kserve", ((f"{PREDICTOR}.minReplicas", 3), (f"{PREDICTOR}.maxReplicas", 2))
    ),
    "kserve/zero-replicas": Example(
        "kserve",
        ((f"{PREDICTOR}.minReplicas", 0),),
        ((f"{PREDICTOR}.minReplicas", 0), (_MODE, "Knative")),
    ),
    "kserve/logger-mode": Example(
        "kserve",
        ((f"{PREDICTOR}.logger", {"url": "http://sink"}),),
        ((f"{PREDICTOR}.logger", LOGGER),),
    ),
    "kserve/logger-storage": Example(
        "kserve", ((f"{PREDICTOR}.logger", {**LOGGER, "storage": {"path": "x"}}),)
    ),
    "kserve/storage-ways": Example(
        "kserve",
        (
            (f"{PREDICTOR}.model.storageUri", "gs://b/1"),
            (f"{PREDICTOR}.model.storage", {"key": "k"}),
        ),
        ((f"{PREDICTOR}.model.storage", {"key": "k"}),),
    ),
    "kserve/storage-scheme": Example(
        "kserve",
        ((f"{PREDICTOR}.model.storageUri", "gcs://b/1"),),
        ((f"{PREDICTOR}.model.storageUri", "pvc://claim/1"),),
    ),
    "kserve/model-name": Example("kserve", ((f"{PREDICTOR}.model.name", "wine"),)),
    "kserve/pythonpath": Example(
        "kserve",
        (
            (
                f"{PREDICTOR}.containers",
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
        ((f"{PREDICTOR}.deploymentStrategy", {"type": "Recreate"}), (_MODE, "Knative")),
        ((f"{PREDICTOR}.deploymentStrategy", {"type": "Recreate"}),),
    ),
    "kserve/autoscaler-class": Example("kserve", ((_SCALER, "hba"),), ((_SCALER, "hpa"),)),
    "kserve/autoscaler-ignored": Example(
        "kserve", ((_SCALER, "hpa"), (_MODE, "Knative")), ((_SCALER, "hpa"),)
    ),
    "kserve/scale-metric": Example(
        "kserve",
        ((_SCALER, "hpa"), (f"{PREDICTOR}.scaleMetric", "rps")),
        ((f"{PREDICTOR}.scaleMetric", "rps"), (_MODE, "Knative")),
    ),
    "kserve/scale-target": Example(
        "kserve",
        ((_SCALER, "hpa"), (f"{PREDICTOR}.scaleTarget", 101)),
        ((_MODE, "Knative"), (f"{PREDICTOR}.scaleTarget", 101)),
    ),
    "kserve/autoscaling-metrics": Example(
        "kserve",
        ((_SCALER, "hpa"), (f"{PREDICTOR}.autoScaling", _BY_QUERY)),
        ((_SCALER, "keda"), (f"{PREDICTOR}.autoScaling", _BY_QUERY)),
    ),
    "kserve/canary-percent": Example(
        "kserve",
        ((f"{PREDICTOR}.canaryTrafficPercent", 10),),
        ((f"{PREDICTOR}.canaryTrafficPercent", 10), (_MODE, "Knative")),
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
        ((f"{PREDICTOR}.model.runtime", GONE), (f"{PREDICTOR}.model.protocolVersion", GONE)),
        ((f"{PREDICTOR}.model.protocolVersion", GONE),),
    ),
    "kserve/mlflow-version": Example(
        "kserve",
        ((f"{PREDICTOR}.model.runtime", GONE), (f"{PREDICTOR}.model.modelFormat.version", "3")),
        ((f"{PREDICTOR}.model.modelFormat.version", "3"),),
    ),
    "kserve/protocol": Example("kserve", ((f"{PREDICTOR}.model.protocolVersion", "V2"),)),
    "kserve/runtime": Example(
        "kserve",
        ((f"{PREDICTOR}.model.runtime", "kserve-mlservr"),),
        ((f"{PREDICTOR}.model.runtime", "another-teams"),),
    ),
    "kserve/stock-image": Example("kserve", ((f"{PREDICTOR}.model.runtime", GONE),)),
    "kserve/s3-secret": Example(
        "kserve-s3",
        (("3.secrets", []), (f"{PREDICTOR}.serviceAccountName", "reader")),
        ((f"{PREDICTOR}.serviceAccountName", "reader"),),
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
}
