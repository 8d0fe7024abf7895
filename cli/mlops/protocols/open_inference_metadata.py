"""Health and metadata of the Open Inference Protocol, and what Triton's clients ask besides.

Specification: "Health", "Server Metadata" and "Model Metadata" in `inference_rest.md` of
kserve/open-inference-protocol; the bodies of health calls as KServe has them; for the configuration
and the index of the repository `extension_model_configuration.md` and
`extension_model_repository.md` of triton-inference-server/server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from mlops import __version__
from mlops.protocols.base import Encoded
from mlops.protocols.json_body import shown, write

#: Name, datatype, and shape with -1 for an axis of any size.
TensorMetadata: TypeAlias = tuple[str, str, Sequence[int]]


#: What the server calls itself, and the platform of its model.
NAME = "mlops"
#: Extensions of the protocol over REST.
EXTENSIONS = ("binary_tensor_data", "model_configuration")


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What the protocol reports of a model.

    Attributes:
        name: The deployment, which is the model's name in this protocol.
        versions: Its arms.
        inputs: What the model takes; empty if its signature is not known.
        outputs: What it answers; likewise.
        signature: As MLflow has it, which knows more types; under `parameters.mlflow_signature`,
            where MLServer has parameters of its own. Empty if it is not known.
    """

    name: str
    versions: tuple[str, ...]
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]
    signature: Mapping[str, str | None]


def server_metadata() -> Encoded:
    """Answer `GET /v2`."""
    return _ok({"name": NAME, "version": __version__, "extensions": EXTENSIONS})


def model_metadata(model: ModelDescription) -> Encoded:
    """Answer `GET /v2/models/NAME`."""
    signature = dict(model.signature)
    metadata = {
        "name": model.name,
        "versions": model.versions,
        "platform": NAME,
        "inputs": [_tensor(tensor) for tensor in model.inputs],
        "outputs": [_tensor(tensor) for tensor in model.outputs],
        **({"parameters": {"mlflow_signature": signature}} if signature else {}),
    }
    return _ok(metadata)


def model_configuration(model: ModelDescription) -> Encoded:
    """Answer `GET /v2/models/NAME/config`.

    `max_batch_size` is 0, as shapes include the axis of rows.
    """
    configuration = {
        "name": model.name,
        "platform": NAME,
        "backend": NAME,
        "max_batch_size": 0,
        "input": [_configured(tensor) for tensor in model.inputs],
        "output": [_configured(tensor) for tensor in model.outputs],
    }
    return _ok(configuration)


def repository_index(name: str, versions: Sequence[str]) -> Encoded:
    """Answer `POST /v2/repository/index`: every version of the only model is ready."""
    ready = {"state": "READY", "reason": ""}
    return _ok([{"name": name, "version": version, **ready} for version in versions])


def unknown_version(version: str, versions: Sequence[str]) -> str:
    """Say that the model has no such version."""
    return f"There is no version {shown(version)} of the model; versions are {', '.join(versions)}."


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


def _configured(tensor: TensorMetadata) -> dict[str, object]:
    """Return one tensor's configuration."""
    name, datatype, shape = tensor
    kind = "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
    return {"name": name, "data_type": kind, "dims": list(shape)}


def _ok(document: object) -> Encoded:
    """Answer with 200."""
    return Encoded(200, write(document))
