"""How large a status may be: what stands between client and service has 4 KB for its trailers (nginx's default)."""

import asyncio
import json

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from caller.errors import clipped, trailer_size
from integration_api.client.errors import detail, status_of
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.loopback import ScriptedServer, answer

ROOM = 4096
REMEDY = "set up to accept that header."
TEXTS = {
    "Chinese": "请求的模型当前不可用请稍后再试。" * 64,
    "one Chinese KB": "错" * 341,
    "percent": "100% " * 400,
    "Latin": "the model is not there. " * 100,
    "emoji": "🚧" * 500,
}


def encoded_size(error: grpc.aio.AioRpcError) -> int:
    """All trailers as gRPC writes them: the status text percent-encoded, what is binary in base64."""
    text = (error.details() or "").encode()
    escaped = sum(1 if 0x20 <= byte < 0x7F and byte != ord("%") else 3 for byte in text)
    trailers = error.trailing_metadata() or ()
    pairs = [(name, len(value) if isinstance(value, str) else -(-len(value) * 4 // 3)) for name, value in trailers]
    return len("grpc-status16grpc-message") + escaped + sum(len(name) + size for name, size in pairs)


async def error_of(stub: ChatServiceStub, request: pb.ChatRequest) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Chat(request)
    return raised.value


def details(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    return status_of(dict(tuple(error.trailing_metadata() or ())))


@pytest.mark.parametrize("words", TEXTS.values(), ids=TEXTS)
async def test_an_endpoints_long_words_fit_whatever_they_are_written_in(words: str, stub: ChatServiceStub) -> None:
    """All trailers together stay below 4 KB, with ids and a URL of the longest kind, too; the remedy stays."""
    body = json.dumps({"error": {"message": words, "code": "c" * 200}}, ensure_ascii=False)
    reply = answer(body, "401 Unauthorized", more=f"x-request-id: {'r' * 300}\r\n")

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await endpoint.request(reader)
        writer.write(reply)

    async with ScriptedServer(talk) as endpoint:
        request = chat_request(f"{endpoint.url}/{'p' * 400}", "any")
        plain = await error_of(stub, chat_request(endpoint.url, "any"))
        request.request_id = "i" * 128
        longest = await error_of(stub, request)

    for error in (plain, longest):
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert words[:60] in (error.details() or "")
        assert encoded_size(error) < ROOM
        assert details(error).message == error.details()
    assert REMEDY in (plain.details() or "")
    assert encoded_size(longest) > 3_000


async def test_violations_share_the_room(stub: ChatServiceStub) -> None:
    """Thirty of a long kind: those that fit are named, the first among them."""
    headers = {f"{'x' * 60}-{number:02}": "bad\nvalue" for number in range(30)}
    value = {"apiCompatibility": "openai_compatible", "baseUrl": "http://127.0.0.1:1", "headers": headers}
    request = chat_request("http://127.0.0.1:1", "any", fallbacks=[{"credential": {"value": value}}])
    request.request_id = "i" * 128
    error = await error_of(stub, request)

    bad = detail(details(error), error_details_pb2.BadRequest())
    assert 1 < len(bad.field_violations) < 16
    assert bad.field_violations[0].field.startswith("fallbacks[0].credential.value.headers[")
    assert encoded_size(error) < ROOM


def test_a_clipped_text_is_as_long_as_it_may_be() -> None:
    """Bytes that gRPC escapes count twice, and no character is cut in two."""
    for text in TEXTS.values():
        for limit in (50, 200, 1024):
            short = clipped(text, limit)
            assert short.endswith("…")
            assert text.startswith(short[:-1])
            assert limit - 8 < trailer_size(short) <= limit
    assert clipped("as it is", 8) == "as it is"
    assert clipped("ééé", 12) == "ééé"
    assert clipped("éééé", 15) == "éé…"
