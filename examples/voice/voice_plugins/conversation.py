"""What both plugins share: the request of a turn, made of messages in the form of Chat Completions, in which both
frameworks can write a conversation.

Rule: knows the contract and no framework.
"""

import asyncio
import base64
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf import json_format

from integration_api.client import ChatRequest, ChatResponse, Client, ServiceError, image, system, tool, user
from integration_api.v1 import messages_pb2 as msg

# How many tool calls are remembered with the answers that made them.
_KEPT = 256


class Turns:
    """Makes the request of each turn.

    Args:
        client: the service.
        first: everything of a request but its conversation, as `chat_request([], …)` makes it: model, credential,
            timeouts, fallbacks.
    """

    def __init__(self, client: Client, first: ChatRequest) -> None:
        self.client = client
        self.first = first
        self._answers: OrderedDict[str, msg.AssistantMessage] = OrderedDict()

    @property
    def timeout(self) -> float | None:
        """Seconds for the call's deadline: one above the request's total, whose error says more than a deadline's."""
        total = self.first.timeouts.total.ToTimedelta().total_seconds()
        return total + 1 if total else None

    def request(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Iterable[Mapping[str, Any]] = (),
        parameters: Mapping[str, Any] | None = None,
    ) -> ChatRequest:
        """The request of a turn; `parameters` win over those of `first`.

        Raises:
            ValueError: a message holds what the contract has no field for.
        """
        request = ChatRequest()
        request.CopyFrom(self.first)
        request.messages.extend(self._messages(messages))
        request.tools.extend(_tool(each["function"]) for each in tools)
        if parameters:
            given = msg.Target()
            json_format.ParseDict(dict(parameters), given.model_parameters)
            request.model_parameters.MergeFrom(given.model_parameters)
        return request

    def remember(self, answer: ChatResponse) -> None:
        """Keep an answer that calls tools as it came. Its signed reasoning must go back unread, its arguments to the
        letter; the frameworks have no field for the one, and write the others anew."""
        message = answer.choices[0].message
        for call in message.tool_calls:
            self._answers[call.id] = message
        while len(self._answers) > _KEPT:
            self._answers.popitem(last=False)

    async def warm(self) -> None:
        """Have connections ready for the next turn. It costs no tokens; what is wrong, the turn itself will say."""
        try:
            await self.client.prewarm(self.first, timeout=5)
        except ServiceError:
            return

    def _messages(self, items: Sequence[Mapping[str, Any]]) -> list[msg.Message]:
        """The contract's messages. A remembered answer takes the place of what the framework made of it, which can be
        several messages: its text, and each of its calls."""
        results = {item["tool_call_id"] for item in items if item["role"] == "tool"}
        made: list[msg.Message] = []
        replayed: set[str] = set()
        for item in items:
            calls: Sequence[Mapping[str, Any]] = item.get("tool_calls") or ()
            answer = self._answers.get(calls[0]["id"]) if calls else None
            ids = {call.id for call in answer.tool_calls} if answer is not None else set()
            if answer is None or not ids <= results:
                made.append(_message(item))
            elif calls[0]["id"] not in replayed:
                replayed |= ids
                if made and _is_text_of(made[-1].assistant, answer):
                    made.pop()
                made.append(msg.Message(assistant=answer))
        return made


def _is_text_of(before: msg.AssistantMessage, answer: msg.AssistantMessage) -> bool:
    said = before.text.strip()
    return bool(said) and not before.tool_calls and answer.text.strip().startswith(said)


def _message(item: Mapping[str, Any]) -> msg.Message:
    content = item.get("content")
    match item["role"]:
        case "system":
            return system(_text(content))
        case "developer":
            return msg.Message(developer=msg.DeveloperMessage(text=_text(content)))
        case "user":
            return user(*_parts(content))
        case "assistant":
            calls = [_call(each) for each in item.get("tool_calls") or ()]
            return msg.Message(assistant=msg.AssistantMessage(text=_text(content), tool_calls=calls))
        case "tool":
            texts = [msg.ContentPart(text=_text(content))]
            return msg.Message(tool=msg.ToolMessage(tool_call_id=item["tool_call_id"], content=texts))
        case other:
            raise ValueError(f"a message of the role {other!r}")


def _call(item: Mapping[str, Any]) -> msg.ToolCall:
    function = item["function"]
    return msg.ToolCall(id=item["id"], name=function["name"], arguments=function["arguments"])


def _tool(function: Mapping[str, Any]) -> msg.ToolDefinition:
    made = tool(function["name"], function.get("description") or "", function.get("parameters") or {"type": "object"})
    if function.get("strict") is not None:
        made.strict = function["strict"]
    return made


def _text(content: str | Sequence[Mapping[str, Any]] | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part["text"] for part in content if part["type"] == "text")


def _parts(content: str | Sequence[Mapping[str, Any]] | None) -> list[str | msg.ContentPart]:
    if content is None or isinstance(content, str):
        return [content or ""]
    return [_part(part) for part in content]


def _part(part: Mapping[str, Any]) -> str | msg.ContentPart:
    match part["type"]:
        case "text":
            return str(part["text"])
        case "image_url":
            return image(part["image_url"]["url"])
        case "input_audio":
            sound = part["input_audio"]
            return msg.ContentPart(audio=msg.Audio(data=base64.b64decode(sound["data"]), format=sound["format"]))
        case other:
            raise ValueError(f"a part of the type {other!r}")


class Warming:
    """At most one `warm` at a time, beside the conversation."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, unless one runs."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._turns.warm())

    async def stop(self) -> None:
        """End the one that runs."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
