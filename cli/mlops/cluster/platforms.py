"""What provides a kind to a cluster, for the advice what to install."""

from __future__ import annotations

from collections.abc import Mapping

from mlops.errors import NotFoundError

#: API group to the name of what provides it, and where its installation is described.
PLATFORMS: Mapping[str, tuple[str, str]] = {
    "serving.kserve.io": ("KServe", "https://kserve.github.io/website/"),
    "machinelearning.seldon.io": ("Seldon Core v1", "https://docs.seldon.io/"),
    "mlops.seldon.io": ("Seldon Core v2", "https://docs.seldon.io/"),
    "gateway.networking.k8s.io": ("the Gateway API", "https://gateway-api.sigs.k8s.io/"),
    "monitoring.coreos.com": ("the Prometheus Operator", "https://prometheus-operator.dev/"),
}


def missing_kind(api_version: str, kind: str, version: str = "") -> NotFoundError:
    """Say that a cluster lacks a kind, and what provides it.

    Args:
        api_version: Such as `serving.kserve.io/v1beta1`.
        kind: Such as `InferenceService`.
        version: Version of its platform that the manifests are for; empty if it does not matter.
    """
    name, address = PLATFORMS.get(api_version.partition("/")[0], ("", ""))
    wanted = f"{name} {version}".rstrip()
    return NotFoundError(
        f"The cluster does not have {kind} (`{api_version}`).",
        hint=f"Install {wanted} in it: {address}" if name else "Its version may be too old or new.",
        reason="kind",
    )
