"""What endpoints demand of a Chat Completions request, as changes to its body. No I/O.

Each change is one form of one point of `demand_table.TABLE`. It joins, moves or renames what the client gave and leaves
out only what says nothing. They are made in the order of `CHANGES`: while messages stand one to one, then on the list.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType

from caller.custom_llm.adapter import ResolvedCall
from caller.custom_llm.apis.chat_completions.state import REASONING, STATE_SHAPE
from caller.custom_llm.apis.shared import names_of_calls, says_nothing, short_call_id, tool_name
from caller.custom_llm.request_body import merged
from caller.json_types import JsonObject, JsonValue, list_of, object_of, objects_of, text_of
from caller.messages import AssistantMessage, ToolMessage
from caller.provider_state import unseal

_RULES = ("system", "developer")
_SAID = ("user", "assistant")
_NOT_JOINED = frozenset({"content", "role"})
# Of an assistant's message: texts that are joined as its content is.
_TEXTS = frozenset({"reasoning_content", "reasoning", "reasoning_text", "thinking", "refusal"})

Change = Callable[[JsonObject, str, ResolvedCall], None]


def changed(body: JsonObject, call: ResolvedCall) -> frozenset[str]:
    """Make the changes that the endpoint demands, and return those that changed anything: a point and its form."""
    changes: set[str] = set()
    for point, change in CHANGES.items():
        form = call.demands.get(point)
        if form is not None and _made(change, body, form, call):
            changes.add(f"{point}: {form or 'sent'}")
    return frozenset(changes)


def _made(change: Change, body: JsonObject, form: str, call: ResolvedCall) -> bool:
    before = _copied(body)
    change(body, form, call)
    return before != body


def _copied(body: JsonObject) -> JsonObject:
    """As deep as changes reach: messages and tools are replaced whole, never written into."""
    return {name: list(value) if isinstance(value, list) else value for name, value in body.items()}


def _echo_reasoning(body: JsonObject, form: str, call: ResolvedCall) -> None:
    """The reasoning of earlier turns, under the name that the rejection gives, or that it came with. A turn that has
    none says so: Kimi and DeepSeek take an empty one, and nothing else lets the conversation go on."""
    messages = body["messages"]
    if not isinstance(messages, list):
        return
    for number, message in enumerate(call.messages):
        if isinstance(message, AssistantMessage):
            state = unseal(STATE_SHAPE, message) or {}
            name = form or text_of(state.get("reasoning_name")) or REASONING
            wire = object_of(messages[number])
            messages[number] = {**wire, name: text_of(wire.get(name)) or message.reasoning}


def _name_tools(body: JsonObject, form: str, call: ResolvedCall) -> None:
    del form
    names = names_of_calls(call.messages)
    messages = body["messages"]
    if not isinstance(messages, list):
        return
    for number, message in enumerate(call.messages):
        name = tool_name(message, names) if isinstance(message, ToolMessage) else ""
        if name:
            messages[number] = {"name": name, **object_of(messages[number])}


def _shorten_ids(body: JsonObject, form: str, call: ResolvedCall) -> None:
    """Nine letters and digits, the only form that Mistral accepts; the same id becomes the same one everywhere."""
    del form, call

    def short(message: JsonObject) -> JsonObject:
        if "tool_call_id" in message:
            return {**message, "tool_call_id": short_call_id(text_of(message["tool_call_id"]))}
        if "tool_calls" in message:
            calls: list[JsonValue] = [
                {**wire, "id": short_call_id(text_of(wire.get("id")))} for wire in objects_of(message["tool_calls"])
            ]
            return {**message, "tool_calls": calls}
        return message

    _each_message(body, short)


def _give_content(body: JsonObject, form: str, call: ResolvedCall) -> None:
    """The key `content` of an assistant's message that only calls tools, which most servers do without."""
    del call
    value: JsonValue = "" if form == "empty" else None

    def given(message: JsonObject) -> JsonObject:
        silent = message.get("role") == "assistant" and not message.get("content")
        return {**message, "content": value} if silent else message

    _each_message(body, given)


def _drop_blank_text(body: JsonObject, form: str, call: ResolvedCall) -> None:
    """Texts of white space beside other parts, and messages of the assistant that say nothing."""
    del form, call
    kept: list[JsonValue] = []
    for message in objects_of(body.get("messages")):
        content = message.get("content")
        if isinstance(content, list):
            parts = [
                part for part in objects_of(content) if part.get("type") != "text" or text_of(part["text"]).strip()
            ]
            kept.append({**message, "content": list_of(list(parts))} if parts else message)
        elif message.get("role") == "assistant" and not text_of(content).strip():
            if message.get("tool_calls") or message.get("refusal"):
                kept.append({name: value for name, value in message.items() if name != "content"})
        else:
            kept.append(message)
    body["messages"] = kept


def _trim_prefill(body: JsonObject, form: str, call: ResolvedCall) -> None:
    """White space at the end of a last message of the assistant, which the answer continues."""
    del form, call
    messages = objects_of(body.get("messages"))
    content = messages[-1].get("content") if messages and messages[-1].get("role") == "assistant" else None
    if isinstance(content, str):
        body["messages"] = [*messages[:-1], {**messages[-1], "content": content.rstrip()}]


def _join_rules(body: JsonObject, form: str, call: ResolvedCall) -> None:
    """All rules in one first message, or in front of what the user said first."""
    del call
    messages = objects_of(body.get("messages"))
    rules = [message for message in messages if message.get("role") in _RULES]
    others = [message for message in messages if message.get("role") not in _RULES]
    if not rules:
        return
    joined = _joined(rules)
    if form == "joined":
        body["messages"] = [joined, *others]
        return
    joined = {**joined, "role": "user"}
    first = next((number for number, message in enumerate(others) if message.get("role") == "user"), None)
    if first is None:
        body["messages"] = [joined, *others]
    else:
        body["messages"] = [*others[:first], _joined((joined, others[first])), *others[first + 1 :]]


def _merge_neighbours(body: JsonObject, form: str, call: ResolvedCall) -> None:
    del form, call
    runs: list[list[JsonObject]] = []
    for message in objects_of(body.get("messages")):
        role = message.get("role")
        if runs and role in _SAID and runs[-1][0].get("role") == role:
            runs[-1].append(message)
        else:
            runs.append([message])
    body["messages"] = [_joined(run) for run in runs]


def _drop_empty_parameters(body: JsonObject, form: str, call: ResolvedCall) -> None:
    """A schema without properties, which says no more than none: that of a tool that has no parameters."""
    del form, call
    tools = body.get("tools")
    if isinstance(tools, list):
        body["tools"] = [_without_empty_parameters(object_of(tool)) for tool in tools]


def _without_empty_parameters(tool: JsonObject) -> JsonObject:
    function = tool.get("function")
    if not isinstance(function, dict) or not says_nothing(function.get("parameters")):
        return tool
    return {**tool, "function": {name: value for name, value in function.items() if name != "parameters"}}


def _rename_limit(body: JsonObject, form: str, call: ResolvedCall) -> None:
    """The limit of output tokens under the other of its two names."""
    del call
    other = "max_tokens" if form == "max_completion_tokens" else "max_completion_tokens"
    if other in body:
        value = body.pop(other)
        body.setdefault(form, value)


def _each_message(body: JsonObject, change: Callable[[JsonObject], JsonObject]) -> None:
    body["messages"] = [change(message) for message in objects_of(body.get("messages"))]


def _joined(messages: Sequence[JsonObject]) -> JsonObject:
    """Messages as one of the first's role: texts a blank line apart, lists one behind the other. Each is copied once: a
    conversation may be thousands of one role."""
    if len(messages) == 1:
        return messages[0]
    whole = dict(messages[-1])
    for message in reversed(messages[:-1]):
        merged(whole, message)
    for name in whole.keys() - _NOT_JOINED:
        values = [message[name] for message in messages if name in message]
        if all(isinstance(value, list) for value in values):
            whole[name] = [member for value in values for member in list_of(value)]
        elif name in _TEXTS:
            whole[name] = "\n\n".join(text for text in map(text_of, values) if text)
    if any("content" in message for message in messages):
        whole["content"] = _joined_content([message.get("content") for message in messages])
    return whole


def _joined_content(contents: Sequence[JsonValue]) -> JsonValue:
    given = [content for content in contents if content]
    if len(given) < 2:
        return given[0] if given else contents[-1]
    parts: list[JsonValue] = []
    for is_text, run in groupby(given, lambda content: isinstance(content, str)):
        if is_text:
            parts.append({"type": "text", "text": "\n\n".join(map(text_of, run))})
        else:
            parts += [part for content in run for part in list_of(content)]
    return "\n\n".join(map(text_of, given)) if all(isinstance(content, str) for content in given) else parts


CHANGES: Mapping[str, Change] = MappingProxyType(
    {
        "reasoning": _echo_reasoning,
        "tool_name": _name_tools,
        "tool_call_ids": _shorten_ids,
        "blank_text": _drop_blank_text,
        "prefill": _trim_prefill,
        "assistant_content": _give_content,
        "tool_parameters": _drop_empty_parameters,
        "max_tokens": _rename_limit,
        "system_messages": _join_rules,
        "same_role": _merge_neighbours,
    }
)
