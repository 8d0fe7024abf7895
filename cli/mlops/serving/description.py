"""The metadata of a deployment in the Open Inference Protocol, over any transport."""

from __future__ import annotations

import numpy as np

from mlops.protocols.base import Kind, ProtocolError
from mlops.protocols.open_inference_metadata import (
    ModelDescription,
    TensorMetadata,
    unknown_version,
)
from mlops.protocols.open_inference_types import DATATYPES
from mlops.serving.dataplane import DataPlane
from mlops.serving.revision import LiveRevision
from mlops.tables.signature import Signature

# MLflow's type names as Open Inference datatypes; NumPy's are known to the protocol itself.
_DATATYPES = {
    "double": "FP64",
    "float": "FP32",
    "long": "INT64",
    "integer": "INT32",
    "boolean": "BOOL",
}


def describe(live: LiveRevision) -> ModelDescription:
    """Describe the model that a revision is."""
    signature = live.signature
    return ModelDescription(
        name=live.served.revision.spec.name,
        versions=tuple(arm.arm.name for arm in live.arms),
        inputs=_inputs(signature),
        outputs=_outputs(signature),
        signature=signature.document,
    )


def check_known(live: LiveRevision, model: str, version: str) -> None:
    """Check that a revision is the model that a request names.

    Args:
        live: The revision.
        model: Name of a model.
        version: Version of it, which is an arm; empty for any.

    Raises:
        ProtocolError: `UNKNOWN_MODEL`.
    """
    if model != live.served.revision.spec.name:
        raise ProtocolError(Kind.UNKNOWN_MODEL, f"Model {model} not found")
    versions = [arm.arm.name for arm in live.arms]
    if version and version not in versions:
        raise ProtocolError(Kind.UNKNOWN_MODEL, unknown_version(version, versions))


def is_ready(plane: DataPlane, version: str = "") -> bool:
    """Whether the server, or one arm of it, should get traffic now."""
    if not version:
        return not plane.faults
    arms = (arm for arm in plane.live.arms if arm.arm.name == version)
    return not any(arm.runner.fault for arm in arms)


def _inputs(signature: Signature) -> tuple[TensorMetadata, ...]:
    if signature.tensor:
        dtype, shape = signature.tensor
        return (("input-0", _datatype(dtype), shape),)
    return tuple((column.name, _datatype(column.type), (-1, 1)) for column in signature.columns)


def _outputs(signature: Signature) -> tuple[TensorMetadata, ...]:
    if not signature.output_type:
        return ()
    kind = _datatype(signature.output_type)
    return tuple((name, kind, (-1, 1)) for name in signature.outputs or ("output-1",))


def _datatype(name: str) -> str:
    """Return the Open Inference datatype of an MLflow type or a NumPy dtype."""
    if name in _DATATYPES:
        return _DATATYPES[name]
    try:
        return DATATYPES.get(np.dtype(name), "BYTES")
    except TypeError:
        return "BYTES"
