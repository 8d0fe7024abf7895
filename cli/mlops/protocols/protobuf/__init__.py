"""Messages of the protocols that travel as Protocol Buffers.

Code that `protoc` generates refuses any runtime older than itself, or a major version newer, while
MLflow, Ray and a user's clients have their own wish of a version. So the messages are made from
`descriptors.binpb`, a compiled set of the `.proto` files here, by any runtime from 4.25 on:

    python -m grpc_tools.protoc -I. --include_imports --descriptor_set_out=descriptors.binpb *.proto

They live in a pool of their own: a client library in the same process defines messages of the same
names, which the default pool accepts once.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

#: A class of messages, made at run time, and an instance of one.
MessageClass: TypeAlias = Any
Message: TypeAlias = Any


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    described = (files(__name__) / "descriptors.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(described).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


def message_class(name: str) -> MessageClass:
    """Return the class of the message `name`, for example `inference.ModelInferRequest`."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(name))


def methods(service: str) -> dict[str, tuple[MessageClass, MessageClass]]:
    """Return the classes of request and answer of each method of a service, by its name."""
    found = _pool().FindServiceByName(service)
    return {
        method.name: (
            message_factory.GetMessageClass(method.input_type),
            message_factory.GetMessageClass(method.output_type),
        )
        for method in found.methods
    }
