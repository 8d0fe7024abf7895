"""Health and metadata of the Open Inference Protocol: answers to its GET calls.

Specification: "Health", "Server Metadata" and "Model Metadata" in `inference_rest.md` of
kserve/open-inference-protocol; the bodies of health calls as KServe has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from mlops import __version__
from mlops.protocols.base import Encoded
from mlops.protocols.json_body import write

#: Name, datatype, and shape with -1 for an axis of any size.
TensorMetadata: TypeAlias = tuple[str, str, Sequence[int]]


def server_metadata() -> Encoded:
    """Answer `GET /v2`."""
    extensions = ["binary_tensor_data"]
    return _ok({"name": "mlops", "version": __version__, "extensions": extensions})


def model_metadata(
    name: str,
    versions: Sequence[str],
    inputs: Sequence[TensorMetadata],
    outputs: Sequence[TensorMetadata],
    signature: Mapping[str, str | None],
) -> Encoded:
    """Answer `GET /v2/models/NAME`.

    Args:
        name: The deployment, which is the model's name in this protocol.
        versions: Model versions of its arms.
        inputs: What the model takes; empty if its signature is not known.
        outputs: What it answers; likewise.
        signature: As MLflow has it, which knows more types; under `parameters.mlflow_signature`,
            where MLServer has parameters of its own. Empty if it is not known.
    """
    metadata = {
        "name": name,
        "versions": list(versions),
        "platform": "mlops",
        "inputs": [_tensor(tensor) for tensor in inputs],
        "outputs": [_tensor(tensor) for tensor in outputs],
        **({"parameters": {"mlflow_signature": dict(signature)}} if signature else {}),
    }
    return _ok(metadata)


def server_live() -> Encoded:
    """Answer `GET /v2/health/live`."""
    return _ok({"live": True})


def server_ready(*, ready: bool) -> Encoded:
    """Answer `GET /v2/health/ready`: 503 if not, as KServe."""
    return Encoded(200 if ready else 503, write({"ready": ready}))


def model_ready(name: str, *, ready: bool) -> Encoded:
    """Answer `GET /v2/models/NAME/ready`: 503 if not, as KServe."""
    return Encoded(200 if ready else 503, write({"name": name, "ready": ready}))


def _tensor(tensor: TensorMetadata) -> dict[str, object]:
    """Return one tensor's metadata."""
    name, datatype, shape = tensor
    return {"name": name, "datatype": datatype, "shape": list(shape)}


def _ok(document: object) -> Encoded:
    """Answer with 200."""
    return Encoded(200, write(document))
