"""Tools that are kept as their translations: the same requests leave, nothing else is kept, and it stays bounded."""

import asyncio
import gc
import json
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, json_format

from caller.errors import RequestInvalid
from caller.json_types import JsonValue
from caller.messages import ToolDefinition
from caller.tools import translated
from integration_api.chat import tools as kept
from integration_api.chat.tools import ENTRY_BYTES, MAX_BYTES, ToolCache
from integration_api.chat.view import ChatRequest
from integration_api.codec.bounds import Violations
from integration_api.codec.structs import MAX_VALUES
from integration_api.sandbox import Sandbox
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import messages_pb2 as msg
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.contract.shapes import SHAPES, asking
from tests.edge.loopback import ScriptedServer, answer, chat_answer
from tests.edge.reading import fail, listen

TOOLS: list[dict[str, Any]] = [
    {
        "name": "find",
        "description": "Finds.",
        "parameters": {"type": "object", "properties": {"a": {"type": "string", "enum": ["x", "y"]}}},
    },
    {"name": "text", "parametersJson": '{"type":"object","properties":{"b":{"type":"integer"},"a":{}},"required":[]}'},
    {"name": "bare"},
]


def wire(*tools: dict[str, Any]) -> list[bytes]:
    """Tools as they come."""
    return [json_format.ParseDict(tool, msg.ToolDefinition()).SerializeToString() for tool in tools]


def names(tools: Any) -> list[JsonValue]:
    """A translation that a test can count."""
    return [tool.name for tool in tools]


def translate(cache: ToolCache, client: str, tools: list[bytes], form: str = "names") -> tuple[bytes, int]:
    """The JSON text of the tools' names, and how many translations that took."""
    made = []

    def counted(tools: Any) -> Any:
        made.append(1)
        return names(tools)

    text = translated(cache.tools(client, tools, Violations()), form, counted)
    return bytes(memoryview(text)), len(made)  # type: ignore[arg-type] # it is msgspec's raw JSON


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
async def test_a_second_turn_sends_what_the_first_did(
    stub: ChatServiceStub, sandbox: Sandbox, shape: str, streamed: bool
) -> None:
    """Every shape: the bodies of two turns with the same tools differ in the last message alone."""
    for text in ("first", "second", "first"):
        request = asking(sandbox.url, shape, "echo", tools=TOOLS, messages=[{"user": {"content": [{"text": text}]}}])
        if streamed:
            await listen(stub.StreamChat(request))
        else:
            await stub.Chat(request)
    first, second, third = (each.body for each in sandbox.requests)
    assert first == third
    assert second == first.replace(b'"first"', b'"second"')
    assert json.loads(second)["tools"]


async def test_what_an_endpoint_demands_of_tools_holds_for_kept_ones(stub: ChatServiceStub) -> None:
    """They were kept when a later turn taught that a tool without parameters may have no schema."""
    refusal = answer('{"error":{"message":"tools.0.parameters must be a non-empty object"}}', "400 Bad Request")
    answers = iter([chat_answer(), refusal, chat_answer(), chat_answer()])

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        while True:
            await endpoint.request(reader)
            writer.write(next(answers))

    async with ScriptedServer(talk) as endpoint:
        for _ in range(3):
            request = asking(endpoint.url, "openai_compatible", "m", tools=[{"name": "f"}], options={"maxAttempts": 2})
            await stub.Chat(request)
    bodies = [json.loads(raw.partition(b"\r\n\r\n")[2]) for raw in endpoint.requests]
    assert ["parameters" in body["tools"][0]["function"] for body in bodies] == [True, True, False, False]


async def test_what_was_refused_once_stays_refused(stub: ChatServiceStub, sandbox: Sandbox) -> None:
    """In words, and by a shape that cannot carry it, also after another shape took it."""
    wrong = asking(sandbox.url, "openai_chat_completions", "echo", tools=[{"name": ""}])
    strict = [{"name": "f", "strict": True}]
    for _ in range(2):
        assert (await fail(stub.Chat(wrong))).fields == ["tools[0].name"]
        await stub.Chat(asking(sandbox.url, "openai_chat_completions", "echo", tools=strict))
        refused = asking(sandbox.url, "gemini_generate_content", "echo", tools=strict)
        assert (await fail(stub.Chat(refused))).fields == ["tools[0].strict"]


async def test_tools_that_are_none_are_refused_by_the_name_of_the_contract(channel: grpc.aio.Channel) -> None:
    """Their bytes are looked at, though the request is read without them."""
    raw = pb.ChatRequest(provider_id="custom-llm", messages=[msg.Message()]).SerializeToString() + b"\x32\x02\x0a\x05"
    call = channel.unary_unary("/integration_api.v1.ChatService/Chat")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(raw)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(RequestInvalid, match=r"integration_api\.v1\.ChatRequest"):
        ToolCache().tools("c", [b"\x0a\x05"], Violations())


async def test_nothing_of_the_conversation_and_no_secret_is_kept(stub: ChatServiceStub, sandbox: Sandbox) -> None:
    """What can be reached from the cache after calls: definitions, and nothing that was said or that gives access."""
    said = ["canary-system", "canary-user", "canary-answer", "canary-tool", "canary-parameter"]
    request = asking(
        sandbox.url,
        "openai_compatible",
        "echo",
        tools=TOOLS,
        messages=[
            {"system": {"text": said[0]}},
            {"user": {"content": [{"text": said[1]}]}},
            {"assistant": {"text": said[2], "toolCalls": [{"id": "i", "name": "find", "arguments": "{}"}]}},
            {"tool": {"toolCallId": "i", "content": [{"text": said[3]}]}},
        ],
        parameters={"user": said[4]},
    )
    request.credential.value.update({"headers": {"Authorization": "Bearer canary-key"}})
    await stub.Chat(request)
    hosted = {"hosted": {"type": "mcp", "authorization": "canary-hosted"}}
    marked = {"name": "f", "providerOptions": {"key": "canary-option"}}
    for keyed in (hosted, marked):
        await stub.Chat(asking(sandbox.url, "openai_compatible", "echo", tools=[*TOOLS, keyed]))
    held = [each for each in gc.get_objects() if isinstance(each, ToolCache) and len(each)]
    text = b"".join(_reached(cache._entries) for cache in held)
    assert b"Finds." in text
    assert b"canary" not in text


def _reached(start: object) -> bytes:
    """All text and bytes below an object, but for what belongs to modules and types."""
    seen: set[int] = set()
    todo, found = [start], []
    while todo:
        item = todo.pop()
        if id(item) in seen or isinstance(item, type) or callable(item) or hasattr(item, "__spec__"):
            continue
        seen.add(id(item))
        if isinstance(item, str | bytes):
            found.append(item.encode() if isinstance(item, str) else item)
        elif type(item).__name__ == "Raw":
            found.append(bytes(memoryview(item)))  # type: ignore[arg-type] # msgspec's raw JSON
        else:
            todo += gc.get_referents(item)
    return b"\n".join(found)


def test_clients_share_nothing() -> None:
    """Named ones, an address of an anonymous one, and nobody: each translates for itself, once."""
    cache = ToolCache()
    tools = wire(*TOOLS)
    for client in ("alice", "bob", "address 10.0.0.1", ""):
        assert translate(cache, client, tools)[1] == 1
        assert translate(cache, client, tools)[1] == 0
    assert len(cache) == 4


def test_the_cut_between_client_and_tools_and_between_tools_counts() -> None:
    """No two requests have one key because their bytes are the same when put together."""
    cache = ToolCache()
    whole = wire({"name": "a"})[0]
    assert translate(cache, "c", [whole, whole])[1] == 1
    assert translate(cache, "c", [whole + whole])[1] == 1
    assert translate(cache, "", wire({"name": "c"}))[1] == 1
    assert translate(cache, "c", wire({"name": "c"}))[1] == 1


def test_each_form_is_kept_by_itself() -> None:
    """What is known in one shape's words is read again for another's, once."""
    cache = ToolCache()
    tools = wire(*TOOLS)
    assert [translate(cache, "c", tools, form)[1] for form in ("a", "b", "a", "b")] == [1, 1, 0, 0]
    assert len(cache) == 1


def test_a_million_different_tools_do_not_grow_it() -> None:
    """In entries and in bytes, whatever they are; the newest are known."""
    small = ToolCache(max_bytes=64 * ENTRY_BYTES, max_entries=50)
    for number in range(2_000):
        translate(small, "c", wire({"name": f"tool{number}"}))
    assert len(small) == 50
    assert small.bytes <= 64 * ENTRY_BYTES
    assert translate(small, "c", wire({"name": "tool1999"}))[1] == 0
    assert translate(small, "c", wire({"name": "tool0"}))[1] == 1
    for number in range(49):  # what is used stays, however old it is
        translate(small, "c", wire({"name": f"other{number}"}))
        assert translate(small, "c", wire({"name": "tool1999"}))[1] == 0
    translate(small, "c", wire({"name": "one more"}))
    assert translate(small, "c", wire({"name": "tool0"}))[1] == 1
    large = ToolCache(max_bytes=64 * ENTRY_BYTES)
    for number in range(100):
        translate(large, "c", wire({"name": f"tool{number}", "description": "x" * 1_000}), form="f" * 900)
    assert large.bytes == sum(entry.size for entry in large._entries.values()) <= 64 * ENTRY_BYTES
    assert kept.MAX_ENTRIES * ENTRY_BYTES <= MAX_BYTES


def test_what_is_too_large_for_it_is_not_kept() -> None:
    """One client's giant does not drive out everybody else's."""
    cache = ToolCache(max_bytes=16 * ENTRY_BYTES)
    giant = wire({"name": "x" * 200})
    for _ in range(2):
        assert translate(cache, "c", giant)[1] == 1
    assert len(cache) == cache.bytes == 0


def test_an_entry_ends_after_its_time() -> None:
    """By a moved clock."""
    now = [0.0]
    cache = ToolCache(clock=lambda: now[0])
    tools = wire(*TOOLS)
    translate(cache, "c", tools)
    now[0] = kept.LIFETIME - 1
    assert translate(cache, "c", tools)[1] == 0
    now[0] = kept.LIFETIME + 1
    assert translate(cache, "c", tools)[1] == 1


def test_kept_tools_count_in_the_budgets_of_a_request() -> None:
    """As they did at their first sight; where a budget is used up they are read, and refused by their names."""
    cache = ToolCache()
    tools = wire({"name": "a", "parameters": {str(number): number for number in range(MAX_VALUES // 2 + 1)}})
    first, second = Violations(), Violations()
    translated(cache.tools("c", tools, first), "f", len)
    cache.tools("c", tools, second)
    assert first.budget.left == second.budget.left < MAX_VALUES
    assert not second
    cache.tools("c", tools, second)
    assert [violation.field for violation in second] == ["tools[0].parameters"]


def test_kept_tools_can_be_looked_at() -> None:
    """They are a sequence of definitions, read when somebody wants one."""
    cache = ToolCache()
    tools = wire(*TOOLS)
    first = cache.tools("c", tools, Violations())
    translated(first, "f", names)
    second = cache.tools("c", tools, Violations())
    assert len(second) == len(TOOLS)
    assert list(second) == list(first)
    assert second[2] == ToolDefinition("bare")
    assert second[1].parameters == {"type": "object", "properties": {"b": {"type": "integer"}, "a": {}}, "required": []}


def test_the_view_is_the_contracts_request_and_in_no_reflection() -> None:
    """Field by field the same but for the tools and the fallbacks, in a pool that reflection does not know."""
    ours, theirs = ChatRequest.DESCRIPTOR, pb.ChatRequest.DESCRIPTOR
    unread = {"tools", "fallbacks"}
    assert ours.full_name == theirs.full_name
    assert {field.name: (field.number, field.type) for field in ours.fields} == {
        field.name: (field.number, field.TYPE_BYTES if field.name in unread else field.type) for field in theirs.fields
    }
    assert ours.file.pool is not descriptor_pool.Default()
    assert descriptor_pool.Default().FindMessageTypeByName(theirs.full_name).fields_by_name["tools"].message_type
