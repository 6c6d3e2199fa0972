"""What the sandbox reads of requests in every API's form, and which it refuses."""

import json
from typing import Any

import pytest

from tests.sandbox.sandbox_client import Client, request

USER = {"role": "user", "content": "hi"}
CALL: dict[str, Any] = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL_USE: dict[str, Any] = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
TOOL_RESULT: dict[str, Any] = {"type": "tool_result", "tool_use_id": "t1", "content": "21 C"}
GEMINI_CALL: dict[str, Any] = {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]}
GEMINI_RESULT = {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "21 C"}}}]}

CHAT: dict[str, Any] = {"model": "echo", "messages": [USER]}
RESPONSES: dict[str, Any] = {"model": "echo", "input": "hi"}
MESSAGES: dict[str, Any] = {"model": "echo", "max_tokens": 9, "messages": [USER]}
GEMINI: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
GOOD = {"chat": CHAT, "responses": RESPONSES, "messages": MESSAGES, "gemini": GEMINI}


def without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}


BAD: list[tuple[str, Any, str]] = [
    ("chat", [], "not a JSON object"),
    ("chat", without(CHAT, "model"), "'model'"),
    ("chat", CHAT | {"model": 3}, "'model'"),
    ("chat", without(CHAT, "messages"), "'messages'"),
    ("chat", CHAT | {"messages": []}, "empty array"),
    ("chat", CHAT | {"messages": "hi"}, "'messages'"),
    ("chat", CHAT | {"messages": ["hi"]}, "messages[0]"),
    ("chat", CHAT | {"messages": [{"content": "hi"}]}, "messages[0].role"),
    ("chat", CHAT | {"messages": [{"role": "robot", "content": "hi"}]}, "'robot'"),
    ("chat", CHAT | {"messages": [{"role": "user"}]}, "messages[0].content"),
    ("chat", CHAT | {"messages": [{"role": "user", "content": [{"type": "odd"}]}]}, "'odd'"),
    ("chat", CHAT | {"messages": [{"role": "tool", "tool_call_id": "x", "content": "1"}]}, "preceding message"),
    ("chat", CHAT | {"messages": [USER, {"role": "assistant", "tool_calls": [CALL]}, USER]}, "c1"),
    ("chat", CHAT | {"messages": [USER, {"role": "assistant", "tool_calls": [CALL]}]}, "c1"),
    ("chat", CHAT | {"stream": "yes"}, "'stream'"),
    ("chat", CHAT | {"stream_options": {"include_usage": True}}, "stream_options"),
    ("chat", CHAT | {"temperature": "warm"}, "'temperature'"),
    ("chat", CHAT | {"temperature": 3}, "'temperature'"),
    ("chat", CHAT | {"max_tokens": 1.5}, "'max_tokens'"),
    ("chat", CHAT | {"max_completion_tokens": 0}, "'max_completion_tokens'"),
    ("chat", CHAT | {"n": True}, "'n'"),
    ("chat", CHAT | {"stop": [1]}, "'stop'"),
    ("chat", CHAT | {"tools": [{"type": "function"}]}, "tools[0].function"),
    ("chat", CHAT | {"tool_choice": "auto"}, "tool_choice"),
    ("chat", CHAT | {"top_logprobs": 3}, "top_logprobs"),
    ("chat", CHAT | {"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ("chat", CHAT | {"model": "tokens:n=lots"}, "n=lots"),
    ("responses", without(RESPONSES, "input"), "'input'"),
    ("responses", without(RESPONSES, "model"), "'model'"),
    ("responses", RESPONSES | {"input": 3}, "'input'"),
    ("responses", RESPONSES | {"input": [{"type": "function_call_output", "call_id": "c", "output": ""}]}, "c."),
    (
        "responses",
        RESPONSES | {"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}]},
        "c.",
    ),
    ("responses", RESPONSES | {"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, "rs_1"),
    ("responses", RESPONSES | {"input": [{"type": "reasoning", "summary": [], "encrypted_content": "no"}]}, "verified"),
    ("responses", RESPONSES | {"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools[0].name"),
    ("responses", RESPONSES | {"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
    ("responses", RESPONSES | {"previous_response_id": "resp_1"}, "resp_1"),
    ("messages", without(MESSAGES, "max_tokens"), "max_tokens"),
    ("messages", without(MESSAGES, "messages"), "messages"),
    ("messages", without(MESSAGES, "model"), "model"),
    ("messages", MESSAGES | {"max_tokens": "9"}, "max_tokens"),
    ("messages", MESSAGES | {"messages": [{"role": "system", "content": "x"}]}, "'system'"),
    ("messages", MESSAGES | {"messages": [{"role": "user", "content": ""}]}, "messages[0].content"),
    ("messages", MESSAGES | {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}, "non-empty"),
    ("messages", MESSAGES | {"messages": [{"role": "user", "content": [TOOL_RESULT]}]}, "unexpected"),
    ("messages", MESSAGES | {"messages": [USER, {"role": "assistant", "content": [TOOL_USE]}]}, "t1"),
    ("messages", MESSAGES | {"messages": [USER, {"role": "assistant", "content": [TOOL_USE]}, USER]}, "t1"),
    (
        "messages",
        MESSAGES
        | {
            "messages": [
                USER,
                {"role": "assistant", "content": [TOOL_USE]},
                {"role": "user", "content": [{"type": "text", "text": "x"}, TOOL_RESULT]},
            ]
        },
        "t1",
    ),
    (
        "messages",
        MESSAGES
        | {
            "messages": [
                USER,
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "x", "signature": "made up"}]},
            ]
        },
        "Invalid `signature`",
    ),
    ("messages", MESSAGES | {"temperature": 1.5}, "temperature"),
    ("messages", MESSAGES | {"stop_sequences": "x"}, "stop_sequences"),
    ("messages", MESSAGES | {"tools": [{"name": "f"}]}, "input_schema"),
    ("messages", MESSAGES | {"tool_choice": {"type": "any"}}, "tool_choice"),
    ("messages", MESSAGES | {"thinking": {"type": "enabled", "budget_tokens": 5}}, "budget_tokens"),
    ("gemini", {}, "contents"),
    ("gemini", {"contents": []}, "contents"),
    ("gemini", {"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, "'assistant'"),
    ("gemini", {"contents": [{"role": "user"}]}, "parts"),
    ("gemini", {"contents": [{"role": "user", "parts": [{"txt": "x"}]}]}, "one data field"),
    ("gemini", {"contents": [*GEMINI["contents"], GEMINI_CALL]}, "followed by"),
    ("gemini", {"contents": [GEMINI_RESULT]}, "number of function response parts"),
    ("gemini", {"contents": [{"parts": [{"text": "x", "thoughtSignature": "bm8="}]}]}, "thought signature"),
    ("gemini", GEMINI | {"generationConfig": {"temperature": "warm"}}, "temperature"),
    ("gemini", GEMINI | {"generationConfig": {"stopSequences": "x"}}, "stopSequences"),
    ("gemini", GEMINI | {"generationConfig": {"candidateCount": 2}}, "candidates"),
    ("gemini", GEMINI | {"generationConfig": {"responseSchema": {"type": "OBJECT"}}}, "mime type"),
    ("gemini", GEMINI | {"toolConfig": {"functionCallingConfig": {"mode": "MAYBE"}}}, "MAYBE"),
    ("gemini", GEMINI | {"systemInstruction": "be brief"}, "systemInstruction"),
]


@pytest.mark.parametrize(("form", "body", "says"), BAD, ids=[f"{form}-{says}" for form, _, says in BAD])
async def test_a_bad_request_is_refused_with_the_field(client: Client, form: str, body: Any, says: str) -> None:
    """400 in the API's own form, with a text that says what is wrong."""
    status, answer = await client.error(form, body)
    assert status == 400
    assert says in answer["error"]["message"]
    match form:
        case "messages":
            assert answer["error"]["type"] == "invalid_request_error"
        case "gemini":
            assert answer["error"]["status"] == "INVALID_ARGUMENT"
        case _:
            assert answer["error"]["type"] == "invalid_request_error"


async def test_unknown_fields_are_accepted(client: Client, form: str) -> None:
    """A field that nobody knows is no error."""
    assert (await client.error(form, GOOD[form] | {"something_new": {"a": 1}}))[0] == 200


async def test_what_is_not_json_is_refused(client: Client, form: str) -> None:
    """Also when it is deep, or no text at all."""
    path, _ = request(form, "echo", stream=False)
    for raw in (b"", b"{", b"\xff\xfe{", b"[" * 100_000, b'{"model": NaN'):
        async with client.session.post(client.sandbox.url + path, data=raw) as response:
            assert response.status == 400
            assert (await response.json())["error"]["message"]


async def test_an_unknown_model_is_not_found(client: Client, form: str, stream: bool) -> None:
    """404, in the words of the API."""
    async with client.post(form, "gpt-0", stream=stream) as response:
        assert response.status == 404
        error = (await response.json())["error"]
    expected = {"messages": ("type", "not_found_error"), "gemini": ("status", "NOT_FOUND")}
    field, word = expected.get(form, ("code", "model_not_found"))
    assert error[field] == word
    assert "gpt-0" in error["message"]


async def test_messages_wants_its_version_header(client: Client) -> None:
    """A request without `anthropic-version` is refused."""
    status, answer = await client.error("messages", MESSAGES, headers={"anthropic-version": ""})
    assert (status, answer["error"]["message"]) == (400, "anthropic-version: header is required")


def conversation(form: str, model: str, call_id: str, signature: str | None = None) -> dict[str, Any]:
    """A conversation that ends with the result of a call."""
    call: dict[str, Any]
    result: dict[str, Any]
    items: list[Any]
    match form:
        case "chat":
            call = CALL | {"id": call_id}
            tool = {"role": "tool", "tool_call_id": call_id, "content": "21 C, sunny"}
            system = {"role": "system", "content": "Be brief."}
            return {"model": model, "messages": [system, USER, {"role": "assistant", "tool_calls": [call]}, tool]}
        case "responses":
            call = {"type": "function_call", "call_id": call_id, "name": "weather", "arguments": "{}"}
            result = {"type": "function_call_output", "call_id": call_id, "output": "21 C, sunny"}
            sealed = {"type": "reasoning", "id": "rs_1", "summary": list[Any](), "encrypted_content": signature}
            items = [USER, *([sealed] if signature else []), call, result]
            return {"model": model, "instructions": "Be brief.", "input": items}
        case "messages":
            use = TOOL_USE | {"id": call_id}
            thinking = {"type": "thinking", "thinking": "I must look.", "signature": signature}
            result = TOOL_RESULT | {"tool_use_id": call_id, "content": [{"type": "text", "text": "21 C, sunny"}]}
            blocks = [thinking, use] if signature else [use]
            turns = [USER, {"role": "assistant", "content": blocks}, {"role": "user", "content": [result]}]
            return {
                "model": model,
                "max_tokens": 9,
                "system": [{"type": "text", "text": "Be brief."}],
                "messages": turns,
            }
        case _:
            part = GEMINI_CALL["parts"][0] | ({"thoughtSignature": signature} if signature else {})
            result = {"functionResponse": {"name": "f", "response": {"output": "21 C, sunny"}}}
            contents = [*GEMINI["contents"], {"role": "model", "parts": [part]}, {"role": "user", "parts": [result]}]
            return {"systemInstruction": {"parts": [{"text": "Be brief."}]}, "contents": contents}


async def test_a_result_is_answered_with_text(client: Client, form: str, stream: bool) -> None:
    """After the tool's result comes an answer that uses it; the tokens counted are the same in every API."""
    for model in ("tool-call", "parallel-tool-calls"):
        body = without(conversation(form, model, "call_1"), "model")
        received = await client.ask(form, model, stream=stream, **body)
        assert received.text == "The tool says: 21 C, sunny"
        assert received.calls == []
        assert received.usage == (6, 6, 0, 0)


async def test_call_ids_are_the_same_for_the_same_question(client: Client) -> None:
    """In every API, streamed or not, and another one after each result."""
    ids = set()
    for form in ("chat", "responses", "messages", "gemini"):
        for stream in (False, True):
            received = await client.ask(form, "tool-call", stream=stream)
            ids.add(received.calls[0][0])
    assert len(ids) == 1
    other = await client.ask("chat", "tool-call", stream=False, prompt="another question")
    assert other.calls[0][0] not in ids


@pytest.mark.parametrize("form", ["responses", "messages", "gemini"])
async def test_signed_state_must_come_back_unchanged(client: Client, form: str) -> None:
    """The seal of a call's reasoning is accepted as it was and refused with one character changed."""
    received = await client.ask(form, "reasoning-tool-call", stream=True)
    ((call_id, name, _),) = received.calls
    assert name == "weather"
    (sealed,) = received.seals
    status, answer = await client.error(
        form, conversation(form, "reasoning-tool-call", call_id, sealed), model="reasoning-tool-call"
    )
    assert status == 200
    assert "The tool says: 21 C, sunny" in json.dumps(answer)
    broken = sealed[:9] + ("A" if sealed[9] != "A" else "B") + sealed[10:]
    status, _ = await client.error(
        form, conversation(form, "reasoning-tool-call", call_id, broken), model="reasoning-tool-call"
    )
    assert status == 400


async def test_state_that_the_api_needs_is_missed(client: Client) -> None:
    """Gemini wants the signature of the current turn's call; Anthropic wants thinking first when thinking is on."""
    body = conversation("gemini", "", "c")
    status, answer = await client.error("gemini", body, model="reasoning-tool-call")
    assert status == 400
    assert "missing a thought_signature" in answer["error"]["message"]
    body["contents"][1]["parts"][0]["thoughtSignature"] = "skip_thought_signature_validator"
    assert (await client.error("gemini", body, model="reasoning-tool-call"))[0] == 200
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    status, answer = await client.error("messages", conversation("messages", "echo", "t1") | thinking)
    assert status == 400
    assert "Expected `thinking`" in answer["error"]["message"]
