"""Server reflection under both of its names: v1alpha, which every tool knows, and v1, which newer ones ask first.

The two protocols are the same messages under another package, and grpcio ships the old one only.

Python's pool of descriptors knows no methods by name, which `grpcurl describe` and ghz ask for: their service is found
for them. Every file of the contract is in it, that of the reasons of errors too, which nothing else here imports.

The descriptors inside Python's generated code lack the fields' JSON names, which tools such as grpcurl then take to be
the names of the proto file. They are put back, so that what such a tool prints is proto3 JSON.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from functools import lru_cache

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from grpc_reflection.v1alpha import reflection, reflection_pb2

from integration_api.rpc.rpc import Rpc
from integration_api.rpc.strangers import Strangers
from integration_api.v1 import error_reason_pb2  # noqa: F401 -- it is in the pool once it is imported

V1 = "grpc.reflection.v1.ServerReflection"


class _Pool:
    """Python's pool, in which methods are found, too: `package.service.method` is in its service's file."""

    def __init__(self, pool: descriptor_pool.DescriptorPool) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> object:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # the pool's own name
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            found = self._pool.FindServiceByName(service)
            return found.methods_by_name[method].containing_service.file


class _Reflection(reflection.aio.ReflectionServicer):  # type: ignore[misc] # grpcio-reflection has no types
    """grpcio's own, with the JSON names."""

    async def ServerReflectionInfo(
        self, request_iterator: AsyncIterator[reflection_pb2.ServerReflectionRequest], context: grpc.aio.ServicerContext
    ) -> AsyncGenerator[reflection_pb2.ServerReflectionResponse, None]:
        async for response in super().ServerReflectionInfo(request_iterator, context):
            if response.HasField("file_descriptor_response"):
                found = response.file_descriptor_response
                found.file_descriptor_proto[:] = [_with_json_names(packed) for packed in found.file_descriptor_proto]
            yield response


@lru_cache(maxsize=64)  # a tool asks for the same few files again and again
def _with_json_names(packed: bytes) -> bytes:
    file = FileDescriptorProto.FromString(packed)
    for message in file.message_type:
        _name_fields(message)
    return file.SerializeToString()


def _name_fields(message: DescriptorProto) -> None:
    for field in message.field:
        if not field.HasField("json_name"):
            field.json_name = _json_name(field.name)
    for nested in message.nested_type:
        _name_fields(nested)


def _json_name(name: str) -> str:
    """As protoc makes it: underscores go, and the letter behind one becomes a capital."""
    first, *others = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in others)


def enable(server: grpc.aio.Server, services: Sequence[str], strangers: Strangers) -> list[str]:
    """Serve the descriptors of `services`; returns the names of the reflection services themselves."""
    names = [reflection.SERVICE_NAME, V1]
    servicer = _Reflection([*services, reflection.SERVICE_NAME], pool=_Pool(descriptor_pool.Default()))

    async def answer(requests: AsyncIterator[reflection_pb2.ServerReflectionRequest], rpc: Rpc) -> None:
        async with aclosing(servicer.ServerReflectionInfo(requests, rpc.context)) as responses:
            async for response in responses:
                await rpc.write(response)

    method = strangers.conversation("ServerReflectionInfo", reflection_pb2.ServerReflectionRequest, answer)
    for name in names:  # on the wire the v1 messages are equal field by field
        handlers = {"ServerReflectionInfo": method}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    return names
