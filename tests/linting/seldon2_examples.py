"""A bad and a good example of every rule about Seldon Core v2."""

from __future__ import annotations

from collections.abc import Mapping

from tests.linting.example import Example
from tests.linting.manifests import GONE

EXAMPLES: Mapping[str, Example] = {
    "seldon2/storage": Example("seldon2", (("1.spec.storageUri", "pvc://models/wine"),)),
    "seldon2/replicas": Example(
        "seldon2",
        (("1.spec.replicas", 2),),
        (("1.spec.replicas", 2), ("4.spec.maxReplicas", 3)),
    ),
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
}
