"""What the scripts that answer well say, in every API's form."""

import json
from typing import Any

import pytest

from integration_api.sandbox.answers import UNICODE
from tests.sandbox.sandbox_client import Client, sse

FINISH = {
    "stop": {"chat": "stop", "responses": "completed", "messages": "end_turn", "gemini": "STOP"},
    "length": {"chat": "length", "responses": "max_output_tokens", "messages": "max_tokens", "gemini": "MAX_TOKENS"},
    "filter": {"chat": "content_filter", "responses": "content_filter", "messages": "refusal", "gemini": "SAFETY"},
    "refusal": {"chat": "stop", "responses": "completed", "messages": "refusal", "gemini": "SAFETY"},
    "calls": {"chat": "tool_calls", "responses": "completed", "messages": "tool_use", "gemini": "STOP"},
}
ROME = {"city": "Rome"}
ZONE = {"zone": "Europe/Rome"}


@pytest.mark.parametrize(
    "said",
    [
        ("echo", "Say hello, world!", "stop"),
        ("echo:gap=1ms", "Say hello, world!", "stop"),
        ("tokens:n=3", "word1 word2 word3", "stop"),
        ("tokens:n=2,text=ha,gap=1ms", "ha ha", "stop"),
        ("tokens:n=0", "", "stop"),
        ("unicode", UNICODE * 4, "stop"),
        ("length", "Say hello, world! word4 word5", "length"),
        ("content-filter", "Say hello, world!", "filter"),
        ("empty", "", "stop"),
        ("key", "Say hello, world!", "stop"),
        ("flood:bytes=300000", "x" * 300_000, "stop"),
        ("dribble:gap=1ms", "Say hello, world!", "stop"),
        ("silence:for=1ms", "Say hello, world!", "stop"),
        ("silent-headers:for=1ms", "Say hello, world!", "stop"),
        ("slow-headers:gap=0", "Say hello, world!", "stop"),
        ("big-headers:bytes=20000", "Say hello, world!", "stop"),
        ("opening:for=1ms", "Say hello, world!", "stop"),
        ("stall:after=1,for=1ms", "Say hello, world!", "stop"),
        ("keepalive:for=20ms,gap=5ms", "Say hello, world!", "stop"),
        ("pieces:bytes=7", "Say hello, world!", "stop"),
        ("gzip", "Say hello, world!", "stop"),
        ("chaos:percent=0", "Say hello, world!", "stop"),
    ],
)
async def test_a_script_says_its_text_in_every_form(
    client: Client, form: str, stream: bool, said: tuple[str, str, str]
) -> None:
    """The text, the end and the token counts are the script's, whole or streamed."""
    model, text, finish = said
    headers = {"Authorization": "Bearer sandbox"} if model == "key" else None
    received = await client.ask(form, model, stream=stream, headers=headers)
    assert received.text == text
    assert received.finish == FINISH[finish][form]
    assert received.usage == (3, len(text.split()), 0, 0)
    assert (received.reasoning, received.refusal, received.calls) == ("", "", [])


async def test_a_stream_says_what_the_whole_answer_says(client: Client, form: str) -> None:
    """Text, reasoning, refusal, calls with their ids, end and usage: the same, streamed or not."""
    models = ["echo", "tool-call", "parallel-tool-calls", "reasoning", "reasoning-tool-call", "refusal", "structured"]
    for model in [*models, "usage", "length", "content-filter", "empty", "no-end"]:
        whole = await client.ask(form, model, stream=False)
        streamed = await client.ask(form, model, stream=True)
        streamed.events = []
        if model == "no-end" and form != "gemini":
            assert (streamed.text, streamed.finish) == ("Say hello, world!", None)
            assert whole.finish in (None, "in_progress")
            continue
        assert streamed == whole, model


async def test_a_tool_call_comes_in_fragments(client: Client, form: str, stream: bool) -> None:
    """One call of `weather` for Rome."""
    received = await client.ask(form, "tool-call", stream=stream)
    ((call_id, name, arguments),) = received.calls
    assert (name, arguments, received.finish) == ("weather", ROME, FINISH["calls"][form])
    assert call_id.startswith("call_")
    if stream and form != "gemini":
        assert json.dumps('me"}') in json.dumps(received.events), "the last fragment stands alone"


async def test_parallel_calls_keep_apart(client: Client, form: str, stream: bool) -> None:
    """Two calls, each with its own id and arguments, though their fragments are interleaved where the form allows."""
    received = await client.ask(form, "parallel-tool-calls", stream=stream)
    assert [(name, arguments) for _, name, arguments in received.calls] == [("weather", ROME), ("local_time", ZONE)]
    assert len({call_id for call_id, *_ in received.calls}) == 2
    if stream and form == "chat":
        order = [
            call["index"]
            for event in received.events
            if event != "[DONE]" and event["choices"]
            for call in event["choices"][0]["delta"].get("tool_calls", [])
        ]
        assert order == [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]


async def test_reasoning_comes_before_text_and_is_sealed(client: Client, form: str, stream: bool) -> None:
    """Reasoning, then text; opaque state where the API has it; reasoning tokens are counted inside the output."""
    received = await client.ask(form, "reasoning", stream=stream)
    assert received.reasoning == "The user wants to hear the same words again."
    assert received.text == "Say hello, world!"
    assert len(received.seals) == (0 if form == "chat" else 1)
    assert received.usage == (3, 12, 0, 9)


async def test_a_refusal_has_the_form_of_its_api(client: Client, form: str, stream: bool) -> None:
    """In words of its own where the API has them, as text or silence where it has not."""
    received = await client.ask(form, "refusal", stream=stream)
    words = "I'm sorry, I cannot help with that."
    expected = {"chat": ("", words), "responses": ("", words), "messages": (words, ""), "gemini": ("", "")}
    assert (received.text, received.refusal) == expected[form]
    assert received.finish == FINISH["refusal"][form]


async def test_usage_is_what_was_asked(client: Client, form: str, stream: bool) -> None:
    """Cached and reasoning tokens stand where each API puts them."""
    received = await client.ask(form, "usage:input=90,cached=40,output=30,reasoning=20", stream=stream)
    assert received.usage == (90, 30, 40, 20)


SCHEMA = {
    "type": "object",
    "properties": {"zeta": {"type": "string"}, "alpha": {"type": "array", "items": {"type": "integer"}}},
    "required": ["zeta", "alpha"],
}
ASKED: dict[str, Any] = {
    "chat": {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}},
    "responses": {"text": {"format": {"type": "json_schema", "name": "s", "schema": SCHEMA}}},
    "messages": {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    "gemini": {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}},
}


async def test_structured_output_fits_the_schema(client: Client, form: str, stream: bool) -> None:
    """JSON by the schema of the request, its keys in the order of the schema."""
    received = await client.ask(form, "structured", stream=stream, **ASKED[form])
    assert received.text == '{"zeta":"text","alpha":[0]}'


async def test_chat_ends_with_finish_usage_and_done(client: Client) -> None:
    """Role first, then text, a finish chunk, a usage chunk without choices, and the closing sign."""
    events = (await client.ask("chat", "tokens:n=2", stream=True)).events
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert [event["choices"][0]["delta"] for event in events[1:4]] == [{"content": "word1"}, {"content": " word2"}, {}]
    assert events[3]["choices"][0]["finish_reason"] == "stop"
    assert events[4]["choices"] == []
    assert events[5:] == ["[DONE]"]
    assert len({event["id"] for event in events[:-1]}) == 1


async def test_chat_gives_usage_in_a_stream_only_when_asked(client: Client) -> None:
    """Without `include_usage` no chunk has a usage."""
    received = await client.ask("chat", "echo", stream=True, stream_options=None)
    assert received.usage is None
    assert all("usage" not in event for event in received.events if event != "[DONE]")


async def test_chat_gives_log_probabilities_when_asked(client: Client) -> None:
    """Each token with its bytes and as many alternatives as asked for, streamed or not."""
    extra = {"logprobs": True, "top_logprobs": 2}
    async with client.post("chat", "echo", stream=False, **extra) as response:
        whole = (await response.json())["choices"][0]["logprobs"]["content"]
    events = (await client.ask("chat", "echo", stream=True, **extra)).events
    streamed = [
        token
        for event in events
        if event != "[DONE]" and event["choices"] and event["choices"][0]["logprobs"]
        for token in event["choices"][0]["logprobs"]["content"]
    ]
    assert streamed == whole
    assert [token["token"] for token in whole] == ["Say", " hello,", " world!"]
    assert whole[0]["bytes"] == list(b"Say")
    assert [other["token"] for other in whole[0]["top_logprobs"]] == ["Say", "Say~1"]


async def test_chat_answers_as_many_choices_as_asked(client: Client) -> None:
    """`n` choices, interleaved in the stream, each with a finish, and usage for all of them."""
    async with client.post("chat", "parallel-tool-calls", stream=True, n=3, stream_options=None) as response:
        chunks = [json.loads(data) for _, data in sse(await response.read()) if data != "[DONE]"]
    finishes = [c["choices"][0]["index"] for c in chunks if c["choices"][0]["finish_reason"]]
    ids = {call["id"] for c in chunks for call in c["choices"][0]["delta"].get("tool_calls", []) if "id" in call}
    assert finishes == [0, 1, 2]
    assert len(ids) == 6
    async with client.post("chat", "echo", stream=False, n=3) as response:
        whole = await response.json()
    assert [choice["message"]["content"] for choice in whole["choices"]] == ["Say hello, world!"] * 3
    assert whole["usage"]["completion_tokens"] == 9


async def test_responses_tells_its_items_in_order(client: Client) -> None:
    """Every event of a reasoned answer, in the order of the API's documentation."""
    events = (await client.ask("responses", "reasoning", stream=True)).events
    kinds = [event["type"].removeprefix("response.") for event in events]
    once = [kind for number, kind in enumerate(kinds) if number == 0 or kind != kinds[number - 1]]
    assert once == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert events[-1]["response"]["output"] == done
    assert [event["output_index"] for event in events if "item" in event] == [0, 0, 1, 1]
    assert events[0]["response"]["usage"] is None


async def test_responses_keeps_its_state_unless_asked_for_it(client: Client) -> None:
    """`encrypted_content` comes only when `include` names it, as the API does."""
    async with client.post("responses", "reasoning", stream=False, include=[]) as response:
        assert "encrypted_content" not in (await response.json())["output"][0]


async def test_messages_tells_its_blocks_in_order(client: Client) -> None:
    """Start, blocks one after the other with a ping and a signature, delta with usage, stop."""
    events = (await client.ask("messages", "reasoning-tool-call", stream=True)).events
    kinds = [event["type"] for event in events]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert kinds.count("ping") == 1
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 2
    stops = [number for number, kind in enumerate(kinds) if kind == "content_block_stop"]
    assert events[stops[0] - 1]["delta"]["type"] == "signature_delta"
    assert events[0]["message"]["usage"]["output_tokens"] == 1


async def test_gemini_without_sse_streams_a_json_array(client: Client) -> None:
    """The array's elements are the chunks of the stream."""
    url = f"{client.sandbox.url}/v1beta/models/tokens:n=3:streamGenerateContent"
    async with client.session.post(url, json={"contents": [{"parts": [{"text": "hi"}]}]}) as response:
        assert response.content_type == "application/json"
        chunks = json.loads(await response.read())
    texts = [chunk["candidates"][0]["content"]["parts"][0]["text"] for chunk in chunks]
    assert texts == ["word1", " word2", " word3", ""]
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"


async def test_list_content_is_read_as_text(client: Client) -> None:
    """The text parts of a message with an image are what is echoed."""
    image = "data:image/png;base64,AA=="
    chat = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": image}}]
    responses = [{"role": "user", "content": [{"type": "input_text", "text": "see"}, {"type": "input_image"}]}]
    messages = [{"type": "text", "text": "see"}, {"type": "image", "source": {"type": "base64", "data": "AA=="}}]
    parts = [{"text": "see"}, {"inlineData": {"mimeType": "image/png", "data": "AA=="}}]
    for form, extra in (
        ("chat", {"messages": [{"role": "user", "content": chat}]}),
        ("responses", {"input": responses}),
        ("messages", {"messages": [{"role": "user", "content": messages}]}),
        ("gemini", {"contents": [{"role": "user", "parts": parts}]}),
    ):
        assert (await client.ask(form, "echo", stream=False, **extra)).text == "see", form
