"""A plain gRPC client: one call, its answer, and what stands in the trailing metadata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc

from mlops.protocols.protobuf import Message, methods

INFERENCE, FEEDBACK = "inference.GRPCInferenceService", "mlops.v1.Feedback"


@dataclass(frozen=True, slots=True)
class GrpcReply:
    """One answer; `message` is None and `details` the reason where the code is not OK."""

    code: str
    details: str
    message: Message
    trailing: dict[str, str]

    @property
    def request_id(self) -> str:
        return self.trailing["x-mlops-request-id"]

    @property
    def arm(self) -> str:
        return self.trailing["x-mlops-arm"]


class GrpcClient:
    """One channel to a server of this machine."""

    def __init__(self, port: int, **options: Any) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", **options)

    def call(
        self,
        name: str,
        message: Message | bytes | None = None,
        *,
        service: str = INFERENCE,
        timeout: float = 30,
        wait: bool = False,
        **metadata: str,
    ) -> GrpcReply:
        """Call a method; keywords are metadata with `_` for `-`, bytes a message as they are.

        While there is no connection a call fails, unless it is told to wait.
        """
        request, response = methods(service)[name]
        body = message if isinstance(message, bytes) else (message or request()).SerializeToString()
        pairs = [(key.replace("_", "-"), value) for key, value in metadata.items()]
        method = self._channel.unary_unary(
            f"/{service}/{name}", response_deserializer=response.FromString
        )
        try:
            answer, call = method.with_call(
                body, timeout=timeout, metadata=pairs, wait_for_ready=wait
            )
        except grpc.RpcError as error:
            trailing = dict(error.trailing_metadata() or ())
            return GrpcReply(error.code().name, error.details(), None, trailing)
        return GrpcReply("OK", "", answer, dict(call.trailing_metadata() or ()))

    def infer(self, message: Message | bytes, **how: Any) -> GrpcReply:
        return self.call("ModelInfer", message, **how)

    def feedback(self, *outcomes: dict[str, Any], **how: Any) -> GrpcReply:
        request = methods(FEEDBACK)["Send"][0](outcomes=outcomes)
        return self.call("Send", request, service=FEEDBACK, **how)

    def close(self) -> None:
        self._channel.close()
