"""Provider state of Chat Completions: what an endpoint put beside the text and wants back unread, kept while it comes.

No I/O. Sources of the names: OpenRouter's docs (`reasoning_details`), Google's compatible route (`extra_content`,
`thought_signature`), LiteLLM (`thinking_blocks`, `provider_specific_fields`), GitHub Copilot (`reasoning_opaque`).
Readable reasoning is not kept: the message has it. Its name is, where it is not the usual one, for endpoints that ask
for it.
"""

from caller.custom_llm.apis.kept import KeptBudget
from caller.json_types import JsonObject, JsonValue, object_of, objects_of, text_of, without

# One shape for provider state: a conversation may move between the strict and the compatible spelling.
STATE_SHAPE = "chat_completions"
# The name under which most servers give reasoning, and ask for it.
REASONING = "reasoning_content"
# The type of calls whose arguments are no JSON (OpenAI's custom tools).
CUSTOM = "custom"
# Of a message, and of a tool call: what goes back as it came.
_OF_MESSAGE = ("extra_content", "thought_signature", "reasoning_opaque", "reasoning_signature", "encrypted_reasoning")
_OF_CALL = ("extra_content", "thought_signature", "provider_specific_fields")
# Keys of a delta that mean that there is something to keep.
STATE_KEYS = frozenset({"reasoning_details", "thinking_blocks", "provider_specific_fields", *_OF_MESSAGE})


class KeptState:
    """What one choice must give back."""

    __slots__ = ("_blocks", "_budget", "_calls", "_details", "_fields", "name")

    def __init__(self) -> None:
        self._details: list[JsonObject] = []
        self._blocks: list[tuple[JsonObject, list[str]]] = []  # each with the pieces of its text
        self._budget = KeptBudget()
        self._fields: JsonObject = {}
        self._calls: dict[int, JsonObject] = {}
        self.name = REASONING  # what the endpoint calls its readable reasoning

    def delta(self, delta: JsonObject) -> None:
        """Keep what a delta, or a whole message, holds of `STATE_KEYS`.

        Raises:
            ResponseTooLarge: past the bound of what may be kept.
        """
        self._budget.consume({key: value for key, value in delta.items() if key in STATE_KEYS})
        self._details += objects_of(delta.get("reasoning_details"))
        for block in objects_of(delta.get("thinking_blocks")):
            self._block(block)
        self._fields |= {key: delta[key] for key in _OF_MESSAGE if delta.get(key)}
        specific = object_of(delta.get("provider_specific_fields"))
        if specific.get("thought_signatures"):
            self._fields["provider_specific_fields"] = {"thought_signatures": specific["thought_signatures"]}
        for block in objects_of(specific.get("thinking_blocks")) if "thinking_blocks" not in delta else ():
            self._block(block)

    def call(self, number: int, wire: JsonObject) -> None:
        """Keep what stands beside a tool call, and that it is one of a custom tool, whose input is any text."""
        for key in _OF_CALL:
            value = wire.get(key)
            if value and isinstance(value, dict | str):
                self._budget.consume(value)
                self._calls.setdefault(number, {})[key] = value
        if wire.get("type") == CUSTOM:
            self._calls.setdefault(number, {})["type"] = CUSTOM

    def content(self) -> JsonObject:
        """All of it, empty where there is nothing."""
        fields: JsonObject = dict(self._fields)
        if self._details:
            fields["reasoning_details"] = _joined(self._details)
        blocks: list[JsonValue] = [
            block | {"thinking": "".join(texts)} if "thinking" in block or any(texts) else block
            for block, texts in self._blocks
            if block.get("signature") or block.get("type") != "thinking"
        ]
        if blocks:
            fields["thinking_blocks"] = blocks
        content: JsonObject = {"message": fields} if fields else {}
        if self._calls:
            content["tool_calls"] = [self._calls.get(number, {}) for number in range(max(self._calls) + 1)]
        if self.name not in (REASONING, "thinking_blocks"):
            content["reasoning_name"] = self.name
        return content

    def _block(self, block: JsonObject) -> None:
        """A stream cuts the text of a block into many; its signature comes last, and ends it."""
        last, texts = self._blocks[-1] if self._blocks else ({}, [])
        if block.get("type") == last.get("type") == "thinking" and not last.get("signature"):
            texts.append(text_of(block.get("thinking")))
            last.update({key: value for key, value in block.items() if key != "thinking" and value})
        else:
            self._blocks.append((dict(block), [text_of(block.get("thinking"))]))


def text_of_details(delta: JsonObject) -> str:
    """The readable text of `reasoning_details`."""
    details = objects_of(delta.get("reasoning_details"))
    return "".join(text_of(detail.get("text")) or text_of(detail.get("summary")) for detail in details)


def _joined(details: list[JsonObject]) -> list[JsonValue]:
    """OpenRouter's `reasoning_details` as one entry per block: a stream cuts the text of a block into many."""
    blocks: list[tuple[JsonObject, list[str]]] = []
    for detail in details:
        last = blocks[-1][0] if blocks else {}
        same = all(detail.get(key) in (None, last.get(key)) for key in ("index", "id"))
        if same and detail.get("type") == last.get("type") == "reasoning.text":
            last |= without(detail, frozenset({"text"}))
            blocks[-1][1].append(text_of(detail.get("text")))
        else:
            blocks.append((dict(detail), [text_of(detail.get("text"))]))
    return [block | ({"text": "".join(texts)} if "text" in block or any(texts) else {}) for block, texts in blocks]
