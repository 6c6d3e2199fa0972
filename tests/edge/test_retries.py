"""Retries: before the first output only, what can help only, within the time only; and every attempt is counted."""

import asyncio
import statistics
from itertools import pairwise

import grpc
import pytest

from caller import errors
from caller.errors import LostReusedConnection
from caller.retry import LONGEST_RETRY_AFTER, FailedAttempt, most_telling, moves_on, pause_before_retry
from integration_api.sandbox import Sandbox
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.loopback import STREAM_END, STREAM_HEAD, ScriptedServer, answer, chat_answer, token
from tests.edge.reading import fail, listen
from tests.patience import within

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def failed(error: errors.CallerError, number: int = 1, most: int = 3, remaining: float = 60.0) -> float | None:
    return pause_before_retry(error, FailedAttempt(number, most, remaining))


EVERY_KIND = [
    kind
    for name in dir(errors)
    if isinstance(kind := getattr(errors, name), type) and issubclass(kind, errors.CallerError)
]
RETRYABLE = {
    errors.EndpointOverloaded,
    errors.EndpointUnreachable,
    errors.LostReusedConnection,  # the first time at once
    errors.ProxyUnreachable,
    errors.ConnectTimeout,
    errors.EndpointError,  # once
    errors.ServiceOverloaded,  # not made by an attempt
    errors.ServiceDraining,
}


@pytest.mark.parametrize("kind", EVERY_KIND, ids=lambda kind: kind.__name__)
def test_only_what_can_get_well_is_tried_again(kind: type[errors.CallerError]) -> None:
    """The error tree says what is retryable; nothing is, once there was output or the attempts are used up."""
    assert (failed(kind("x")) is not None) is (kind in RETRYABLE)

    if kind is not errors.LostReusedConnection:  # made anew once, whatever the number of attempts is
        assert failed(kind("x"), number=3) is None
        assert failed(kind("x"), most=1) is None
    spoken = kind("x")
    spoken.after_output = True
    assert failed(spoken) is None


def test_a_500_is_tried_again_once() -> None:
    """A second 500 is an answer."""
    assert failed(errors.EndpointError("x"), number=1) is not None
    assert failed(errors.EndpointError("x"), number=2, most=9) is None


def test_a_rate_limit_is_waited_for_only_when_the_wait_is_short_and_known() -> None:
    """429: nothing without Retry-After, that long with a short one, nothing with a long one."""
    limited = errors.EndpointRateLimited
    assert failed(limited("x")) is None
    assert failed(limited("x", retry_after=2.5)) == 2.5
    assert failed(limited("x", retry_after=LONGEST_RETRY_AFTER + 0.1)) is None


def test_pauses_are_jittered_over_their_whole_range() -> None:
    """Full jitter: between nothing and a bound that doubles with each attempt, up to four seconds."""
    for number, bound in ((1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 4.0), (900, 4.0)):
        pauses = [failed(errors.EndpointOverloaded("x"), number=number, most=1000) for _ in range(2000)]
        known = [pause for pause in pauses if pause is not None]
        assert len(known) == 2000
        assert 0 <= min(known) < bound * 0.1
        assert bound * 0.9 < max(known) <= bound
        assert bound * 0.4 < statistics.mean(known) < bound * 0.6


def test_no_pause_is_longer_than_the_time_that_is_left() -> None:
    """A pause that would outlast the call is not begun, whoever asked for it."""
    assert failed(errors.EndpointOverloaded("x", retry_after=3.0), remaining=2.9) is None
    assert failed(errors.EndpointOverloaded("x", retry_after=3.0), remaining=3.1) == 3.0
    assert failed(errors.EndpointOverloaded("x"), remaining=0.0) is None
    assert failed(LostReusedConnection("x"), remaining=-1.0) is None


def test_a_stale_connection_is_replaced_without_a_pause() -> None:
    """The endpoint is most likely well."""
    assert failed(LostReusedConnection("x")) == 0


def test_no_other_target_is_asked_once_there_was_output() -> None:
    """Whatever the failure is."""
    error = errors.EndpointOverloaded("x")
    assert moves_on(error)
    error.after_output = True
    assert not moves_on(error)


def test_the_failure_that_tells_most_is_an_answer() -> None:
    """Then silence, then no connection, and last what was passed over; of equals the earliest."""
    ranks: list[list[errors.CallerError]] = [
        [errors.EndpointOverloaded("x"), errors.EndpointRejected("x")],
        [errors.FirstOutputTimeout("x"), errors.StreamInterrupted("x")],
        [errors.EndpointUnreachable("x"), errors.ConnectTimeout("x")],
        [errors.EgressDenied("x"), errors.NotSupportedByApi("x")],
    ]
    for first, second in ranks:
        assert most_telling([first, second]) == most_telling([second, first]) == 0
    for more, less in pairwise(ranks):
        assert {most_telling([one, other]) for one in less for other in more} == {1}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize(
    ("script", "attempts"),
    [
        ("flaky:fails=1,status=503", 2),
        ("flaky:fails=2,status=502", 3),
        ("flaky:fails=1,status=500", 2),
        ("flaky:fails=1,status=429,retry=0.2", 2),
        ("flaky:fails=1,status=408", 2),
        ("flaky:fails=1,status=529", 2),
    ],
)
async def test_what_gets_well_is_answered_and_its_attempts_are_counted(
    sandbox: Sandbox, stub: ChatServiceStub, script: str, attempts: int, stream: bool
) -> None:
    """In the timing and in the trailers."""
    request = chat_request(sandbox.url, script)
    if stream:
        call = stub.StreamChat(request)
        received = await listen(call)
        response = received.completed
        assert received.text == "Hello there"
    else:
        call = stub.Chat(request)
        response = await call

    assert response.timing.attempts == attempts == len(sandbox.requests)
    assert dict(tuple(await call.trailing_metadata()))["x-attempts"] == str(attempts)


@pytest.mark.parametrize(
    "case",
    [
        ("http-error:status=503", 3, "ENDPOINT_OVERLOADED", "-1"),
        ("http-error:status=500", 2, "ENDPOINT_ERROR", "-1"),
        ("http-error:status=400", 1, "ENDPOINT_REJECTED", "-1"),
        ("http-error:status=401", 1, "ENDPOINT_UNAUTHENTICATED", "-1"),
        ("http-error:status=404", 1, "ENDPOINT_NOT_FOUND", "-1"),
        ("http-error:status=429", 1, "ENDPOINT_RATE_LIMITED", "1000"),
        ("http-error:status=429,retry=7", 1, "ENDPOINT_RATE_LIMITED", "7000"),
        ("http-error:status=503,retry=7", 1, "ENDPOINT_OVERLOADED", "7000"),
        ("html", 1, "ENDPOINT_PROTOCOL_ERROR", "-1"),
        ("error-in-stream:after=3,status=503", 1, "ENDPOINT_OVERLOADED", "-1"),
        ("cut:after=3", 1, "STREAM_INTERRUPTED", "-1"),
    ],
)
async def test_what_does_not_get_well_is_told_with_its_attempts(
    sandbox: Sandbox, stub: ChatServiceStub, case: tuple[str, int, str, str]
) -> None:
    """In the error's metadata and the trailers; the client's own retry is told when to come, or not to."""
    script, attempts, reason, pushback = case
    received = await listen(stub.StreamChat(chat_request(sandbox.url, script)))

    assert received.failure is not None
    assert received.failure.reason == reason
    assert len(sandbox.requests) == attempts
    assert received.failure.info.metadata["attempts"] == received.failure.trailers["x-attempts"] == str(attempts)
    assert received.failure.trailers["grpc-retry-pushback-ms"] == pushback
    retry_info = received.failure.details.get("RetryInfo")
    assert (retry_info is None) is (pushback == "-1")
    if retry_info is not None:
        assert retry_info.retry_delay.ToMilliseconds() == int(pushback)  # type: ignore[attr-defined]


async def test_retry_after_is_waited_for(sandbox: Sandbox, stub: ChatServiceStub) -> None:
    """The second attempt comes no earlier than the endpoint asked."""
    answered = await stub.Chat(chat_request(sandbox.url, "flaky:fails=1,status=503,retry=0.4"))

    first, second = sandbox.requests
    assert answered.timing.attempts == 2
    assert 0.4 <= second.started - first.started < within(1.4)


async def test_retries_are_off_where_a_request_says_so(sandbox: Sandbox, stub: ChatServiceStub) -> None:
    """max_attempts 1: one HTTP request, and the client is told that its own retry makes sense."""
    request = chat_request(sandbox.url, "flaky:fails=1", options={"maxAttempts": 1})
    failure = await fail(stub.Chat(request))

    assert failure.said == (UNAVAILABLE, "ENDPOINT_OVERLOADED")
    assert failure.trailers["grpc-retry-pushback-ms"] == "1000"
    assert len(sandbox.requests) == 1


async def test_a_request_cannot_ask_for_more_attempts_than_the_settings_allow(
    sandbox: Sandbox, stub: ChatServiceStub
) -> None:
    """Ten are asked for, three are made."""
    await fail(stub.Chat(chat_request(sandbox.url, "http-error:status=503", options={"maxAttempts": 10})))

    assert len(sandbox.requests) == 3


async def test_no_retry_is_made_beyond_the_clients_deadline(sandbox: Sandbox, stub: ChatServiceStub) -> None:
    """A pause of five seconds with three left: the failure is told at once."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    call = stub.Chat(chat_request(sandbox.url, "http-error:status=503,retry=5"), timeout=3.0)
    failure = await fail(call)

    assert loop.time() - began < 2.5
    assert failure.said == (UNAVAILABLE, "ENDPOINT_OVERLOADED")
    assert failure.trailers["grpc-retry-pushback-ms"] == "5000"
    assert len(sandbox.requests) == 1


async def test_an_endpoint_that_forbids_retries_is_obeyed(stub: ChatServiceStub) -> None:
    """x-should-retry: false (OpenAI, Anthropic) weighs more than the status, for us and for the client."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await endpoint.request(reader)
        writer.write(b"HTTP/1.1 503 Busy\r\nX-Should-Retry: false\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")

    async with ScriptedServer(talk) as endpoint:
        failure = await fail(stub.Chat(chat_request(endpoint.url, "any")))

    assert failure.said == (UNAVAILABLE, "ENDPOINT_OVERLOADED")
    assert failure.trailers["grpc-retry-pushback-ms"] == "-1"
    assert len(endpoint.requests) == 1


def one_answer_per_connection(answers: int = 1, *, healthy: int = 10**9) -> ScriptedServer:
    """An endpoint that closes a kept connection when the next request on it arrives, without a byte; connections
    from the `healthy`th on are kept well."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        for _ in range(answers if number < healthy else 1000):
            await endpoint.request(reader)
            writer.write(chat_answer(f"answer {number}"))
        await endpoint.request(reader)  # seen, and not answered

    endpoint = ScriptedServer(talk)
    return endpoint


async def test_a_kept_connection_that_died_is_replaced_at_once(stub: ChatServiceStub) -> None:
    """The endpoint closed it while it was idle: one retry without a pause, on a new connection."""
    async with one_answer_per_connection() as endpoint:
        request = chat_request(endpoint.url, "any", options={"maxAttempts": 2})
        first = await stub.Chat(request)
        began = asyncio.get_running_loop().time()
        second = await stub.Chat(request)

        assert first.choices[0].message.text == "answer 1"
        assert second.choices[0].message.text == "answer 2"
        assert (first.timing.attempts, second.timing.attempts) == (1, 2)
        assert asyncio.get_running_loop().time() - began < within(0.25)
        assert len(endpoint.requests) == 3


async def test_a_kept_connection_that_died_is_made_anew_also_where_retries_are_off(stub: ChatServiceStub) -> None:
    """It is not the endpoint that failed: once, and counted, whatever max_attempts says."""
    async with one_answer_per_connection() as endpoint:
        request = chat_request(endpoint.url, "any", options={"maxAttempts": 1})
        await stub.Chat(request)
        second = await stub.Chat(request)

    assert second.choices[0].message.text == "answer 2"
    assert second.timing.attempts == 2
    assert len(endpoint.requests) == 3


async def test_an_answer_that_breaks_after_its_headers_is_not_asked_for_again(stub: ChatServiceStub) -> None:
    """The endpoint has worked on it, and may be paid for it: only the asker can want it twice."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await endpoint.request(reader)
        writer.write(STREAM_HEAD)
        await writer.drain()

    async with ScriptedServer(talk) as endpoint:
        received = await listen(stub.StreamChat(chat_request(endpoint.url, "any")))

    assert received.failure is not None
    assert received.failure.said == (UNAVAILABLE, "STREAM_INTERRUPTED")
    assert len(endpoint.requests) == 1


# How an attempt can go: what it sends before it breaks, and how it breaks.
BREAKS = {
    "refused": answer("{}", "503 Service Unavailable"),
    "reset": b"",
    "error": answer('{"error":{"message":"no"}}', "500 Internal Server Error"),
    "opening": STREAM_HEAD + b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n',
    "overloaded": STREAM_HEAD + b'data: {"error":{"message":"busy","type":"overloaded_error","code":503}}\n\n',
    "one word": STREAM_HEAD + token("A1 "),
    "two words": STREAM_HEAD + token("A1 ") + token("A2 "),
    "half a word": STREAM_HEAD + token("A1 ") + token("A2 ")[:30],
    "word and error": STREAM_HEAD + token("A1 ") + b'data: {"error":{"message":"busy","code":503}}\n\n',
}


@pytest.mark.parametrize("second", BREAKS)
@pytest.mark.parametrize("first", BREAKS)
async def test_no_word_is_said_twice(stub: ChatServiceStub, first: str, second: str) -> None:
    """Two attempts break in any way and a third would go well: what the client hears is of one attempt only, and
    nothing is asked for again once a word was said."""
    good = STREAM_HEAD + token("A1 ") + token("A2 ") + token("A3 ") + STREAM_END
    scripts = [BREAKS[first], BREAKS[second], good]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await endpoint.request(reader)
        writer.write(scripts[number - 1].replace(b"A", b"ABC"[number - 1 : number]))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with ScriptedServer(talk) as endpoint:
        received = await listen(stub.StreamChat(chat_request(endpoint.url, "any"), timeout=20))

    words = received.text.split()
    attempts = {word[0] for word in words}
    assert len(attempts) <= 1
    assert words == [f"{next(iter(attempts))}{number}" for number in range(1, len(words) + 1)]
    assert received.kinds.count("started") <= 1
    if received.failure is None:
        assert words == ["C1", "C2", "C3"]
        assert len(endpoint.requests) == received.completed.timing.attempts == 3
    elif words:
        assert len(endpoint.requests) == "ABC".index(words[0][0]) + 1
        assert received.failure.trailers["grpc-retry-pushback-ms"] == "-1"
