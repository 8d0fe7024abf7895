"""What controllers say, as the projects' own sources have it, and what we make of it."""

from __future__ import annotations

from typing import Any

import pytest

from mlops.cluster.readiness import Readiness, standing, takes_time

DONE = {"observedGeneration": 2, "updatedReplicas": 2, "replicas": 2, "availableReplicas": 2}
TRUE = [{"type": "Ready", "status": "True"}]


def of(kind: str, **status: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "metadata": {"name": "a", "generation": 2},
        "spec": {"replicas": 2},
        "status": status,
    }


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        (of("ConfigMap"), Readiness(True)),
        (of("Deployment"), Readiness(False, "its controller has not seen it yet")),
        (
            of("Deployment", **{**DONE, "observedGeneration": 1}),
            Readiness(False, "its controller has not seen it yet"),
        ),
        (
            of("Deployment", **{**DONE, "updatedReplicas": 1}),
            Readiness(False, "1 of 2 pods are of this revision"),
        ),
        (
            of("Deployment", **{**DONE, "replicas": 3}),
            Readiness(False, "1 pods of an earlier revision still run"),
        ),
        (
            of("Deployment", **{**DONE, "availableReplicas": 0}),
            Readiness(False, "0 of 2 pods are ready"),
        ),
        (of("Deployment", **DONE), Readiness(True, "2 of 2 pods are ready")),
        (
            of(
                "Deployment",
                **DONE,
                conditions=[
                    {
                        "type": "Progressing",
                        "status": "False",
                        "reason": "ProgressDeadlineExceeded",
                        "message": "it timed out",
                    }
                ],
            ),
            Readiness(False, fault="it timed out"),
        ),
        (of("InferenceService", conditions=TRUE), Readiness(True)),
        (
            of("Model", conditions=TRUE, observedGeneration=1),
            Readiness(False, "its controller has not seen it yet"),
        ),
        # It is the generation of its Deployment.
        (of("InferenceService", conditions=TRUE, observedGeneration=1), Readiness(True)),
        (
            of(
                "InferenceService",
                conditions=[{"type": "Ready", "status": "False", "message": "no runtime"}],
                modelStatus={
                    "transitionStatus": "InvalidSpec",
                    "lastFailureInfo": {"message": "no runtime found"},
                },
            ),
            Readiness(False, "no runtime", fault="no runtime found"),
        ),
        (
            of(
                "InferenceGraph",
                conditions=[{"type": "PodsReady", "status": "False", "reason": "Waiting"}],
            ),
            Readiness(False, "Waiting"),
        ),
        (of("InferenceGraph"), Readiness(False, "its controller says nothing yet")),
        (of("SeldonDeployment", state="Available"), Readiness(True)),
        (
            of("SeldonDeployment", state="Failed", description="bad graph"),
            Readiness(False, fault="bad graph"),
        ),
        (
            of("SeldonDeployment", state="Creating"),
            Readiness(False, "its operator is creating it"),
        ),
        (of("Model", conditions=TRUE, observedGeneration=2), Readiness(True)),
        (
            of(
                "Experiment",
                conditions=[{"type": "Ready", "status": "False", "reason": "CandidatesReady"}],
                observedGeneration=2,
            ),
            Readiness(False, "CandidatesReady"),
        ),
        (of("Pipeline", conditions=TRUE, observedGeneration=2), Readiness(True)),
    ],
)
def test_standing(live: dict[str, Any], expected: Readiness) -> None:
    assert standing(live) == expected


def test_what_takes_no_time() -> None:
    assert takes_time("Deployment")
    assert not takes_time("Service")
