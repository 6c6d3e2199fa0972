"""What endpoints are known to refuse: the memory by itself, and over loopback against servers that do refuse."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import pytest

import tests.calling
from caller.call import CallReport, Completion
from caller.credentials import ApiCompatibility, Credential, parse_credential
from caller.custom_llm.adapter import HttpRequest, ResolvedCall
from caller.custom_llm.apis import ADAPTERS
from caller.custom_llm.caller import CustomLLMCaller
from caller.custom_llm.demands import LIFETIME, MAX_LESSONS, Demands, taught
from caller.errors import CallerError, ContextLengthExceeded, EndpointError, EndpointRejected
from caller.fold import Folder
from caller.messages import (
    AssistantMessage,
    DeveloperMessage,
    Message,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolDefinition,
    ToolMessage,
    UserMessage,
)
from caller.parameters import merge_parameters
from caller.target import Ask, Target, Timeouts
from tests.calling import new_report, streamed, whole
from tests.edge.loopback import STREAM_END, STREAM_HEAD, ScriptedServer, answer, chat_answer, token

SECRET = "sk-live-0123456789"
HI = UserMessage((TextPart("hi"),))
OPTIONS = {"stream_options": ""}


def credential(**changes: Any) -> Credential:
    given = {"apiCompatibility": "openai_compatible", "baseUrl": "http://h/v1", "headers": {"Authorization": SECRET}}
    return parse_credential(given | changes)


# -- the memory ------------------------------------------------------------------------------------------------------


def test_what_was_learned_is_known_for_an_hour() -> None:
    """And no longer; learning it again starts the hour anew."""
    now = [0.0]
    memory = Demands(clock=lambda: now[0])
    key = memory.key(credential(), "m")

    memory.learn(key, OPTIONS)
    now[0] = LIFETIME - 1
    assert memory.known(key) == OPTIONS
    memory.learn(key, {"x": "1"})
    now[0] = 2 * LIFETIME - 2
    assert memory.known(key) == {"stream_options": "", "x": "1"}
    now[0] = 2 * LIFETIME - 1
    assert memory.known(key) == {}


def test_one_endpoint_does_not_steer_another() -> None:
    """Each base URL, model and credential is by itself, and what is kept is no secret."""
    memory = Demands()
    keys = {
        memory.key(credential(), "m"),
        memory.key(credential(), "n"),
        memory.key(credential(baseUrl="http://h2/v1"), "m"),
        memory.key(credential(exactUrl=True), "m"),
        memory.key(credential(headers={"Authorization": "other"}), "m"),
        memory.key(credential(headers={"X-Key": SECRET}), "m"),
        memory.key(credential(headers={}), "m"),
        memory.key(credential(apiCompatibility="openai_responses"), "m"),
        Demands().key(credential(), "m"),
    }

    assert len(keys) == 9
    assert all(SECRET.encode() not in key for key in keys)
    assert memory.key(credential(headers={"authorization": SECRET}), "m") in keys


def test_the_memory_is_bounded() -> None:
    """The entry that was used longest ago goes first."""
    memory = Demands(max_entries=3)
    for name in (b"a", b"b", b"c"):
        memory.learn(name, OPTIONS)
    memory.known(b"a")
    memory.learn(b"d", OPTIONS)

    assert [bool(memory.known(name)) for name in (b"a", b"b", b"c", b"d")] == [True, False, True, True]


# -- the words ---------------------------------------------------------------------------------------------------------

CHAT, RESPONSES = "openai_compatible", "openai_responses"
ANTHROPIC, GEMINI = "anthropic_messages", "gemini_generate_content"
CALLED = AssistantMessage(reasoning="I look.", tool_calls=(ToolCall("call_k1", "get_weather", "{}"),))
EVERYTHING: tuple[Message, ...] = (
    SystemMessage("one"),
    DeveloperMessage("two"),
    HI,
    UserMessage((TextPart("there"),)),
    CALLED,
    ToolMessage("call_k1", content=(TextPart("rain"),)),
)


def lesson(
    words: str, api: str = CHAT, error: type[CallerError] = EndpointRejected, status: int = 400, **parameters: Any
) -> tuple[str, str] | None:
    """What the words teach about a request that has everything."""
    adapter = ADAPTERS[ApiCompatibility(api)]
    call = ResolvedCall(
        credential(apiCompatibility=api),
        merge_parameters({"model.name": "m", **parameters}),
        EVERYTHING,
        (ToolDefinition("hang_up"),),
    )
    request = adapter.request(call, True)
    in_text = taught(adapter, call, request, error(words, http_status=status), b"", stream=True)
    in_body = taught(adapter, call, request, error("", http_status=status), words.encode(), stream=True)
    assert in_text == in_body
    return in_text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Unknown parameter: 'stream_options'.", ("stream_options", "")),
        ("body.stream_options: Extra inputs are not permitted", ("stream_options", "")),
        ("Stream options can only be defined when `stream=True`", ("stream_options", "")),
        ("include_usage is not supported", ("stream_options", "")),
        ("messages[0].role does not support 'system' with this model", ("developer_as_system", "")),
        (
            "The `reasoning_content` in the thinking mode must be passed back to the API.",
            ("reasoning", "reasoning_content"),
        ),
        ("thinking is enabled but reasoning_content is missing at index 1", ("reasoning", "reasoning_content")),
        ("messages.4: missing field `reasoning`", ("reasoning", "reasoning")),
        ("the model's reasoning has to be passed back", ("reasoning", "")),
        ("function_response.name: Name cannot be empty.", ("tool_name", "added")),
        ('{"loc":["body","messages",5,"tool","name"],"msg":"Field required"}', ("tool_name", "added")),
        ("body.messages.4.content: Field required", ("assistant_content", "empty")),
        ("messages[4]: missing field `content` at line 1 column 200", ("assistant_content", "empty")),
        ("'dict object' has no attribute 'content'", ("assistant_content", "empty")),
        (
            "function_declarations[0].parameters.properties: should be non-empty for OBJECT",
            ("tool_parameters", "left_out"),
        ),
        ("Tool call id was call_k1 but must be a-z, A-Z, 0-9, with a length of 9.", ("tool_call_ids", "short")),
        ("Invalid 'messages[1].tool_calls[0].id': string too long.", ("tool_call_ids", "short")),
        ("System message must be at the beginning.", ("system_messages", "joined")),
        ("system role can only appear at index 0", ("system_messages", "joined")),
        ("schema of hang_up must have at least one property", ("tool_parameters", "left_out")),
        ("Role must be in [user, assistant]", ("system_messages", "in_user_message")),
        ("Only one system message is allowed", ("system_messages", "joined")),
        ("Conversation roles must alternate user/assistant/user/assistant/...", ("same_role", "merged")),
        ("roles: two consecutive user messages", ("same_role", "merged")),
        ("Unexpected role 'user' after role 'user'", ("same_role", "merged")),
        ("This model does not support system prompts", ("system_messages", "in_user_message")),
        ("the system is down", None),
        ("max_tokens is too large", None),
        ("Unexpected role 'user' after role 'tool'", None),
        ("reasoning_effort is required", None),
        ("", None),
    ],
)
def test_only_words_that_name_it_teach(words: str, expected: tuple[str, str] | None) -> None:
    """In the refusal's text or anywhere in its body, by a 400, a 422, a template's 500 or an error in a 200."""
    for status in (400, 422, 200):
        assert lesson(words, status=status) == expected
    assert lesson(words, error=EndpointError, status=500) == expected
    assert lesson(words, status=413) is None
    assert lesson(words, error=ContextLengthExceeded) is None


@pytest.mark.parametrize(
    ("words", "given", "expected"),
    [
        ("'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "max_tokens", True),
        ("max_completion_tokens: Extra inputs are not permitted", "max_completion_tokens", True),
        ("Unrecognized request argument supplied: max_completion_tokens", "max_completion_tokens", True),
        ("max_completion_tokens is too large: 9000", "max_completion_tokens", False),
        ("max_tokens is not supported", "max_tokens", False),
    ],
)
def test_a_limit_is_renamed_where_both_names_are_plain(words: str, given: str, expected: bool) -> None:
    """Under its other name, which the refusal gives or is the only other one."""
    other = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}[given]
    for api in (CHAT, "openai_chat_completions"):
        parameters: dict[str, Any] = {given: 5}
        assert lesson(words, api, **parameters) == (("max_tokens", other) if expected else None)


@pytest.mark.parametrize(
    ("api", "words", "expected"),
    [
        (RESPONSES, "System messages are not allowed", ("system_messages", "in_instructions")),
        (RESPONSES, "Instructions are required", ("system_messages", "in_instructions")),
        (GEMINI, "Developer instruction is not enabled for models/gemma-3", ("system_messages", "in_user_message")),
        (ANTHROPIC, "The thinking in the thinking mode must be passed back to the API.", ("thinking", "sent")),
        (ANTHROPIC, "max_tokens: 4096 > 2048, which is the maximum allowed", ("default_max_tokens", "2048")),
        (ANTHROPIC, "max_tokens is too large: 4096. It supports at most 1024 tokens", ("default_max_tokens", "1024")),
        (ANTHROPIC, "Invalid max_tokens value, the valid range is between 1 and 8", ("default_max_tokens", "8")),
        (ANTHROPIC, "the valid range of max_tokens is [1, 2048]", ("default_max_tokens", "2048")),
        (ANTHROPIC, "you requested exceeds the model limit of 2048.", ("default_max_tokens", "2048")),
        (ANTHROPIC, "max_tokens must be at least 1", None),
        (ANTHROPIC, "max_tokens: 4096 > 99999", None),
    ],
)
def test_other_shapes_have_their_own_rows(api: str, words: str, expected: tuple[str, str] | None) -> None:
    """A row counts for its shapes only, and only where the change would change the request."""
    assert lesson(words, api) == expected
    assert lesson(words, "openai_chat_completions" if api == ANTHROPIC else ANTHROPIC) != expected or expected is None


def test_our_own_default_gives_way_to_a_short_context() -> None:
    """What the context leaves for an answer, by a refusal for length; a limit that the client gave stays."""
    words = "maximum context length is 2048 tokens and your request has 12 input tokens (4096 > 2048 - 12)"
    for error in (EndpointRejected, ContextLengthExceeded):
        assert lesson(words, ANTHROPIC, error) == ("default_max_tokens", "2036")
        assert lesson(words, ANTHROPIC, error, max_tokens=4096) is None
    words = "This model's maximum context length is 2048 tokens. You requested 48 tokens in the messages"
    assert lesson(words, ANTHROPIC, ContextLengthExceeded) == ("default_max_tokens", "2000")


def test_a_long_refusal_is_read_in_time() -> None:
    """The rows' words are looked for in a bounded part, with bounded gaps."""
    began = time.perf_counter()
    for words in ("reasoning_content ", "system ", "content ", "max_tokens 4096 ", "a" * 50, '"'):
        lesson(words * 200_000 if len(words) < 3 else words * 20_000, status=400)

    assert time.perf_counter() - began < 10


# -- over loopback ---------------------------------------------------------------------------------------------------

Refusal = Callable[[dict[str, Any]], str]


class Fussy(ScriptedServer):
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


def calling() -> AbstractAsyncContextManager[CustomLLMCaller]:
    return tests.calling.calling(1 << 20)


async def ask(
    caller: CustomLLMCaller,
    url: str,
    *messages: Message,
    api: str = "openai_compatible",
    attempts: int = 3,
    key: str = SECRET,
    stream: bool = True,
    report: CallReport | None = None,
    **parameters: Any,
) -> tuple[Completion, CallReport]:
    target = Target(
        "custom-llm",
        credential={"apiCompatibility": api, "baseUrl": f"{url}/v1", "headers": {"Authorization": key}},
        parameters={"model.name": "m", **parameters},
        timeouts=Timeouts(5, 5, 5, 5),
        max_attempts=attempts,
    )
    asked, report = Ask(messages or (HI,)), report or new_report()
    if not stream:
        return await whole(caller, target, asked, report), report
    folder = Folder(10_000)
    async for batch in streamed(caller, target, asked, report):
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
    report = new_report()
    async with Fussy(no_options) as endpoint, calling() as caller:
        with pytest.raises(EndpointRejected):
            await ask(caller, endpoint.url, api="openai_chat_completions", report=report)

    assert (report.attempts, len(endpoint.bodies)) == (1, 1)


@pytest.mark.parametrize(
    "parameters", [{"stream_options": {"include_usage": True}}, {"max_tokens": 5}, {"store": True}]
)
async def test_what_the_caller_asked_for_is_never_left_out(parameters: dict[str, Any]) -> None:
    """The endpoint's refusal of it is the caller's to read."""
    (name,) = parameters
    report = new_report()
    async with Fussy(lambda body: f"{name} is not supported" if name in body else "") as endpoint, calling() as caller:
        with pytest.raises(EndpointRejected, match=name):
            await ask(caller, endpoint.url, report=report, **parameters)

    assert (report.attempts, len(endpoint.bodies)) == (1, 1)


async def test_without_attempts_left_the_refusal_stands() -> None:
    """`max_attempts` of one is one."""
    async with Fussy(no_options) as endpoint, calling() as caller:
        with pytest.raises(EndpointRejected):
            await ask(caller, endpoint.url, attempts=1)

    assert len(endpoint.bodies) == 1


async def test_an_endpoint_that_refuses_for_ever_is_tried_once_more_only() -> None:
    """A refusal that stays is the answer."""
    report = new_report()
    async with Fussy(lambda _: "stream_options") as endpoint, calling() as caller:
        with pytest.raises(EndpointRejected):
            await ask(caller, endpoint.url, attempts=10, report=report)

    assert (report.attempts, len(endpoint.bodies)) == (2, 2)


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

        async with ScriptedServer(talk) as endpoint:
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


async def test_several_demands_are_learned_one_after_another() -> None:
    """Each refusal teaches one; together they are remembered, and told."""

    def refuse(body: dict[str, Any]) -> str:
        if "stream_options" in body:
            return "stream_options: Extra inputs are not permitted"
        roles = [message["role"] for message in body["messages"]]
        if roles.count("system") > 1:
            return "System message must be at the beginning."
        return "roles must alternate" if any(map(str.__eq__, roles, roles[1:])) else ""

    messages = (SystemMessage("one"), SystemMessage("two"), HI, HI)
    async with Fussy(refuse) as endpoint, calling() as caller:
        completion, report = await ask(caller, endpoint.url, *messages, attempts=2)
        _, later = await ask(caller, endpoint.url, *messages, attempts=2)

    sent = [{"role": "system", "content": "one\n\ntwo"}, {"role": "user", "content": "hi\n\nhi"}]
    assert (endpoint.bodies[-1]["messages"], endpoint.bodies[-2]["messages"]) == (sent, sent)
    assert completion.provider_fields["integration_api"] == {
        "left_out": ["stream_options"],
        "adapted": ["same_role: merged", "system_messages: joined"],
    }
    assert (report.attempts, later.attempts) == (4, 1)
    assert later.adapted == ("same_role: merged", "system_messages: joined")


async def test_a_change_that_did_not_help_is_not_remembered() -> None:
    """The next call begins as every call does."""
    async with Fussy(lambda _: "System message must be at the beginning.") as endpoint, calling() as caller:
        for _ in range(2):
            with pytest.raises(EndpointRejected):
                await ask(caller, endpoint.url, SystemMessage("one"), SystemMessage("two"), HI)

    assert [len(body["messages"]) for body in endpoint.bodies] == [3, 2, 3, 2]


async def test_the_lessons_of_a_call_are_bounded() -> None:
    """An endpoint that wants something else each time is not followed for ever."""
    wishes = iter(["max_tokens is not supported. Use max_completion_tokens", "max_completion_tokens is unknown"] * 20)
    async with Fussy(lambda _: next(wishes)) as endpoint, calling() as caller:
        with pytest.raises(EndpointRejected):
            await ask(caller, endpoint.url, attempts=10, max_tokens=5)

    assert len(endpoint.bodies) == 1 + MAX_LESSONS


def test_a_rejection_that_names_everything_costs_four_requests() -> None:
    """Each try makes the whole request, which may be large, while nothing else runs: who answers chooses the words."""
    adapter = ADAPTERS[ApiCompatibility.OPENAI_COMPATIBLE]
    made: list[Mapping[str, str]] = []

    def counted(call: ResolvedCall, stream: bool) -> HttpRequest:
        made.append(call.demands)
        return adapter.request(ResolvedCall(call.credential, call.parameters, call.messages), stream)

    counting = replace(adapter, request=counted)
    call = ResolvedCall(credential(), merge_parameters({"model.name": "m"}), (HI,))
    words = (
        "alternate; trailing whitespace; system must be first; content is required; must have either content or;"
        " at least one property; tool name is required; reasoning_content must be passed back; content must be null"
    )

    rejection = EndpointRejected(words, http_status=400)

    assert taught(counting, call, adapter.request(call, False), rejection, b"", stream=False) is None
    assert len(made) == 4
