"""What shapes change of a conversation so that the endpoint takes it: told in `adapted`, and nothing of it lost."""

import json
import time
from typing import Any

import pytest

from caller.credentials import ApiCompatibility, parse_credential
from caller.custom_llm.adapter import Frame, HttpRequest, ResolvedCall
from caller.custom_llm.apis import ADAPTERS
from caller.fold import Folder
from caller.json_types import JsonObject
from caller.messages import (
    AssistantMessage,
    ImagePart,
    Message,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolDefinition,
    ToolMessage,
    UserMessage,
)
from caller.parameters import merge_parameters
from tests.patience import within

CHAT, RESPONSES = "openai_compatible", "openai_responses"
ANTHROPIC, GEMINI = "anthropic_messages", "gemini_generate_content"
HI = UserMessage((TextPart("hi"),))
PICTURE = ImagePart(url="https://h/a.png")
BLANK = TextPart(" \n")
CACHE: JsonObject = {"cache_control": {"type": "ephemeral"}}


def request(api: str, *messages: Message, demands: dict[str, str] | None = None, **parameters: Any) -> HttpRequest:
    shape = ApiCompatibility(api)
    given: JsonObject = {"apiCompatibility": api, "baseUrl": "http://h/v1", "headers": {}}
    call = ResolvedCall(
        parse_credential(given),
        merge_parameters({"model.name": "m", **parameters}),
        messages,
        (ToolDefinition("hang_up"),),
        demands=demands or {},
    )
    return ADAPTERS[shape].request(call, False)


def body(api: str, *messages: Message, **more: Any) -> dict[str, Any]:
    sent: dict[str, Any] = json.loads(request(api, *messages, **more).body)
    return sent


def answered(api: str, *frames: str) -> AssistantMessage:
    """The message that a stream folds to."""
    call = ResolvedCall(
        parse_credential({"apiCompatibility": api, "baseUrl": "http://h/v1", "headers": {}}),
        merge_parameters({"model.name": "m"}),
        (HI,),
    )
    decoder, folder = ADAPTERS[ApiCompatibility(api)].decoder(call), Folder(10_000)
    events = [event for frame in frames for event in decoder.feed(Frame("", frame.encode()))]
    for event in [*events, *decoder.close()]:
        folder.feed(event)
    return folder.completion().choices[0].message


def delta(**fields: Any) -> str:
    return json.dumps({"id": "c", "model": "m", "choices": [{"index": 0, "delta": fields, "finish_reason": None}]})


# -- broken arguments ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("api", [CHAT, "openai_chat_completions", RESPONSES, ANTHROPIC, GEMINI])
@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ('{"city": "Par', {}),
        ("[1]", {}),
        ('{"a": NaN}', None),
        ("", {}),
        ('{"a":1 }', {"a": 1}),
    ],
)
def test_broken_arguments_do_not_block_a_conversation(api: str, written: str, sent: Any) -> None:
    """Every shape sends an object; what the model wrote stays readable, and is told to be changed where it is."""
    messages = (HI, AssistantMessage(tool_calls=(ToolCall("c1", "f", written),)), ToolMessage("c1", "f"))
    made = request(api, *messages)
    wire = json.loads(made.body)
    match api:
        case "anthropic_messages":
            given = wire["messages"][1]["content"][0]["input"]
        case "gemini_generate_content":
            given = wire["contents"][1]["parts"][0]["functionCall"]["args"]
        case "openai_responses":
            given = json.loads(wire["input"][1]["arguments"])
        case _:
            given = json.loads(wire["messages"][1]["tool_calls"][0]["function"]["arguments"])

    assert isinstance(given, dict)
    assert sent is None or given == sent
    assert ("arguments: emptied" in made.adapted) is (written not in ("", '{"a":1 }'))


# -- Chat ------------------------------------------------------------------------------------------------------------


def test_reasoning_goes_back_under_the_name_it_came_with() -> None:
    """Where the rejection names none; a name in the rejection wins; a turn without reasoning says so."""
    thought = answered(CHAT, delta(reasoning="I "), delta(reasoning="look."), delta(content="So."), "[DONE]")
    plain = AssistantMessage("Yes.")
    sent: list[Any] = []
    for form, name in (("", "reasoning"), ("reasoning_content", "reasoning_content")):
        sent = body(CHAT, HI, thought, HI, plain, HI, demands={"reasoning": form})["messages"]
        assert sent[1] == {"role": "assistant", "content": "So.", name: "I look."}
    assert sent[3] == {"role": "assistant", "content": "Yes.", "reasoning_content": ""}
    assert request(CHAT, HI, thought, HI).adapted == frozenset()
    assert request(CHAT, HI, thought, demands={"reasoning": ""}).adapted == {"reasoning: sent"}


def test_signed_state_of_a_stream_is_one_block_each() -> None:
    """Pieces of a thinking block are joined up to its signature; what stands beside a call goes back beside it."""
    message = answered(
        CHAT,
        delta(thinking_blocks=[{"type": "thinking", "thinking": "I "}]),
        delta(thinking_blocks=[{"type": "thinking", "thinking": "look.", "signature": ""}]),
        delta(thinking_blocks=[{"type": "thinking", "thinking": "", "signature": "s1"}]),
        delta(thinking_blocks=[{"type": "redacted_thinking", "data": "d"}]),
        delta(thinking_blocks=[{"type": "thinking", "thinking": "cut"}]),
        delta(reasoning_opaque="o"),
        delta(
            tool_calls=[
                {"index": 0, "id": "k", "function": {"name": "f", "arguments": "{}"}, "thought_signature": "t"},
                {"index": 1, "id": "l", "function": {"name": "g", "arguments": "{}"}},
            ]
        ),
        "[DONE]",
    )
    sent = body(CHAT, HI, message)["messages"][1]

    assert sent["thinking_blocks"] == [
        {"type": "thinking", "thinking": "I look.", "signature": "s1"},
        {"type": "redacted_thinking", "data": "d"},
    ]
    assert sent["reasoning_opaque"] == "o"
    assert [call.get("thought_signature") for call in sent["tool_calls"]] == ["t", None]


def test_messages_are_joined_and_nothing_is_lost() -> None:
    """Texts a blank line apart, parts one behind the other, calls together, options kept."""
    messages = (
        SystemMessage("one"),
        HI,
        UserMessage((TextPart("see"), PICTURE), {"name": "n"}),
        AssistantMessage("a", tool_calls=(ToolCall("c1", "f", "{}"),)),
        AssistantMessage("b", tool_calls=(ToolCall("c2", "g", "{}"),)),
        ToolMessage("c1", "f"),
        ToolMessage("c2", "g"),
        SystemMessage("two"),
    )
    sent = body(CHAT, *messages, demands={"system_messages": "joined", "same_role": "merged"})["messages"]

    assert [message["role"] for message in sent] == ["system", "user", "assistant", "tool", "tool"]
    assert sent[0]["content"] == "one\n\ntwo"
    assert [part["type"] for part in sent[1]["content"]] == ["text", "text", "image_url"]
    assert sent[1]["name"] == "n"
    assert sent[2]["content"] == "a\n\nb"
    assert [call["id"] for call in sent[2]["tool_calls"]] == ["c1", "c2"]


def test_rules_stand_before_what_the_user_said() -> None:
    """Where an endpoint knows no system role; without a user they are the user's."""
    demands = {"system_messages": "in_user_message"}
    sent = body(CHAT, SystemMessage("one"), UserMessage((PICTURE,)), demands=demands)["messages"]
    alone = body(CHAT, SystemMessage("one"), AssistantMessage("a"), demands=demands)["messages"]
    gemini = body(GEMINI, SystemMessage("one"), HI, demands=demands)

    assert [part["type"] for part in sent[0]["content"]] == ["text", "image_url"]
    assert [message["role"] for message in alone] == ["user", "assistant"]
    assert gemini["contents"] == [{"role": "user", "parts": [{"text": "one"}, {"text": "hi"}]}]
    assert "systemInstruction" not in gemini


def test_ids_are_short_in_calls_and_results_alike() -> None:
    """Nine letters and digits; two ids stay two, one that is short already stays as it is."""
    messages = (
        AssistantMessage(tool_calls=(ToolCall("call_1", "f", "{}"), ToolCall("abcdefgh9", "f", "{}"))),
        ToolMessage("call_1"),
        ToolMessage("abcdefgh9"),
    )
    sent = body(CHAT, HI, *messages, demands={"tool_call_ids": "short"})["messages"]
    ids = [call["id"] for call in sent[1]["tool_calls"]]

    assert ids == [sent[2]["tool_call_id"], sent[3]["tool_call_id"]]
    assert ids[1] == "abcdefgh9"
    assert ids[0] != ids[1]
    assert all(len(call_id) == 9 and call_id.isalnum() for call_id in ids)


def test_what_says_nothing_is_left_out_on_demand() -> None:
    """Blank parts and empty turns; the empty schema of a tool; content in the form that is asked for."""
    messages = (UserMessage((BLANK, PICTURE)), AssistantMessage(), HI)
    sent = body(CHAT, *messages, demands={"blank_text": "left_out", "tool_parameters": "left_out"})
    called = AssistantMessage(tool_calls=(ToolCall("c", "f", "{}"),))
    forms = [
        body(CHAT, HI, called, demands={"assistant_content": form})["messages"][1]["content"]
        for form in ("empty", "null")
    ]

    assert [message["role"] for message in sent["messages"]] == ["user", "user"]
    assert [part["type"] for part in sent["messages"][0]["content"]] == ["image_url"]
    assert sent["tools"] == [{"type": "function", "function": {"name": "hang_up"}}]
    assert forms == ["", None]
    assert "content" not in body(CHAT, HI, called)["messages"][1]


def test_a_prefill_is_trimmed_on_demand() -> None:
    """Only the last message, only the assistant's."""
    messages = (HI, AssistantMessage("kept "), HI, AssistantMessage("So: "))
    sent = body(CHAT, *messages, demands={"prefill": "trimmed"})["messages"]

    assert [message["content"] for message in sent] == ["hi", "kept ", "hi", "So:"]
    assert request(CHAT, AssistantMessage("a "), HI, demands={"prefill": "trimmed"}).adapted == frozenset()


# -- Responses -------------------------------------------------------------------------------------------------------


def test_rules_become_instructions_behind_the_clients_own() -> None:
    """And the input is what remains."""
    messages = (SystemMessage("one"), HI, SystemMessage("two"))
    sent = body(RESPONSES, *messages, demands={"system_messages": "in_instructions"}, instructions="zero")

    assert sent["instructions"] == "zero\n\none\n\ntwo"
    assert sent["input"] == [{"role": "user", "content": "hi"}]


# -- Anthropic -------------------------------------------------------------------------------------------------------


def test_cache_control_goes_to_the_last_block() -> None:
    """Of the message that carries it, never to thinking; a block's own stays, other options stay on the message."""
    sent = body(
        ANTHROPIC,
        UserMessage((TextPart("a"), TextPart("b")), {**CACHE, "x": 1}),
        AssistantMessage("c", options=CACHE),
        UserMessage((TextPart("d", {"cache_control": {"type": "own"}}),), CACHE),
    )["messages"]

    assert sent[0]["x"] == 1
    assert [block.get("cache_control") for block in sent[0]["content"]] == [None, {"type": "ephemeral"}]
    assert sent[1]["content"] == [{"type": "text", "text": "c", **CACHE}]
    assert sent[2]["content"][0]["cache_control"] == {"type": "own"}
    assert all("cache_control" not in message for message in sent)


def test_ids_are_mapped_one_to_one() -> None:
    """Illegal ones become legal ones of their own; a legal one keeps its name, whoever would have taken it."""
    ids = ("a:b", "a.b", "a_b")
    messages: tuple[Message, ...] = (
        AssistantMessage(tool_calls=tuple(ToolCall(call_id, "f", "{}") for call_id in ids)),
        *(ToolMessage(call_id, "f") for call_id in ids),
    )
    sent = body(ANTHROPIC, HI, *messages)["messages"]
    calls = [block["id"] for block in sent[1]["content"]]

    assert calls == ["a_b_2", "a_b_3", "a_b"]
    assert [block["tool_use_id"] for block in sent[2]["content"]] == calls


def test_a_failed_result_holds_text_and_its_picture_stands_beside_it() -> None:
    """The API takes nothing but text in it, and never none."""
    messages = (
        HI,
        AssistantMessage(tool_calls=(ToolCall("t1", "f", "{}"), ToolCall("t2", "f", "{}"))),
        ToolMessage("t1", "f", (TextPart("no"), PICTURE), is_error=True),
        ToolMessage("t2", "f", (TextPart(""),), is_error=True),
    )
    made = request(ANTHROPIC, *messages)
    blocks = json.loads(made.body)["messages"][2]["content"]

    assert [(block["type"], block.get("content")) for block in blocks] == [
        ("tool_result", "no"),
        ("tool_result", "Error"),
        ("image", None),
    ]
    assert made.adapted == {"error_result: media_beside"}


def test_what_is_blank_is_left_out_and_told() -> None:
    """White space in parts and messages, at the end of a prefill; not inside of the conversation."""
    messages = (SystemMessage(" \n"), UserMessage((BLANK, PICTURE)), AssistantMessage("kept "), HI)
    made = request(ANTHROPIC, *messages, AssistantMessage(), HI, AssistantMessage("So: "))
    sent = json.loads(made.body)

    assert "system" not in sent
    assert [block["type"] for block in sent["messages"][0]["content"]] == ["image"]
    assert [message["content"] for message in sent["messages"][1::2]] == ["kept ", "So:"]
    assert made.adapted == {"blank_text: left_out", "empty_message: left_out", "prefill: trimmed"}
    gemini = request(GEMINI, UserMessage((BLANK, PICTURE)), AssistantMessage(), HI)
    assert len(json.loads(gemini.body)["contents"][0]["parts"]) == 2
    assert gemini.adapted == {"blank_text: left_out", "empty_message: left_out"}


@pytest.mark.parametrize(
    ("effort", "thinking", "sent"),
    [("none", {"type": "disabled"}, None), ("minimal", None, "low"), ("high", None, "high")],
)
def test_efforts_are_those_that_the_api_has(effort: str, thinking: Any, sent: str | None) -> None:
    """No effort is another field; the least one is `low`, and that is told."""
    made = request(ANTHROPIC, HI, reasoning_effort=effort)
    wire = json.loads(made.body)

    assert wire.get("thinking") == thinking
    assert wire.get("output_config", {}).get("effort") == sent
    assert made.adapted == ({"reasoning_effort: low"} if effort == "minimal" else frozenset())


def _block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[str]:
    frames: list[dict[str, Any]] = [{"type": "content_block_start", "index": index, "content_block": start}]
    frames += [{"type": "content_block_delta", "index": index, "delta": fragment} for fragment in deltas]
    return [json.dumps(frame) for frame in (*frames, {"type": "content_block_stop", "index": index})]


THOUGHT = _block(0, {"type": "thinking", "thinking": ""}, {"type": "thinking_delta", "thinking": "Hm."})
CALLED = _block(1, {"type": "tool_use", "id": "t1", "name": "f", "input": {}})
ENDS = [json.dumps({"type": "message_delta", "delta": {"stop_reason": "tool_use"}}), '{"type": "message_stop"}']


def test_unsigned_thinking_goes_back_with_its_call_only() -> None:
    """An endpoint that signs nothing wants it back there; refused, it is left out."""
    start = json.dumps({"type": "message_start", "message": {"id": "m", "content": []}})
    said = _block(1, {"type": "text", "text": "So."})
    with_call, with_text = (
        answered(ANTHROPIC, start, *THOUGHT, *CALLED, *ENDS),
        answered(ANTHROPIC, start, *THOUGHT, *said, *ENDS),
    )
    sent = body(ANTHROPIC, HI, with_call, ToolMessage("t1", "f"))["messages"][1]["content"]
    without = request(ANTHROPIC, HI, with_call, ToolMessage("t1", "f"), demands={"thinking": "left_out"})

    assert [block["type"] for block in sent] == ["thinking", "tool_use"]
    assert sent[0]["thinking"] == "Hm."
    assert with_text.provider_state == b""
    assert [block["type"] for block in json.loads(without.body)["messages"][1]["content"]] == ["tool_use"]
    assert without.adapted == {"thinking: left_out"}


def test_reasoning_without_state_is_sent_where_it_is_demanded() -> None:
    """As a thinking block before all else."""
    message = AssistantMessage("So.", reasoning="Hm.", tool_calls=(ToolCall("t1", "f", "{}"),))
    sent = body(ANTHROPIC, HI, message, ToolMessage("t1", "f"), demands={"thinking": "sent"})["messages"][1]

    assert sent["content"][0] == {"type": "thinking", "thinking": "Hm."}
    assert [block["type"] for block in sent["content"]] == ["thinking", "text", "tool_use"]


CALLS = tuple(ToolCall(f"c{number}", "f", "{}") for number in range(1000))
# As many messages as a request may have, of which each could be compared with, or copied for, all others.
MANY: dict[str, tuple[str, tuple[Message, ...], dict[str, str]]] = {
    "ids that become one": (ANTHROPIC, (HI, *(ToolMessage(chr(0x4E00 + at), "f") for at in range(10_000))), {}),
    "results of no call": (
        GEMINI,
        (HI, *[AssistantMessage(tool_calls=CALLS)] * 19, *(ToolMessage("other", "f") for _ in range(9_900))),
        {},
    ),
    "one role": (CHAT, tuple(UserMessage((TextPart("x" * 1600),)) for _ in range(10_000)), {"same_role": "merged"}),
    "rules": (CHAT, (*(SystemMessage("x" * 1600) for _ in range(10_000)), HI), {"system_messages": "joined"}),
}


@pytest.mark.parametrize("kind", MANY)
def test_a_long_conversation_costs_its_length(kind: str) -> None:
    """And not the square of it: nothing else runs while a request is made."""
    api, messages, demands = MANY[kind]

    begun = time.process_time()
    request(api, *messages, demands=demands)

    assert time.process_time() - begun < within(1.0)
