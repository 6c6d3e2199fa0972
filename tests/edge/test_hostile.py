"""Hostile input through a real channel: whatever comes, the answer is a documented status, and the server goes on."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from google.protobuf import struct_pb2
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from integration_api.codec.bounds import MAX_MESSAGES
from integration_api.codec.structs import MAX_VALUES
from integration_api.rpc.status import TABLE
from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import messages_pb2 as msg
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.reading import Failure, fail, listen
from tests.loop_watch import LoopWatch
from tests.patience import within

pytestmark = pytest.mark.usefixtures("watched_loop")

DOCUMENTED = set(TABLE.values())
METHODS = ("Chat", "StreamChat", "VerifyCredential", "ListModels")
INVALID = (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")
BAD_CREDENTIAL = (grpc.StatusCode.INVALID_ARGUMENT, "CREDENTIAL_INVALID")
MIB = 1024 * 1024


@pytest.fixture
def settings() -> Settings:
    """Fuzzed base URLs lead nowhere but here, and soon."""
    return Settings(
        port=0,
        shutdown_grace=2.0,
        egress_policy="allowlist",
        egress_allow="127.0.0.1",
        connect_timeout=0.5,
        first_output_timeout=1.0,
        total_timeout=2.0,
        max_attempts=1,
    )


@pytest.fixture
async def wide(server: Server) -> AsyncIterator[ChatServiceStub]:
    """A stub that may send what is larger than usual."""
    options = [("grpc.max_send_message_length", 64 * MIB), ("grpc.max_metadata_size", 64 * MIB)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options) as channel:
        yield ChatServiceStub(channel)


async def sent(channel: grpc.aio.Channel, method: str, raw: bytes) -> Failure | None:
    """Send bytes as a request; how it failed, if it did."""
    path = f"/integration_api.v1.ChatService/{method}"
    if method == "StreamChat":
        return (await listen(channel.unary_stream(path)(raw, timeout=within(20)))).failure
    call = channel.unary_unary(path)(raw, timeout=within(20))
    return None if await call.code() is grpc.StatusCode.OK else await fail(call)


def fine(failure: Failure | None) -> bool:
    """A good answer, or a status of the table that is no bug of ours."""
    return failure is None or (failure.said in DOCUMENTED and failure.reason != "INTERNAL")


async def alive(stub: ChatServiceStub, sandbox: Sandbox) -> None:
    """The server still answers, and soon."""
    answer = await stub.Chat(chat_request(sandbox.url, "echo", "alive"), timeout=within(10))
    assert answer.choices[0].message.text == "alive"


def whole_request(port: int) -> pb.ChatRequest:
    """A request with something in most fields, to be spoiled."""
    return chat_request(
        f"http://127.0.0.1:{port}",
        "echo",
        requestId="r",
        messages=[
            {"system": {"text": "s"}},
            {
                "user": {
                    "content": [{"text": "t"}, {"image": {"url": "https://x/y.png"}}],
                }
            },
            {"assistant": {"text": "a", "toolCalls": [{"id": "1", "name": "n", "arguments": "{}"}]}},
            {"tool": {"toolCallId": "1", "content": [{"text": "21"}]}},
        ],
        modelParameters={
            "model.name": "echo",
            "model.temperature": 0.5,
            "model.parameters": {"top_k": [1, {"a": None}]},
        },
        tools=[{"name": "n", "parameters": {"type": "object"}}, {"name": "m", "parametersJson": "{}"}],
        timeouts={"connect": "1s", "total": "2s"},
        labels={"a": "b"},
        options={"maxAttempts": 1},
    )


RELAXED = hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@RELAXED
@given(method=st.sampled_from(METHODS), raw=st.binary(max_size=300))
async def test_any_bytes_get_a_documented_status(
    channel: grpc.aio.Channel, stub: ChatServiceStub, sandbox: Sandbox, method: str, raw: bytes
) -> None:
    """Bytes without any meaning."""
    assert fine(await sent(channel, method, raw))
    await alive(stub, sandbox)


@RELAXED
@given(data=st.data(), method=st.sampled_from(METHODS[:2]))
async def test_spoiled_requests_get_a_documented_status(
    channel: grpc.aio.Channel, stub: ChatServiceStub, sandbox: Sandbox, data: st.DataObject, method: str
) -> None:
    """A good request with bytes changed, cut out, doubled or put in."""
    raw = bytearray(whole_request(sandbox.port).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(raw) - 1))
        match data.draw(st.sampled_from(["change", "cut", "double", "insert"])):
            case "change":
                raw[place] = data.draw(st.integers(0, 255))
            case "cut":
                del raw[place : place + data.draw(st.integers(1, 8))]
            case "double":
                raw[place:place] = raw[place : place + 40]
            case _:
                raw[place:place] = data.draw(st.binary(max_size=8))
        raw = raw or bytearray(b"\x00")
    assert fine(await sent(channel, method, bytes(raw)))
    await alive(stub, sandbox)


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field, as it stands on the wire."""
    length, size = bytearray(), len(content)
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2]) + bytes([*length, size]) + content


@pytest.mark.parametrize(
    "text", [b"\xff", b"\xed\xa0\x80", b"\xed\xb0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"caf\xc3"]
)
@pytest.mark.parametrize(
    "place",
    [
        lambda text: field(1, text),  # request_id
        lambda text: field(2, text),  # provider_id
        lambda text: field(3, field(2, text)),  # credential.name
        lambda text: field(4, field(1, field(1, text))),  # messages[0].system.text
        lambda text: field(5, field(1, field(1, text))),  # model_parameters, a key
        lambda text: field(5, field(1, field(1, b"k") + field(2, field(3, text)))),  # model_parameters, a value
        lambda text: field(8, field(1, b"k") + field(2, text)),  # labels
    ],
)
async def test_text_that_is_no_utf8_is_refused(
    channel: grpc.aio.Channel, stub: ChatServiceStub, sandbox: Sandbox, place: Callable[[bytes], bytes], text: bytes
) -> None:
    """Lone surrogates, overlong forms, cut characters: the request is not readable."""
    failure = await sent(channel, "Chat", place(text))
    assert failure is not None
    assert failure.said == INVALID
    await alive(stub, sandbox)


def deep(levels: int) -> bytes:
    """A Struct in a Struct in a Struct."""
    raw = b""
    for _ in range(levels):
        raw = field(1, field(1, b"a") + field(2, field(5, raw)))
    return raw


@pytest.mark.parametrize("levels", [31, 32, 33, 34, 40, 99, 100, 101, 1_000, 20_000])
async def test_deep_structs_are_refused(
    channel: grpc.aio.Channel, stub: ChatServiceStub, sandbox: Sandbox, watched_loop: LoopWatch, levels: int
) -> None:
    """Nesting is followed to a bound, in a parameter and in a credential."""
    nested = deep(levels)
    watched_loop.restart()
    for place in (field(5, nested), field(3, field(1, nested))):
        failure = await sent(channel, "StreamChat", field(2, b"custom-llm") + place)
        assert failure is not None
        assert failure.said in (INVALID, BAD_CREDENTIAL)
    await alive(stub, sandbox)


def changed(request: pb.ChatRequest, change: Callable[[pb.ChatRequest], Any]) -> pb.ChatRequest:
    change(request)
    return request


def _values(request: pb.ChatRequest, count: int) -> None:
    request.model_parameters["list"] = []
    request.model_parameters.fields["list"].list_value.values.extend([struct_pb2.Value()] * count)


def _struct(struct: struct_pb2.Struct, count: int) -> None:
    for number in range(count):
        struct.fields[str(number)].bool_value = True


GIANTS: dict[str, tuple[Callable[[pb.ChatRequest], Any], str]] = {
    "messages": (lambda r: r.messages.extend([msg.Message()] * 2_000_000), "messages"),
    "good messages": (lambda r: r.messages.extend([r.messages[0]] * MAX_MESSAGES), "messages"),
    "faults": (lambda r: r.messages.extend([msg.Message()] * 9_000), "messages[1]"),
    "empty parts": (
        lambda r: r.messages[0].user.content.extend([msg.ContentPart()] * 1_000),
        "messages[0].user.content[1]",
    ),
    "parts": (lambda r: r.messages[0].user.content.extend([msg.ContentPart()] * 1_000_000), "messages"),
    "parts in all": (
        lambda r: r.messages.extend(
            [msg.Message(user=msg.UserMessage(content=[msg.ContentPart(text="x")] * 1_000))] * 21
        ),
        "messages",
    ),
    "tool calls": (
        lambda r: r.messages.add().assistant.tool_calls.extend([msg.ToolCall(id="1", name="n")] * 100_000),
        "messages",
    ),
    "tools": (lambda r: r.tools.extend([msg.ToolDefinition(name="n")] * 1_000_000), "tools"),
    "tool name": (lambda r: r.tools.add(name="n" * 257), "tools[0].name"),
    "schema": (lambda r: r.tools.add(name="n", parameters_json="[" * (2 * MIB)), "tools[0].parameters_json"),
    "deep schema": (lambda r: r.tools.add(name="n", parameters_json='{"a":' * 100_000), "tools[0].parameters_json"),
    "labels": (lambda r: r.labels.update({str(number): "x" for number in range(200_000)}), "labels"),
    "label": (lambda r: r.labels.update({"a": "x" * 1_025}), 'labels["a"]'),
    "label name": (lambda r: r.labels.update({"a" * 129: "x"}), "labels"),
    "parameters": (lambda r: _struct(r.model_parameters, MAX_VALUES + 1), "model_parameters"),
    "list": (lambda r: _values(r, 4_000_000), "model_parameters"),
    "options": (lambda r: _struct(r.messages[0].provider_options, MAX_VALUES + 1), "messages[0].provider_options"),
    "timeouts": (lambda r: setattr(r.timeouts.total, "seconds", -(2**62)), "timeouts.total"),
    "headers": (lambda r: _struct(r.credential.value, 200_000), "credential.value"),
    "JSON headers": (
        lambda r: r.credential.value.update({"headers": '{"a":' + "[" * (3 * MIB)}),
        "credential.value",
    ),
    "JSON parameters": (
        lambda r: r.model_parameters.update({"model.parameters": '{"x":[' + "{}," * 200_000 + "{}]}"}),
        "model_parameters",
    ),
    "JSON format": (
        lambda r: r.model_parameters.update({"response_format": '{"x":[' + "{}," * 200_000 + "{}]}"}),
        "model_parameters",
    ),
    "JSON arguments": (
        lambda r: r.messages.add().assistant.tool_calls.add(id="1", name="f", arguments="[" + "{}," * 200_000 + "{}]"),
        "messages[1].assistant.tool_calls[0].arguments",
    ),
    "JSON schema": (
        lambda r: r.tools.add(name="f", parameters_json='{"x":[' + "{}," * 200_000 + "{}]}"),
        "tools[0].parameters_json",
    ),
    "deep JSON headers": (
        lambda r: r.credential.value.update({"headers": "[" * 100_000}),
        "credential.value.headers",
    ),
    "base URL": (
        lambda r: r.credential.value.update({"baseUrl": "http://" + "h" * 900_000}),
        "credential.value.baseUrl",
    ),
}


# Two million messages are written by the client and read by the server in one C call each, which nothing can cut.
@pytest.mark.away(0.3)
@pytest.mark.parametrize("what", GIANTS)
async def test_giants_are_refused_by_name(
    wide: ChatServiceStub, sandbox: Sandbox, watched_loop: LoopWatch, what: str
) -> None:
    """Too much of anything is an error that names the field; the server is busy with it for a moment only."""
    change, place = GIANTS[what]
    request = changed(chat_request(sandbox.url, "echo"), change)
    watched_loop.restart()
    begun = time.process_time()
    failure = await fail(wide.Chat(request, timeout=within(20)))
    assert failure.said in (INVALID, BAD_CREDENTIAL)
    assert failure.fields[0] == place
    assert len(failure.fields) <= 16
    # Client and server share this process; the bound is generous, and a thousandth of what reading it all would take.
    assert time.process_time() - begun < within(5)
    await alive(wide, sandbox)
    assert all(each.json() and "alive" in each.body.decode() for each in sandbox.requests)


async def test_a_request_above_the_bound_is_refused(
    wide: ChatServiceStub, sandbox: Sandbox, watched_loop: LoopWatch
) -> None:
    """The transport refuses what is larger than max_request_bytes."""
    request = chat_request(sandbox.url, "echo", "x" * (17 * MIB))
    watched_loop.restart()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await wide.Chat(request, timeout=within(20))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await alive(wide, sandbox)


@pytest.mark.parametrize("count", [10, 100, 1_000, 10_000])
async def test_many_headers_end_in_a_status(wide: ChatServiceStub, sandbox: Sandbox, count: int) -> None:
    """Metadata beyond gRPC's bound is refused by it; what is within changes nothing."""
    metadata = [(f"x-header-{number}", "v" * 20) for number in range(count)]
    call = wide.Chat(chat_request(sandbox.url, "echo"), metadata=metadata, timeout=within(20))
    assert await call.code() is (grpc.StatusCode.OK if count <= 100 else grpc.StatusCode.RESOURCE_EXHAUSTED)
    await alive(wide, sandbox)


async def test_a_crowd_of_hostile_calls_leaves_the_server_fast(
    channel: grpc.aio.Channel, stub: ChatServiceStub, sandbox: Sandbox, watched_loop: LoopWatch
) -> None:
    """A hundred refused giants at once, and a good call between them is answered."""
    giant = changed(chat_request(sandbox.url, "echo"), lambda r: _values(r, 200_000)).SerializeToString()
    watched_loop.restart()
    crowd = [asyncio.ensure_future(sent(channel, "Chat", giant)) for _ in range(100)]
    await alive(stub, sandbox)
    assert {each and each.said for each in await asyncio.gather(*crowd)} == {INVALID}
