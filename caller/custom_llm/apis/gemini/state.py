"""Provider state of Gemini: the parts of an answer in their order, kept while they come and replayed later. No I/O.

Google's rule for thought signatures: a part goes back as it came, where it was; a signed part is never joined with
another. Unsigned text that came in pieces is one part again.
"""

from caller.custom_llm.apis.gemini.model import API
from caller.custom_llm.apis.kept import KeptBudget
from caller.json_types import JsonObject, JsonValue, object_of, objects_of
from caller.messages import AssistantMessage
from caller.provider_state import unseal

_REBUILT = frozenset({"text", "thought", "functionCall", "inlineData"})
_REBUILT_CALL = frozenset({"name", "args"})


class KeptParts:
    """The parts of one candidate. `budget` bounds what is kept of it."""

    __slots__ = ("_needed", "_parts", "_text", "_thought", "budget")

    def __init__(self) -> None:
        self._parts: list[JsonObject] = []
        self._text: list[str] = []  # the latest run of unsigned text, in pieces
        self._thought = False
        self._needed = False
        self.budget = KeptBudget()

    def text(self, text: str, *, thought: bool) -> None:
        """Keep unsigned text."""
        if thought is not self._thought:
            self._close_text()
            self._thought = thought
        if text:
            self._text.append(text)
            self.budget.consume_bytes(len(text))

    def part(self, part: JsonObject) -> None:
        """Keep any other part as it came."""
        self._close_text()
        self.budget.consume(part)
        self._parts.append(part)
        call = object_of(part.get("functionCall"))
        if not (part.keys() <= _REBUILT and call.keys() <= _REBUILT_CALL):
            self._needed = True

    def content(self) -> JsonObject | None:
        """What has to go back, or None where the message's own fields say it all."""
        self._close_text()
        parts: list[JsonValue] = [*self._parts]
        return {"parts": parts} if self._needed else None

    def _close_text(self) -> None:
        if self._text:
            text = "".join(self._text)
            self._parts.append({"text": text, "thought": True} if self._thought else {"text": text})
            self._text = []


def replayed(message: AssistantMessage) -> list[JsonObject]:
    """The parts of an unchanged message of this shape; empty for any other."""
    content = unseal(API.value, message)
    parts = objects_of(content.get("parts")) if content else []
    calls = [part for part in parts if "functionCall" in part]
    # The state is a client's word: one whose calls are not the message's is not replayed.
    return parts if len(calls) == len(message.tool_calls) else []
