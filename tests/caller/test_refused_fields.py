"""What endpoints are known to refuse: the memory by itself, and over loopback against servers that do refuse."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from caller.call import CallReport, ChatCall, Completion, Timeouts
from caller.credentials import Credential, parse_credential
from caller.custom_llm.caller import CustomLLMCaller, Limits
from caller.custom_llm.http.egress_policy import EgressPolicy
from caller.custom_llm.http.transport import Transport, TransportSettings
from caller.custom_llm.refused_fields import LIFETIME, RefusedFields, refused_fields
from caller.errors import ContextLengthExceeded, EndpointRejected
from caller.fold import Folder
from caller.messages import DeveloperMessage, Message, TextPart, UserMessage
from tests.edge.loopback import STREAM_END, STREAM_HEAD, Handmade, answer, chat_answer, token

SECRET = "sk-live-0123456789"
HI = UserMessage((TextPart("hi"),))
OPTIONS = frozenset({"stream_options"})


def credential(**changes: Any) -> Credential:
    given = {"apiCompatibility": "openai_compatible", "baseUrl": "http://h/v1", "headers": {"Authorization": SECRET}}
    return parse_credential(given | changes)


# -- the memory ------------------------------------------------------------------------------------------------------


def test_what_was_learned_is_known_for_an_hour() -> None:
    """And no longer; learning it again starts the hour anew."""
    time = [0.0]
    habits = RefusedFields(clock=lambda: time[0])
    key = habits.key(credential(), "m")

    habits.learn(key, OPTIONS)
    time[0] = LIFETIME - 1
    assert habits.omitted(key) == OPTIONS
    habits.learn(key, frozenset({"x"}))
    time[0] = 2 * LIFETIME - 2
    assert habits.omitted(key) == {"stream_options", "x"}
    time[0] = 2 * LIFETIME - 1
    assert habits.omitted(key) == frozenset()


def test_one_endpoint_does_not_steer_another() -> None:
    """Each base URL, model and credential is by itself, and what is kept is no secret."""
    habits = RefusedFields()
    keys = {
        habits.key(credential(), "m"),
        habits.key(credential(), "n"),
        habits.key(credential(baseUrl="http://h2/v1"), "m"),
        habits.key(credential(exactUrl=True), "m"),
        habits.key(credential(headers={"Authorization": "other"}), "m"),
        habits.key(credential(headers={"X-Key": SECRET}), "m"),
        habits.key(credential(headers={}), "m"),
        habits.key(credential(apiCompatibility="openai_responses"), "m"),
        RefusedFields().key(credential(), "m"),
    }

    assert len(keys) == 9
    assert all(SECRET.encode() not in key for key in keys)
    assert habits.key(credential(headers={"authorization": SECRET}), "m") in keys


def test_the_memory_is_bounded() -> None:
    """The entry that was used longest ago goes first."""
    habits = RefusedFields(max_entries=3)
    for name in (b"a", b"b", b"c"):
        habits.learn(name, OPTIONS)
    habits.omitted(b"a")
    habits.learn(b"d", OPTIONS)

    assert [bool(habits.omitted(name)) for name in (b"a", b"b", b"c", b"d")] == [True, False, True, True]


ADDED = ["stream_options", "developer_as_system", "reasoning_details"]
REFUSALS = [
    ("Unknown parameter: 'stream_options'.", {"stream_options"}),
    ("body.stream_options: Extra inputs are not permitted", {"stream_options"}),
    ("Stream options can only be defined when `stream=True`", {"stream_options"}),
    ("include_usage is not supported", {"stream_options"}),
    ("messages[0].role does not support 'system' with this model", {"developer_as_system"}),
    ("messages.1.reasoning_details extra_forbidden", {"reasoning_details"}),
    ("the system is down", set()),
    ("max_tokens is too large", set()),
    ("", set()),
]


@pytest.mark.parametrize(("said", "named"), REFUSALS)
def test_only_a_refusal_that_names_a_field_counts(said: str, named: set[str]) -> None:
    """In its text or anywhere in its body, and only by a 400, a 422, or an error in a 200."""
    for status in (400, 422, 200):
        assert refused_fields(EndpointRejected(said, http_status=status), b"", ADDED) == named
        assert refused_fields(EndpointRejected("", http_status=status), said.encode(), ADDED) == named
    assert refused_fields(EndpointRejected(said, http_status=413), b"", ADDED) == frozenset()
    assert refused_fields(ContextLengthExceeded(said, http_status=400), b"", ADDED) == frozenset()
    assert refused_fields(EndpointRejected(said, http_status=400), b"", []) == frozenset()


# -- over loopback ---------------------------------------------------------------------------------------------------

Refusal = Callable[[dict[str, Any]], str]


class Fussy(Handmade):
    """An endpoint that refuses with 422 what `refuse` finds words for, and answers anything else."""

    def __init__(self, refuse: Refusal, status: str = "422 Unprocessable Entity") -> None:
        super().__init__(self._talk_back)
        self._refuse = refuse
        self._status = status
        self.bodies: list[dict[str, Any]] = []

    async def _talk_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        while True:
            body = json.loads((await self.request(reader)).partition(b"\r\n\r\n")[2])
            self.bodies.append(body)
            said = self._refuse(body)
            if said:
                writer.write(answer(json.dumps({"detail": [{"loc": ["body"], "msg": said}]}), self._status))
            elif body.get("stream"):
                writer.write(STREAM_HEAD + token("fine") + STREAM_END)
                writer.close()
                return
            else:
                writer.write(chat_answer())


def no_options(body: dict[str, Any]) -> str:
    return "stream_options: Extra inputs are not permitted" if "stream_options" in body else ""


@asynccontextmanager
async def calling() -> AsyncIterator[CustomLLMCaller]:
    transport = Transport(TransportSettings(EgressPolicy.parse("open", [])))
    try:
        yield CustomLLMCaller(transport, Limits(1 << 20, 1 << 20))
    finally:
        await transport.close()


async def ask(
    caller: CustomLLMCaller,
    url: str,
    *messages: Message,
    api: str = "openai_compatible",
    attempts: int = 3,
    key: str = SECRET,
    stream: bool = True,
    **parameters: Any,
) -> tuple[Completion, CallReport]:
    call = ChatCall(
        request_id="r",
        credential={"apiCompatibility": api, "baseUrl": f"{url}/v1", "headers": {"Authorization": key}},
        messages=messages or (HI,),
        parameters={"model.name": "m", **parameters},
        timeouts=Timeouts(5, 5, 5, 5),
        max_attempts=attempts,
    )
    report = CallReport(started=asyncio.get_running_loop().time())
    if not stream:
        return await caller.chat(call, report), report
    folder = Folder(10_000)
    async for batch in caller.stream_chat(call, report):
        for event in batch:
            folder.feed(event)
    return folder.completion(), report


LEFT_OUT = {"left_out": ["stream_options"]}


async def test_a_refused_field_of_ours_is_left_out_and_remembered() -> None:
    """One more try, counted as one; the next call knows, and the answer says what was left out."""
    async with Fussy(no_options) as endpoint, calling() as caller:
        first, report = await ask(caller, endpoint.url)
        second, later = await ask(caller, endpoint.url)

    assert ["stream_options" in body for body in endpoint.bodies] == [True, False, False]
    assert (report.attempts, later.attempts) == (2, 1)
    for completion in (first, second):
        assert completion.choices[0].message.text == "fine"
        assert completion.provider_fields["integration_api"] == LEFT_OUT
    assert (report.left_out, later.left_out) == (("stream_options",), ("stream_options",))


async def test_another_credential_learns_for_itself() -> None:
    """Nobody's calls are steered by what another's were told."""
    async with Fussy(no_options) as endpoint, calling() as caller:
        await ask(caller, endpoint.url)
        _, report = await ask(caller, endpoint.url, key="other")

    assert report.attempts == 2


async def test_an_endpoint_that_takes_everything_is_told_everything() -> None:
    """Nothing is left out, and nothing is said about it."""
    async with Fussy(lambda _: "") as endpoint, calling() as caller:
        completion, report = await ask(caller, endpoint.url)

    assert endpoint.bodies[0]["stream_options"] == {"include_usage": True}
    assert "integration_api" not in completion.provider_fields
    assert (report.attempts, report.left_out) == (1, ())


async def test_the_strict_shape_stays_strict() -> None:
    """`openai_chat_completions` sends what is documented, and the refusal is the answer."""
    async with Fussy(no_options) as endpoint, calling() as caller:
        with pytest.raises(EndpointRejected) as raised:
            await ask(caller, endpoint.url, api="openai_chat_completions")

    assert (raised.value.attempts, len(endpoint.bodies)) == (1, 1)


@pytest.mark.parametrize(
    "parameters", [{"stream_options": {"include_usage": True}}, {"max_tokens": 5}, {"store": True}]
)
async def test_what_the_caller_asked_for_is_never_left_out(parameters: dict[str, Any]) -> None:
    """The endpoint's refusal of it is the caller's to read."""
    (name,) = parameters
    async with Fussy(lambda body: f"{name} is not supported" if name in body else "") as endpoint, calling() as caller:
        with pytest.raises(EndpointRejected, match=name) as raised:
            await ask(caller, endpoint.url, **parameters)

    assert (raised.value.attempts, len(endpoint.bodies)) == (1, 1)


async def test_without_attempts_left_the_refusal_stands() -> None:
    """`max_attempts` of one is one."""
    async with Fussy(no_options) as endpoint, calling() as caller:
        with pytest.raises(EndpointRejected):
            await ask(caller, endpoint.url, attempts=1)

    assert len(endpoint.bodies) == 1


async def test_an_endpoint_that_refuses_for_ever_is_tried_once_more_only() -> None:
    """A refusal that stays is the answer."""
    async with Fussy(lambda _: "stream_options") as endpoint, calling() as caller:
        with pytest.raises(EndpointRejected) as raised:
            await ask(caller, endpoint.url, attempts=10)

    assert (raised.value.attempts, len(endpoint.bodies)) == (2, 2)


async def test_a_refusal_in_a_200_counts_as_well() -> None:
    """Some builds of vLLM send the error of a bad request with status 200."""
    async with calling() as caller:
        refused = '{"error":{"message":"stream_options is unknown","type":"BadRequestError","code":400}}'
        bodies: list[bytes] = []

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
            bodies.append(await endpoint.request(reader))
            writer.write(
                answer(refused, more="Connection: close\r\n")
                if number == 1
                else STREAM_HEAD + token("fine") + STREAM_END
            )

        async with Handmade(talk) as endpoint:
            completion, report = await ask(caller, endpoint.url)

    assert completion.choices[0].message.text == "fine"
    assert (report.attempts, [b"stream_options" in body for body in bodies]) == (2, [True, False])


@pytest.mark.parametrize("stream", [True, False])
async def test_rules_that_were_renamed_are_sent_as_they_were(stream: bool) -> None:
    """Models that refuse the role `system` take `developer`, which is what was asked for."""

    def refuse(body: dict[str, Any]) -> str:
        system = any(message["role"] == "system" for message in body["messages"])
        return "messages[0].role does not support 'system' with this model" if system else ""

    async with Fussy(refuse, "400 Bad Request") as endpoint, calling() as caller:
        completion, report = await ask(caller, endpoint.url, DeveloperMessage("d"), HI, stream=stream)

    assert [body["messages"][0]["role"] for body in endpoint.bodies] == ["system", "developer"]
    assert completion.provider_fields["integration_api"] == {"left_out": ["developer_as_system"]}
    assert report.attempts == 2
