"""A bad and a good example of every rule about Seldon Core v1."""

from __future__ import annotations

from collections.abc import Mapping

from tests.linting.example import LOGGER, PREDICTORS, Example
from tests.linting.manifests import GONE

_STOCK = (f"{PREDICTORS}.0.componentSpecs.0.spec.containers.0.image", GONE)
_SHADOW = (
    (f"{PREDICTORS}.1.shadow", True),
    (f"{PREDICTORS}.0.traffic", 100),
    (f"{PREDICTORS}.1.traffic", 20),
)
_SELDON_HPA = {
    "maxReplicas": 3,
    "metrics": [{"type": "Resource", "resource": {"name": "cpu", "targetAverageUtilization": 50}}],
}

EXAMPLES: Mapping[str, Example] = {
    "seldon/hpa-requests": Example(
        "seldon-one",
        ((f"{PREDICTORS}.0.componentSpecs.0.hpaSpec", _SELDON_HPA),),
        (
            (f"{PREDICTORS}.0.componentSpecs.0.hpaSpec", _SELDON_HPA),
            (
                f"{PREDICTORS}.0.componentSpecs.0.spec.containers.0.resources",
                {"requests": {"cpu": "100m"}},
            ),
        ),
    ),
    "seldon/no-predictors": Example("seldon-one", (("0.spec.predictors", []),)),
    "seldon/repeated-predictor": Example("seldon-split", ((f"{PREDICTORS}.1.name", "a"),)),
    "seldon/unknown-value": Example(
        "seldon-one",
        ((f"{PREDICTORS}.0.graph.type", "MODLE"),),
        (
            (f"{PREDICTORS}.0.graph.type", "UNKNOWN_TYPE"),
            (f"{PREDICTORS}.0.graph.methods", ["TRANSFORM_INPUT"]),
        ),
        path="spec.predictors[0].graph.type",
    ),
    "seldon/traffic-sum": Example(
        "seldon-split",
        ((f"{PREDICTORS}.0.traffic", 60),),
        ((f"{PREDICTORS}.0.traffic", 100), (f"{PREDICTORS}.1.shadow", True)),
    ),
    "seldon/traffic-range": Example(
        "seldon-split", ((f"{PREDICTORS}.0.traffic", 150), (f"{PREDICTORS}.1.traffic", -50))
    ),
    "seldon/shadows": Example(
        "seldon-split",
        ((f"{PREDICTORS}.0.shadow", True), (f"{PREDICTORS}.1.shadow", True)),
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
        (
            ("0.spec.protocol", "seldon"),
            (f"{PREDICTORS}.1", GONE),
            (f"{PREDICTORS}.0.traffic", 100),
        ),
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
    "seldon/routing-injection": Example("seldon-ab", ((f"{PREDICTORS}.0.svcOrchSpec.env", []),)),
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
            (f"{PREDICTORS}.0.annotations.seldon|io/svc-name", "wine"),
            (f"{PREDICTORS}.1.annotations.seldon|io/svc-name", "wine"),
        ),
    ),
    "seldon/kafka": Example("seldon-one", (("0.spec.serverType", "kafka"),)),
    "seldon/endpoints": Example(
        "seldon-one",
        ((f"{PREDICTORS}.0.graph.endpoint", {"type": "GRPC"}), ("0.spec.transport", "rest")),
        ((f"{PREDICTORS}.0.graph.endpoint", {"type": "REST"}), ("0.spec.transport", "rest")),
    ),
    "seldon/v2-names": Example(
        "seldon-split",
        (
            (f"{PREDICTORS}.1.graph.name", "other"),
            (f"{PREDICTORS}.1.componentSpecs.0.spec.containers.0.name", "other"),
        ),
    ),
    "seldon/zero-traffic": Example(
        "seldon-split", ((f"{PREDICTORS}.0.traffic", 100), (f"{PREDICTORS}.1.traffic", 0))
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
        ((f"{PREDICTORS}.0.svcOrchSpec.env.+", {"name": "SELDON_LOG_REQUESTS", "value": "true"}),),
    ),
    "seldon/api-version": Example(
        "seldon-one", (("0.apiVersion", "machinelearning.seldon.io/v1alpha2"),)
    ),
    "seldon/kfserving": Example("seldon-one", (("0.spec.protocol", "kfserving"),)),
    "seldon/spec-name": Example("seldon-one", (("0.spec.name", "wine"),)),
    "seldon/version-annotation": Example("seldon-one", ((f"{PREDICTORS}.0.annotations", {}),)),
    "seldon/ignored-replicas": Example(
        "seldon-one",
        (
            (f"{PREDICTORS}.0.componentSpecs.0.hpaSpec", {"maxReplicas": 3}),
            (f"{PREDICTORS}.0.componentSpecs.0.replicas", 2),
        ),
        ((f"{PREDICTORS}.0.componentSpecs.0.hpaSpec", {"maxReplicas": 3}),),
    ),
    "seldon/licence": Example(
        "seldon-bandit",
        (
            (
                f"{PREDICTORS}.0.componentSpecs.0.spec.containers.0.image",
                "seldonio/mab_epsilon_greedy:1.18.2",
            ),
        ),
        (
            (
                f"{PREDICTORS}.0.componentSpecs.0.spec.containers.0.image",
                "seldonio/mab_epsilon_greedy:1.17.1",
            ),
        ),
    ),
    "seldon/node-name": Example(
        "seldon-one",
        (
            (f"{PREDICTORS}.0.graph.name", "Wine_A"),
            (f"{PREDICTORS}.0.componentSpecs.0.spec.containers.0.name", "Wine_A"),
        ),
    ),
    "seldon/no-container": Example(
        "seldon-bandit", ((f"{PREDICTORS}.0.componentSpecs.0.spec.containers.0.name", "other"),)
    ),
    "seldon/no-methods": Example(
        "seldon-one",
        (
            (f"{PREDICTORS}.0.graph.type", "UNKNOWN_TYPE"),
            (f"{PREDICTORS}.0.graph.implementation", GONE),
        ),
        (
            (f"{PREDICTORS}.0.graph.type", "UNKNOWN_TYPE"),
            (f"{PREDICTORS}.0.graph.methods", ["TRANSFORM_INPUT"]),
        ),
    ),
    "seldon/no-model-uri": Example("seldon-one", ((f"{PREDICTORS}.0.graph.modelUri", GONE),)),
    "seldon/implementation": Example(
        "seldon-one", ((f"{PREDICTORS}.0.graph.implementation", "MLFLOW_SEVER"),)
    ),
    "seldon/dead-implementation": Example(
        "seldon-ab", ((f"{PREDICTORS}.0.graph.implementation", "AVERAGE_COMBINER"),)
    ),
    "seldon/server-protocol": Example(
        "seldon-one",
        (("0.spec.protocol", "tensorflow"),),
        (("0.spec.protocol", "seldon"),),
    ),
    "seldon/logger-mode": Example(
        "seldon-one",
        ((f"{PREDICTORS}.0.graph.logger", {"url": "http://sink"}),),
        ((f"{PREDICTORS}.0.graph.logger", LOGGER),),
    ),
    "seldon/logger-url": Example(
        "seldon-one",
        ((f"{PREDICTORS}.0.graph.logger", {"mode": "all"}),),
        ((f"{PREDICTORS}.0.graph.logger", LOGGER),),
    ),
    "seldon/shadow-logger": Example(
        "seldon-split",
        (
            *_SHADOW,
            (f"{PREDICTORS}.0.graph.logger", LOGGER),
            (f"{PREDICTORS}.1.graph.logger", LOGGER),
        ),
        (
            *_SHADOW,
            (f"{PREDICTORS}.0.graph.logger", LOGGER),
            (f"{PREDICTORS}.1.graph.logger", {"url": "http://other", "mode": "all"}),
        ),
    ),
    "seldon/parameter": Example(
        "seldon-bandit", ((f"{PREDICTORS}.0.graph.parameters.0.value", "two"),)
    ),
    "seldon/abtest-children": Example("seldon-ab", ((f"{PREDICTORS}.0.graph.children.1", GONE),)),
    "seldon/abtest-parameter": Example(
        "seldon-ab",
        ((f"{PREDICTORS}.0.graph.parameters.+", {"name": "seed", "value": "1", "type": "INT"}),),
    ),
    "seldon/abtest-ratio": Example(
        "seldon-ab",
        ((f"{PREDICTORS}.0.graph.parameters.0.value", "50"),),
        ((f"{PREDICTORS}.0.graph.parameters.0.value", "1"),),
    ),
    "seldon/abtest-type": Example("seldon-ab", ((f"{PREDICTORS}.0.graph.type", "ROUTER"),)),
    "seldon/branches": Example(
        "seldon-bandit", ((f"{PREDICTORS}.0.graph.parameters.0.value", "3"),)
    ),
    "seldon/epsilon": Example(
        "seldon-bandit", ((f"{PREDICTORS}.0.graph.parameters.1.value", "10"),)
    ),
    "seldon/bandit-replicas": Example("seldon-bandit", ((f"{PREDICTORS}.0.replicas", 2),)),
    "seldon/short-probes": Example(
        "seldon-one",
        (("0.spec.protocol", "seldon"), _STOCK),
        (
            ("0.spec.protocol", "seldon"),
            _STOCK,
            (
                f"{PREDICTORS}.0.componentSpecs.0.spec.containers.0.livenessProbe",
                {"initialDelaySeconds": 80, "periodSeconds": 5, "failureThreshold": 200},
            ),
        ),
    ),
    "seldon/stock-server": Example("seldon-one", (_STOCK,)),
    "seldon/rclone-remote": Example(
        "seldon-store",
        (
            (f"{PREDICTORS}.0.graph.envSecretRefName", "store"),
            (f"{PREDICTORS}.0.graph.modelUri", "minio://b/1"),
        ),
        ((f"{PREDICTORS}.0.graph.envSecretRefName", "store"),),
    ),
    "seldon/anonymous-gs": Example(
        "seldon-one",
        ((f"{PREDICTORS}.0.graph.modelUri", "gs://b/1"),),
        ((f"{PREDICTORS}.0.graph.modelUri", "gcs://b/1"),),
    ),
}
