"""The request of a chat as it is read here: the message of the contract, with each tool and fallback as the bytes that
came.

The same names and numbers in a pool of its own, made of the contract's descriptor, so it follows every change of the
contract and is in no reflection. A conversation brings the same of them on every turn: `chat.tools` and `chat.targets`
read the bytes where they do not know them. What they read is checked as gRPC would have: the types are the contract's.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import Message

from integration_api.v1 import chat_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.struct_pb2 import Struct

    from integration_api.v1 import messages_pb2 as msg

    class ChatRequest(Message):
        """`integration_api.v1.ChatRequest` with its tools and fallbacks unread."""

        request_id: str
        provider_id: str
        credential: msg.Credential
        messages: Sequence[msg.Message]
        model_parameters: Struct
        tools: Sequence[bytes]
        timeouts: pb.Timeouts
        labels: Mapping[str, str]
        options: pb.CallOptions
        fallbacks: Sequence[bytes]
        model: msg.ModelOptions


_UNREAD = ("tools", "fallbacks")


def _made() -> type[Message]:
    pool = descriptor_pool.DescriptorPool()
    file = pb.DESCRIPTOR
    _add(file.dependencies, pool, set())
    proto = descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb)
    request = next(message for message in proto.message_type if message.name == "ChatRequest")
    for field in request.field:
        if field.name in _UNREAD:
            field.type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
            field.ClearField("type_name")
    pool.AddSerializedFile(proto.SerializeToString())
    made: type[Message] = message_factory.GetMessageClass(
        pool.FindMessageTypeByName(pb.ChatRequest.DESCRIPTOR.full_name)
    )
    return made


def _add(files: Sequence[FileDescriptor], pool: descriptor_pool.DescriptorPool, added: set[str]) -> None:
    for file in files:
        if file.name not in added:
            added.add(file.name)
            _add(file.dependencies, pool, added)
            pool.AddSerializedFile(file.serialized_pb)


if not TYPE_CHECKING:
    ChatRequest = cast("type[ChatRequest]", _made())
