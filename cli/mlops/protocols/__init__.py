"""Wire protocols: Seldon v1, Open Inference (V2), KServe V1 and MLflow scoring.

A model server that speaks one protocol makes its clients speak it too; speaking all of them at
the door lets existing clients call a deployment unchanged. Inside there is one request and one
response (`mlops.protocols.base`), so nothing behind the door knows which protocol was spoken.
"""

from mlops.plugins import Plugins
from mlops.protocols.base import Codec

#: Every protocol the router speaks, by name.
CODECS: Plugins[Codec] = Plugins(
    "protocol",
    {
        "seldon-v1": "mlops.protocols.seldon_v1:CODEC",
        "open-inference": "mlops.protocols.open_inference:CODEC",
        "kserve-v1": "mlops.protocols.kserve_v1:CODEC",
        "mlflow": "mlops.protocols.mlflow_scoring:CODEC",
    },
    group="mlops.protocols",
    needs=("decode", "encode", "encode_error", "paths"),
)

__all__ = ["CODECS", "Codec"]
