"""Whether an object does what it was asked for, by what its controller says. Pure.

A controller that has not seen the newest generation reports on an older one, so what it says counts
only once `status.observedGeneration` has caught up, where that is the object's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlops.cluster.objects import Manifest


@dataclass(frozen=True, slots=True)
class Readiness:
    """The state of an object.

    Attributes:
        ready: Whether it does what it was asked for.
        message: Where it is on the way there, a few words.
        fault: Why it will not become ready without a change; empty while it may.
    """

    ready: bool
    message: str = ""
    fault: str = ""


def standing(live: Manifest) -> Readiness:
    """Return the state of an object; kinds that need no time are ready at once."""
    judge = _JUDGES.get(live["kind"])
    if judge is None:
        return Readiness(True)
    seen = observed(live)
    if seen is not None and seen < live["metadata"].get("generation", 0):
        return Readiness(False, "its controller has not seen it yet")
    return judge(live)


def observed(live: Manifest) -> int | None:
    """Return the generation that an object's controller observed, None if it does not report it."""
    if live["kind"] in _OF_ANOTHER:
        return None
    found: int | None = live.get("status", {}).get("observedGeneration")
    return found


def takes_time(kind: str) -> bool:
    """Whether objects of a kind become ready some time after they were applied."""
    return kind in _JUDGES


def condition(live: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return a condition of an object, empty if it does not have it."""
    conditions: Sequence[Mapping[str, Any]] = live.get("status", {}).get("conditions") or []
    return next((each for each in conditions if each.get("type") == kind), {})


def _deployment(live: Manifest) -> Readiness:
    """Judge as `kubectl rollout status` does."""
    status = live.get("status", {})
    if "observedGeneration" not in status:
        return Readiness(False, "its controller has not seen it yet")
    progressing = condition(live, "Progressing")
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return Readiness(False, fault=str(progressing.get("message") or "it makes no progress"))
    wanted = live["spec"].get("replicas", 1)
    updated = status.get("updatedReplicas", 0)
    if updated < wanted:
        return Readiness(False, f"{updated} of {wanted} pods are of this revision")
    left = status.get("replicas", 0) - updated
    if left > 0:
        return Readiness(False, f"{left} pods of an earlier revision still run")
    available = status.get("availableReplicas", 0)
    if available < updated:
        return Readiness(False, f"{available} of {updated} pods are ready")
    return Readiness(True, f"{available} of {updated} pods are ready")


def _by_condition(live: Manifest) -> Readiness:
    """Judge by the condition `Ready`, as Knative's conventions have it."""
    ready = condition(live, "Ready")
    if ready.get("status") == "True":
        return Readiness(True)
    words = ready.get("message") or ready.get("reason")
    if words:
        return Readiness(False, str(words))
    waits = [
        str(each.get("message") or each.get("reason") or each.get("type"))
        for each in live.get("status", {}).get("conditions") or []
        if each.get("status") != "True"
    ]
    return Readiness(False, "; ".join(dict.fromkeys(waits)) or "its controller says nothing yet")


def _inference_service(live: Manifest) -> Readiness:
    found = _by_condition(live)
    model = live.get("status", {}).get("modelStatus") or {}
    failure = model.get("lastFailureInfo") or {}
    # The state of a model that was replaced is not that of this one.
    if not found.ready and model.get("transitionStatus") in ("BlockedByFailedLoad", "InvalidSpec"):
        why = failure.get("message") or failure.get("reason") or model["transitionStatus"]
        return Readiness(False, found.message, fault=str(why))
    return found


def _seldon_deployment(live: Manifest) -> Readiness:
    status = live.get("status", {})
    state = status.get("state", "")
    if state == "Available":
        return Readiness(True)
    if state == "Failed":
        return Readiness(
            False, fault=str(status.get("description") or "its operator says `Failed`")
        )
    return Readiness(False, str(status.get("description") or "its operator is creating it"))


#: Kinds whose `observedGeneration` is that of the Deployment or Knative Service behind them, which
#: has been changed more often, by an autoscaler, or less often than they were.
_OF_ANOTHER = ("InferenceService", "InferenceGraph")
_JUDGES: Mapping[str, Callable[[Manifest], Readiness]] = {
    "Deployment": _deployment,
    "InferenceService": _inference_service,
    "InferenceGraph": _by_condition,
    "SeldonDeployment": _seldon_deployment,
    "Server": _by_condition,
    "Model": _by_condition,
    "Experiment": _by_condition,
    "Pipeline": _by_condition,
}
