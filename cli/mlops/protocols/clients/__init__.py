"""The other side of the wire: questions to model servers, and what they answer.

If an arm's model is in another server, mlops is that server's client. These codecs turn a
request of any protocol into a body of the server's protocol, and its answer into a
prediction. Like those of the server they only transform.
"""

from mlops.plugins import Plugins
from mlops.protocols.clients.base import ClientCodec

#: The client side of every protocol, by its name in the REF of an endpoint.
CLIENT_CODECS: Plugins[ClientCodec] = Plugins(
    "endpoint protocol",
    {
        "v2": "mlops.protocols.clients.open_inference:CODEC",
        "kserve": "mlops.protocols.clients.kserve_v1:CODEC",
        "seldon": "mlops.protocols.clients.seldon_v1:CODEC",
        "mlflow": "mlops.protocols.clients.mlflow_scoring:CODEC",
    },
    group="mlops.clients",
    needs=("encode", "decode"),
)

__all__ = ["CLIENT_CODECS", "ClientCodec"]
