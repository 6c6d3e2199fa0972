"""Fallbacks: a failure before the first output asks the next target, where another endpoint may do better."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.loopback import free_port
from tests.edge.reading import Failure, fail, failure_of, listen
from tests.edge.scripted import target

NOWHERE = "nowhere"
BROKEN_TLS = "broken TLS"


@pytest.fixture
async def spare() -> AsyncIterator[Sandbox]:
    async with Sandbox() as running:
        yield running


async def ask(
    stub: ChatServiceStub, request: pb.ChatRequest, *, stream: bool, **options: Any
) -> tuple[pb.ChatResponse, int]:
    """The whole answer of a good call, and the target that `started` named; -1 for Chat."""
    if not stream:
        return await stub.Chat(request, **options), -1
    received = await listen(stub.StreamChat(request, **options))
    answer = received.completed
    assert received.kinds.count("started") == 1
    assert received.text == "".join(choice.message.text for choice in answer.choices)
    return answer, received.frames[0].started.target


async def failure(stub: ChatServiceStub, request: pb.ChatRequest, *, stream: bool, **options: Any) -> Failure:
    """How a call fails."""
    if not stream:
        return await fail(stub.Chat(request, **options))
    failed = (await listen(stub.StreamChat(request, **options))).failure
    assert failed is not None
    return failed


def said(answer: pb.ChatResponse) -> str:
    return answer.choices[0].message.text


def made(answer: pb.ChatResponse) -> list[tuple[int, str]]:
    """The attempts of an answer: whom, and what became of it."""
    return [(attempt.target, attempt.reason) for attempt in answer.timing.attempts_made]


BOTH = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
MOVES_ON = {
    "drop": "ENDPOINT_UNREACHABLE",  # first: on a kept connection it would be asked for again on a new one
    "http-error:status=401": "ENDPOINT_UNAUTHENTICATED",
    "http-error:status=402": "QUOTA_EXHAUSTED",
    "http-error:status=403": "ENDPOINT_FORBIDDEN",
    "http-error:status=404": "ENDPOINT_NOT_FOUND",
    "http-error:status=400,code=model_not_found": "MODEL_NOT_FOUND",
    "http-error:status=400,code=context_length_exceeded": "CONTEXT_LENGTH_EXCEEDED",
    "http-error:status=429": "ENDPOINT_RATE_LIMITED",
    "http-error:status=429,code=insufficient_quota": "QUOTA_EXHAUSTED",
    "http-error:status=500": "ENDPOINT_ERROR",
    "http-error:status=503,retry=1": "ENDPOINT_OVERLOADED",
    "html": "ENDPOINT_PROTOCOL_ERROR",
    "redirect": "ENDPOINT_PROTOCOL_ERROR",
    "error-in-stream:after=0,status=529": "ENDPOINT_OVERLOADED",
    NOWHERE: "ENDPOINT_UNREACHABLE",
    BROKEN_TLS: "ENDPOINT_TLS",
}
STAYS = {
    "http-error:status=400": "ENDPOINT_REJECTED",
    "http-error:status=422": "ENDPOINT_REJECTED",
    "http-error:status=409": "ENDPOINT_REJECTED",
    "http-error:status=400,code=content_filter": "CONTENT_FILTERED",
}


@BOTH
async def test_what_another_endpoint_may_do_better_is_asked_of_it(
    sandbox: Sandbox, spare: Sandbox, stub: ChatServiceStub, stream: bool
) -> None:
    """At once and once: the answer is the spare's, and both attempts are named."""
    urls = {NOWHERE: f"http://127.0.0.1:{free_port()}", BROKEN_TLS: sandbox.url.replace("http:", "https:")}
    for script, reason in MOVES_ON.items():
        sandbox.requests.clear()
        spare.requests.clear()
        url = urls.get(script, sandbox.url)
        request = chat_request(url, script, fallbacks=[target(spare.url, "echo")])
        answer, started = await ask(stub, request, stream=stream)

        assert said(answer) == "Hello there", script
        assert made(answer) == [(0, reason), (1, "")], script
        assert started == (1 if stream else -1)
        assert answer.timing.attempts == 2
        assert len(spare.requests) == 1
        assert len(sandbox.requests) <= 1
        first, second = answer.timing.attempts_made
        assert second.label == "spare"
        assert second.endpoint == f"127.0.0.1:{spare.port}"
        assert first.endpoint.startswith("127.0.0.1:")
        assert second.HasField("first_output") is stream
        assert second.usage.output_tokens == answer.usage.output_tokens > 0


async def test_a_first_output_that_does_not_come_is_asked_of_the_next(
    sandbox: Sandbox, spare: Sandbox, stub: ChatServiceStub
) -> None:
    """Each target has the first-output timeout for itself; the silent one is let go of."""
    request = chat_request(
        sandbox.url,
        "silence:for=60s",
        timeouts={"firstOutput": "1s"},
        fallbacks=[target(spare.url, "keepalive:for=0.6s,gap=0.1s")],
    )
    answer, _ = await ask(stub, request, stream=True, timeout=30)

    assert made(answer) == [(0, "FIRST_OUTPUT_TIMEOUT"), (1, "")]
    await sandbox.wait_for_hangup(10)


@BOTH
async def test_what_is_wrong_with_the_request_is_asked_of_nobody_else(
    sandbox: Sandbox, spare: Sandbox, stub: ChatServiceStub, stream: bool
) -> None:
    """The endpoint's refusal is the answer."""
    for script, reason in STAYS.items():
        request = chat_request(sandbox.url, script, fallbacks=[target(spare.url, "echo")])
        failed = await failure(stub, request, stream=stream)

        assert failed.reason == reason
        assert not spare.requests
        assert [(attempt.target, attempt.reason) for attempt in failed.attempts] == [(0, reason)]


@BOTH
async def test_the_clients_own_deadline_ends_the_call(
    sandbox: Sandbox, spare: Sandbox, stub: ChatServiceStub, stream: bool
) -> None:
    """A call whose time is over moves nowhere."""
    request = chat_request(sandbox.url, "silence:for=60s", fallbacks=[target(spare.url, "echo")])
    failed = await failure(stub, request, stream=stream, timeout=0.5)

    assert failed.code is grpc.StatusCode.DEADLINE_EXCEEDED
    await sandbox.wait_for_hangup(10)
    assert not spare.requests


async def test_nothing_moves_on_once_a_word_was_said(sandbox: Sandbox, spare: Sandbox, stub: ChatServiceStub) -> None:
    """The stream ends with its error, and the words stay as they are."""
    request = chat_request(sandbox.url, "cut:after=2", fallbacks=[target(spare.url, "echo")])
    received = await listen(stub.StreamChat(request))

    assert received.failure is not None
    assert received.failure.said == (grpc.StatusCode.ABORTED, "STREAM_INTERRUPTED")
    assert received.text
    assert not spare.requests


@BOTH
async def test_only_the_last_target_is_tried_again(
    sandbox: Sandbox, spare: Sandbox, stub: ChatServiceStub, stream: bool
) -> None:
    """The first is asked once; the spare's attempts count for themselves, and all of them together."""
    request = chat_request(
        sandbox.url, "http-error:status=503", fallbacks=[target(spare.url, "flaky:fails=2,status=503,retry=0.01")]
    )
    answer, _ = await ask(stub, request, stream=stream)

    assert made(answer) == [(0, "ENDPOINT_OVERLOADED"), (1, "ENDPOINT_OVERLOADED"), (1, "ENDPOINT_OVERLOADED"), (1, "")]
    assert (len(sandbox.requests), len(spare.requests)) == (1, 3)
    assert answer.timing.attempts == 4


@BOTH
@pytest.mark.parametrize(
    "case",
    [
        ("http-error:status=503", "http-error:status=401", 0, "ENDPOINT_OVERLOADED"),
        (NOWHERE, "http-error:status=401", 1, "ENDPOINT_UNAUTHENTICATED"),
        ("http-error:status=404", NOWHERE, 0, "ENDPOINT_NOT_FOUND"),
        (NOWHERE, NOWHERE, 0, "ENDPOINT_UNREACHABLE"),
        ("http-error:status=503", "http-error:status=400", 1, "ENDPOINT_REJECTED"),
    ],
)
async def test_of_many_failures_the_one_that_tells_most_is_told(
    sandbox: Sandbox, spare: Sandbox, stub: ChatServiceStub, case: tuple[str, str, int, str], stream: bool
) -> None:
    """An answer tells more than no connection, the earlier more than the later, and one that ends the call most."""
    first, second, told, reason = case
    nowhere = f"http://127.0.0.1:{free_port()}"
    urls = (nowhere if first == NOWHERE else sandbox.url, nowhere if second == NOWHERE else spare.url)
    fallbacks = [target(urls[1], second)]
    request = chat_request(urls[0], first, fallbacks=fallbacks, options={"maxAttempts": 1})
    failed = await failure(stub, request, stream=stream)

    assert failed.reason == reason
    assert failed.info.metadata["attempts"] == "2"
    assert [attempt.target for attempt in failed.attempts] == [0, 1]
    assert failed.attempts[told].reason == reason
    assert failed.info.metadata["url"].startswith(urls[told])


MALFORMED: dict[str, tuple[dict[str, Any], str]] = {
    "no URL": ({"credential": {"value": {"apiCompatibility": "openai_compatible"}}}, "credential.value.baseUrl"),
    "no credential": ({"credential": {}}, "credential.value"),
    "another scheme": ({"credential": {"value": {"baseUrl": "ftp://nope"}}}, "credential.value.baseUrl"),
    "a warm temperature": ({"modelParameters": {"temperature": "warm"}}, 'model_parameters["temperature"]'),
    "an unknown provider": ({"providerId": "nobody"}, "provider_id"),
    "a long label": ({"label": "x" * 129}, "label"),
}


@BOTH
async def test_a_malformed_fallback_is_refused_before_anything_is_asked(
    sandbox: Sandbox, stub: ChatServiceStub, stream: bool
) -> None:
    """INVALID_ARGUMENT with the path of the fallback."""
    for changes, path in MALFORMED.values():
        bad = {**target(sandbox.url, "echo"), **changes}
        request = chat_request(sandbox.url, "echo", fallbacks=[target(sandbox.url, "echo"), bad])
        failed = await failure(stub, request, stream=stream)

        assert failed.code is grpc.StatusCode.INVALID_ARGUMENT
        assert failed.fields == [f"fallbacks[1].{path}"]
        assert failed.message.startswith("fallbacks[1]")
    assert not sandbox.requests


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"fallbacks": [target("http://127.0.0.1:1", "echo")] * 5}, "fallbacks"),
        ({"options": {"hedgeAfter": "0s"}}, "options.hedge_after"),
        ({"options": {"hedgePercentile": 49}}, "options.hedge_percentile"),
        ({"options": {"hedgePercentile": 100}}, "options.hedge_percentile"),
    ],
)
async def test_options_out_of_their_bounds_are_refused(
    sandbox: Sandbox, stub: ChatServiceStub, changes: dict[str, Any], path: str
) -> None:
    """Four fallbacks at most, a time above nothing, a percentile from 50 to 99."""
    changes = {"fallbacks": [target(sandbox.url, "echo")], **changes}
    failed = await failure(stub, chat_request(sandbox.url, "echo", **changes), stream=True)

    assert failed.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failed.fields == [path]
    assert not sandbox.requests


async def test_a_target_that_may_not_be_called_is_passed_over(sandbox: Sandbox) -> None:
    """The egress policy forbids it, or its stored credential is missing: the next one answers."""
    settings = Settings(port=0, egress_policy="allowlist", egress_allow=f"127.0.0.1:{sandbox.port}")
    async with Server(settings) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        request = chat_request(
            "http://127.0.0.1:9",
            "echo",
            fallbacks=[
                {**target("", ""), "credential": {"name": "nobody-made-it"}},
                target("http://192.0.2.1", "echo"),
                target(sandbox.url, "echo", label="here"),
            ],
        )
        answer, _ = await ask(ChatServiceStub(channel), request, stream=True, timeout=30)

    assert said(answer) == "Hello there"
    assert sorted(made(answer)) == [(0, "EGRESS_DENIED"), (1, "CREDENTIAL_NOT_FOUND"), (2, "EGRESS_DENIED"), (3, "")]


async def test_where_nobody_may_be_called_that_is_the_error(sandbox: Sandbox) -> None:
    """The call's own target tells more than a fallback that does not exist."""
    async with (
        Server(Settings(port=0, egress_policy="public-only")) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        missing = {**target("", ""), "credential": {"name": "nobody-made-it"}}
        request = chat_request(sandbox.url, "echo", fallbacks=[missing])
        failed = await failure(ChatServiceStub(channel), request, stream=True, timeout=30)

    assert failed.said == (grpc.StatusCode.PERMISSION_DENIED, "EGRESS_DENIED")
    assert {(attempt.target, attempt.reason) for attempt in failed.attempts} == {
        (0, "EGRESS_DENIED"),
        (1, "CREDENTIAL_NOT_FOUND"),
    }


AUDIO = {"user": {"content": [{"text": "What is this?"}, {"audio": {"data": "UklGRg==", "format": "wav"}}]}}


@BOTH
async def test_what_a_shape_cannot_carry_passes_its_target_over(
    sandbox: Sandbox, spare: Sandbox, stub: ChatServiceStub, stream: bool
) -> None:
    """Anthropic's Messages have no audio: whether first or in the middle, the target is not asked, and says why."""
    messages = target(sandbox.url, "echo", "anthropic_messages")
    credential, parameters = messages["credential"], messages["modelParameters"]
    request = chat_request(
        sandbox.url,
        "echo",
        credential=credential,
        modelParameters=parameters,
        messages=[AUDIO],
        fallbacks=[messages, target(spare.url, "echo")],
    )
    answer, _ = await ask(stub, request, stream=stream)

    assert made(answer) == [(0, "NOT_SUPPORTED_BY_API"), (1, "NOT_SUPPORTED_BY_API"), (2, "")]
    assert not sandbox.requests
    assert len(spare.requests) == 1

    request.fallbacks.pop()
    failed = await failure(stub, request, stream=stream)
    assert failed.reason == "NOT_SUPPORTED_BY_API"


async def test_shapes_can_be_mixed_and_state_is_used_where_it_fits(
    sandbox: Sandbox, spare: Sandbox, stub: ChatServiceStub
) -> None:
    """Signed thinking of Anthropic's goes back to Anthropic's shape as it came, and the message is rebuilt of its
    fields for another one."""
    first = target(sandbox.url, "reasoning-tool-call", "anthropic_messages")
    tools = [{"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}]
    shape = {"credential": first["credential"], "modelParameters": first["modelParameters"], "tools": tools}
    called, _ = await ask(stub, chat_request(sandbox.url, "", **shape), stream=True)
    message = called.choices[0].message
    assert message.provider_state
    call = message.tool_calls[0]

    request = chat_request(sandbox.url, "", **shape, fallbacks=[target(spare.url, "echo")])
    request.messages.add().assistant.CopyFrom(message)
    result = request.messages.add().tool
    result.tool_call_id, result.name = call.id, call.name
    result.content.add().text = "21 degrees"
    answer, _ = await ask(stub, request, stream=True)
    assert made(answer) == [
        (0, ""),
    ]
    sent = sandbox.requests[-1].json()
    assert isinstance(sent, dict)
    assert "signature" in str(sent["messages"])

    request.model_parameters["model.name"] = "http-error:status=503"
    answer, _ = await ask(stub, request, stream=True)
    assert made(answer) == [(0, "ENDPOINT_OVERLOADED"), (1, "")]
    rebuilt = spare.requests[-1].json()
    assert isinstance(rebuilt, dict)
    assert "signature" not in str(rebuilt["messages"])
    assert call.id in str(rebuilt["messages"])


async def test_a_targets_parameters_win_over_the_requests(
    sandbox: Sandbox, spare: Sandbox, stub: ChatServiceStub
) -> None:
    """Whichever of the places they are given in; what the target does not give is the request's."""
    request = chat_request(
        sandbox.url,
        "",
        modelParameters={
            "model.name": "http-error:status=503",
            "model.temperature": 0.9,
            "model.parameters": {"top_p": 0.5, "seed": 7},
        },
        fallbacks=[
            target(
                spare.url,
                "",
                modelParameters={"temperature": 0.1, "top_p": 0.25},
                model={"name": "echo", "temperature": 0.3, "maxTokens": 9},
            )
        ],
    )
    await ask(stub, request, stream=True)
    sent = spare.requests[0].json()

    assert isinstance(sent, dict)
    known = {name: sent.get(name) for name in ("model", "temperature", "top_p", "seed", "max_tokens")}
    assert known == {"model": "echo", "temperature": 0.1, "top_p": 0.25, "seed": 7, "max_tokens": 9}


async def test_a_call_without_fallbacks_names_its_attempts_only_where_there_were_more(
    sandbox: Sandbox, stub: ChatServiceStub
) -> None:
    """None for one request, all of them for a retry, and none in the details of a single failure."""
    plain, started = await ask(stub, chat_request(sandbox.url, "echo"), stream=True)
    assert (made(plain), started) == ([], 0)
    retried, _ = await ask(stub, chat_request(sandbox.url, "flaky:fails=1,status=503"), stream=True)
    assert made(retried) == [(0, "ENDPOINT_OVERLOADED"), (0, "")]
    failed = await failure(stub, chat_request(sandbox.url, "http-error:status=400"), stream=True)
    assert "FailedAttempts" not in failed.details
    repeated = await failure(stub, chat_request(sandbox.url, "http-error:status=500"), stream=True)
    assert [(each.target, each.reason) for each in repeated.attempts] == [(0, "ENDPOINT_ERROR")] * 2


async def test_the_details_of_many_long_attempts_fit_into_a_status(stub: ChatServiceStub) -> None:
    """Long labels and hosts: the status arrives, its reason with it, and attempts as far as there is room."""
    names = [f"{'x' * 60}.{'y' * 60}.{'z' * 60}.invalid" for _ in range(4)]
    request = chat_request(
        f"http://127.0.0.1:{free_port()}",
        "echo",
        fallbacks=[target(f"http://127.0.0.1:{free_port()}/{name}", "echo", label="é" * 64) for name in names],
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Chat(request, timeout=30)

    failed = failure_of(caught.value)
    assert failed.reason == "ENDPOINT_UNREACHABLE"
    assert 2 <= len(failed.attempts) < int(failed.info.metadata["attempts"])
    assert sum(len(name) + len(value) for name, value in caught.value.trailing_metadata() or ()) < 4096
