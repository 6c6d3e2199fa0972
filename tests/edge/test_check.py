"""The checks of an endpoint, over the wire: all pass on a sound one, and each fault is told by its own check."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from google.protobuf import json_format

from caller.custom_llm.check.table import ROWS
from integration_api.sandbox import FAULTS, Sandbox
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.contract.shapes import SHAPES, base_url
from tests.edge.loopback import ScriptedServer, answer, chat_answer
from tests.edge.reading import fail

KEY = "canary-key-4711"
_HEADERS = {
    "anthropic_messages": {"x-api-key": KEY},
    "gemini_generate_content": {"x-goog-api-key": KEY},
}
EVERY = (*ROWS,)
# What cannot be told of an endpoint on loopback without TLS.
_UNTOLD = {"tls"}
# A word of what each check tells to do about its fault.
_REMEDIES = {
    "reach": "check that the endpoint runs",
    "path": "/api/v",
    "auth": "accept",
    "auth_refused": "a key of its own",
    "models": "the chat works",
    "model": "name",
    "chat": "log",
    "structure": "LiteLLM",
    "usage": "bills",
    "parameters": "do not send",
    "stream": "server-sent events",
    "stream_end": "end its streams",
    "tools": "turn tool calls on",
    "tools_stream": "streaming parser",
    "tool_result": "chat template",
    "structured_output": "response_format",
    "images": "vision",
    "errors": "4xx",
    "unicode": "UTF-8",
    "cancel": "stop generating",
    "latency": "smaller model",
}


def asked(url: str, shape: str, *checks: str, model: str = "assistant") -> pb.VerifyCredentialRequest:
    """A request for these checks."""
    headers = _HEADERS.get(shape, {"Authorization": f"Bearer {KEY}"})
    value = {"apiCompatibility": shape, "baseUrl": base_url(shape, url), "headers": headers}
    fields = {"providerId": "custom-llm", "credential": {"value": value}, "model": model, "checks": list(checks)}
    return json_format.ParseDict(fields, pb.VerifyCredentialRequest())


def by_id(verified: pb.VerifyCredentialResponse) -> dict[str, str]:
    """The statuses in plain words."""
    return {check.id: pb.CheckStatus.Name(check.status).removeprefix("CHECK_STATUS_") for check in verified.checks}


@pytest.fixture
async def sound() -> AsyncIterator[Sandbox]:
    async with Sandbox(require_key=KEY) as sandbox:
        yield sandbox


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_sound_endpoint_passes_every_check(sound: Sandbox, stub: ChatServiceStub, shape: str) -> None:
    """In every API shape, each by its own truths."""
    verified = await stub.VerifyCredential(asked(sound.url, shape, *EVERY), timeout=50)

    assert by_id(verified) == {name: "SKIP" if name in _UNTOLD else "PASS" for name in EVERY}, verified
    assert verified.ok
    assert verified.compatibility == shape
    assert "/models/assistant" in verified.endpoint_url if "gemini" in shape else verified.endpoint_url
    assert KEY not in str(verified)


def _shapes_of(fault: str) -> tuple[str, ...]:
    """Faults that look alike in every API are tried in one."""
    return SHAPES[1:] if fault in ("path", "structure", "stream_end", "tools_stream") else SHAPES[1:2]


@pytest.mark.parametrize(("fault", "shape"), [(fault, shape) for fault in FAULTS for shape in _shapes_of(fault)])
async def test_a_fault_is_told_by_its_own_check(stub: ChatServiceStub, fault: str, shape: str) -> None:
    """By no other, and with what to do about it."""
    checks = ("latency", "stream") if fault == "latency" else EVERY
    async with Sandbox(require_key=KEY, fault=FAULTS[fault]) as sandbox:
        verified = await stub.VerifyCredential(asked(sandbox.url, shape, *checks), timeout=50)

    odd = {check.id: check.remedy for check in verified.checks if check.status not in (PASS, SKIP)}
    assert odd.keys() == {fault}, verified
    assert _REMEDIES[fault] in odd[fault]
    assert KEY not in str(verified)


PASS, WARN, FAIL, SKIP = (
    pb.CHECK_STATUS_PASS,
    pb.CHECK_STATUS_WARN,
    pb.CHECK_STATUS_FAIL,
    pb.CHECK_STATUS_SKIP,
)


def test_every_check_has_a_fault() -> None:
    """The credential's own faults and those of TLS are no endpoint's, and are tried below."""
    assert FAULTS.keys() == ROWS.keys() - {"credential", "tls"}
    assert _REMEDIES.keys() == FAULTS.keys()


async def test_plain_http_behind_https_is_told_as_tls(sound: Sandbox, stub: ChatServiceStub) -> None:
    """The port takes connections, so it is reached."""
    url = sound.url.replace("http://", "https://")

    verified = by_id(await stub.VerifyCredential(asked(url, SHAPES[1], *EVERY), timeout=20))

    assert {name for name, status in verified.items() if status == "FAIL"} == {"tls"}
    assert verified["reach"] == "PASS"


@pytest.mark.parametrize("value", ["Bearer YOUR_API_KEY", "Bearer Bearer k", "k-without-scheme"])
async def test_a_key_that_is_written_wrongly_is_told_as_the_credential(
    sandbox: Sandbox, stub: ChatServiceStub, value: str
) -> None:
    """Before the endpoint has said anything."""
    request = asked(sandbox.url, SHAPES[1], *EVERY)
    request.credential.value.update({"headers": {"Authorization": value}})

    verified = await stub.VerifyCredential(request, timeout=20)

    assert by_id(verified)["credential"] in ("WARN", "FAIL")
    assert verified.checks[0].remedy


async def test_all_sends_no_wrong_key(sound: Sandbox, stub: ChatServiceStub) -> None:
    """Only who names that check wants one to be sent."""
    verified = await stub.VerifyCredential(asked(sound.url, SHAPES[1], "all"), timeout=50)

    assert by_id(verified).keys() == set(EVERY) - {"auth_refused"}
    assert {request.headers["Authorization"] for request in sound.requests} == {f"Bearer {KEY}"}


async def test_an_unknown_check_is_refused(stub: ChatServiceStub) -> None:
    """With the ids that there are, before anything is sent."""
    failure = await fail(stub.VerifyCredential(asked("http://127.0.0.1:1", SHAPES[1], "everything"), timeout=20))

    assert failure.said[1] == "REQUEST_INVALID"
    assert "tools_stream" in failure.message


async def test_without_checks_two_requests_are_made(sound: Sandbox, stub: ChatServiceStub) -> None:
    """They tell the path and the key as well."""
    verified = await stub.VerifyCredential(asked(sound.url, SHAPES[1]), timeout=20)

    assert list(by_id(verified)) == ["credential", "reach", "models", "chat", "path", "auth"]
    assert len(sound.requests) == 2


async def test_a_wrong_path_is_told_where_two_requests_are_made(sound: Sandbox, stub: ChatServiceStub) -> None:
    """What answers with 404 to all is not reached as it should be."""
    verified = await stub.VerifyCredential(asked(f"{sound.url}/nowhere", SHAPES[1]), timeout=20)

    told = by_id(verified)
    assert (told["reach"], told["path"], told["chat"]) == ("WARN", "FAIL", "FAIL")
    assert not verified.ok
    assert len(sound.requests) == 2


async def test_a_list_without_the_model_is_a_warning(sound: Sandbox, stub: ChatServiceStub) -> None:
    """An unlisted model that answers is usable; the likely ones are named."""
    verified = await stub.VerifyCredential(asked(sound.url, SHAPES[1], model="echo:gap=1ms"), timeout=20)

    models = verified.checks[2]
    assert (models.id, models.status) == ("models", WARN)
    assert "echo" in models.remedy
    assert verified.ok


async def test_no_model_list_is_nothing_to_mend_where_the_chat_works(stub: ChatServiceStub) -> None:
    """Nobody is told to give a model who gave one."""
    async with Sandbox(fault=FAULTS["models"]) as sandbox:
        verified = await stub.VerifyCredential(asked(sandbox.url, SHAPES[1]), timeout=20)

    assert by_id(verified)["models"] == "WARN"
    assert "give a model" not in str(verified)
    assert by_id(verified)["reach"] == "PASS"


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ('{"role": "assistant"}', "FAIL"),
        ('{"role": "assistant", "content": null}', "WARN"),
        ('{"role": "assistant", "content": null, "tool_calls": [{"id": "c", "function": {"name": "f"}}]}', "PASS"),
        ('{"role": "system", "content": "OK"}', "WARN"),
        ("null", "FAIL"),
    ],
)
async def test_the_required_fields_are_looked_for(stub: ChatServiceStub, message: str, status: str) -> None:
    """Content that is missing, null, or null beside tool calls are three things."""
    choice = f'{{"index": 0, "finish_reason": "stop", "message": {message}}}'
    verified = await _answered(stub, answer(f'{{"model": "m", "choices": [{choice}]}}'))

    assert by_id(verified)["structure"] == status, verified


@pytest.mark.parametrize("body", ['{"message": {"content": "OK"}}', '{"choices": []}', "OK", "<html>hello</html>"])
async def test_another_structure_is_told_with_the_way_out(stub: ChatServiceStub, body: str) -> None:
    """A compatibility layer, as the requirements of such endpoints say."""
    verified = await _answered(stub, answer(body))

    assert by_id(verified)["structure"] == "FAIL"
    assert [check.id for check in verified.checks if check.status == FAIL] == ["structure"], verified
    assert "LiteLLM" in next(check.remedy for check in verified.checks if check.id == "structure")


async def _answered(stub: ChatServiceStub, chat: bytes) -> pb.VerifyCredentialResponse:
    """The checks of an endpoint that answers every chat so."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        while True:
            request = await made.request(reader)
            writer.write(answer('{"data": [{"id": "assistant"}]}') if request.startswith(b"GET") else chat)

    made = ScriptedServer(talk)
    async with made:
        return await stub.VerifyCredential(asked(made.url, SHAPES[1], "structure", "path"), timeout=20)


async def test_what_a_rejection_teaches_is_followed(stub: ChatServiceStub) -> None:
    """As calls of the service do: an endpoint that wants the other name of the limit is a good one."""
    refusal = answer(
        '{"error": {"message": "Unsupported parameter: \'max_tokens\' is not supported with this model.'
        ' Use \'max_completion_tokens\' instead.", "code": "unsupported_parameter", "param": "max_tokens"}}',
        "400 Bad Request",
    )
    sent: list[dict[str, object]] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        while True:
            request = await made.request(reader)
            body = request.partition(b"\r\n\r\n")[2]
            sent.extend([json.loads(body)] if body else [])
            reply = answer('{"data": [{"id": "assistant"}]}') if not body else chat_answer()
            writer.write(refusal if b'"max_tokens"' in body else reply)

    made = ScriptedServer(talk)
    async with made:
        verified = await stub.VerifyCredential(asked(made.url, SHAPES[1], "usage"), timeout=20)

    assert by_id(verified)["chat"] == "PASS"
    assert sent[-1]["max_completion_tokens"] == 256


async def test_an_endpoint_that_hangs_up_on_what_it_cannot_read_is_told_so(stub: ChatServiceStub) -> None:
    """On a malformed request, and on a wrong key: there is no status to tell of."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        while True:
            request = await made.request(reader)
            if b"no list" in request or (b"POST" in request and KEY.encode() not in request):
                return
            writer.write(answer('{"data": [{"id": "assistant"}]}') if b"GET" in request else chat_answer())

    made = ScriptedServer(talk)
    async with made:
        verified = await stub.VerifyCredential(asked(made.url, SHAPES[1], "errors", "auth_refused"), timeout=20)

    said = {check.id: check.observed for check in verified.checks if check.id in ("errors", "auth_refused")}
    assert len(said) == 2
    assert all("no answer: the connection is closed" in observed for observed in said.values()), said


@pytest.mark.parametrize("shape", SHAPES[1:])
async def test_what_an_endpoint_repeats_of_a_key_is_taken_out(stub: ChatServiceStub, shape: str) -> None:
    """Of every text of every check, whatever it stands in."""
    said = f"{KEY} " * 40
    call = {"id": KEY, "function": {"name": f"weather{KEY}", "arguments": json.dumps({"city": said})}}
    whole = {
        "id": KEY,
        "model": KEY,
        "choices": [
            {"index": 0, "finish_reason": KEY, "message": {"role": KEY, "content": said, "tool_calls": [call]}}
        ],
        "status": "completed",
        "output": [{"type": "message", "role": KEY, "content": [{"type": "output_text", "text": said}]}],
        "content": [{"type": "text", "text": said}],
        "role": KEY,
        "stop_reason": KEY,
        "candidates": [{"finishReason": "STOP", "content": {"parts": [{"text": said}]}}],
        "usage": {"input_tokens": 3, "output_tokens": 3, "prompt_tokens": 3, "completion_tokens": 3},
    }
    models = {"data": [{"id": f"m-{KEY}-{number}"} for number in range(9)], "models": [{"name": f"models/{KEY}"}]}
    refusal = answer(json.dumps({"error": {"message": said, "code": KEY, "type": KEY}}), "400 Bad Request")

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        while True:
            request = await made.request(reader)
            good = answer(json.dumps(models if request.startswith(b"GET") else whole))
            writer.write(refusal if b"tools" in request or b"temperature" in request else good)

    made = ScriptedServer(talk)
    async with made:
        verified = await stub.VerifyCredential(asked(made.url, shape, *EVERY), timeout=50)

    assert len(verified.checks) == len(EVERY)
    assert not [piece for at in range(len(KEY) - 7) if (piece := KEY[at : at + 8]) in str(verified)]


async def test_a_check_costs_a_bounded_number_of_requests(sound: Sandbox, stub: ChatServiceStub) -> None:
    """Even `all`; it is one call among those that run."""
    await stub.VerifyCredential(asked(sound.url, SHAPES[1], "all"), timeout=50)

    assert len(sound.requests) <= 16
