"""Server reflection under both of its names: v1alpha, which every tool knows, and v1, which newer ones ask first.

The two protocols are the same messages under another package, and grpcio ships the old one only.
"""

from collections.abc import Sequence

import grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

V1 = "grpc.reflection.v1.ServerReflection"


def enable(server: grpc.aio.Server, services: Sequence[str]) -> list[str]:
    """Serve the descriptors of `services`; returns the names of the reflection services themselves."""
    names = [reflection.SERVICE_NAME, V1]
    servicer = ReflectionServicer([*services, reflection.SERVICE_NAME])
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
    # On the wire the v1 messages are equal field by field.
    handlers = {
        "ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(
            servicer.ServerReflectionInfo,
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(V1, handlers),))
    return names
