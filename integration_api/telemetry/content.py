"""What was said in a call, for the audit file where its operator asks for it: texts, and what else there was by kind
and size. Bounded: of a long conversation its end, of a long text its beginning. Pure.

Pictures, sounds and documents are not kept, nor the queries of their URLs (signed URLs hold keys), nor what is of one
provider only (its options, its state).
"""

from collections.abc import Callable, Sequence

from caller.call import Completion
from caller.messages import (
    AssistantMessage,
    AudioPart,
    ContentPart,
    DeveloperMessage,
    FilePart,
    ImagePart,
    Message,
    SystemMessage,
    TextPart,
    ToolMessage,
    UserMessage,
)
from caller.target import Ask

Entry = dict[str, object]
_ROLES = {
    SystemMessage: "system",
    DeveloperMessage: "developer",
    UserMessage: "user",
    AssistantMessage: "assistant",
    ToolMessage: "tool",
}
# A message counts as so many bytes beside its texts.
_MESSAGE = 32


class _Budget:
    """Bytes that are left; `cut` once something did not fit."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.cut = False

    def text(self, text: str) -> str:
        """As much of a text as fits."""
        left = max(0, self.left)
        raw = text[:left].encode("utf-8", "replace")[:left]
        self.left -= len(raw)
        kept = raw.decode("utf-8", "ignore")
        self.cut = self.cut or len(kept) < len(text)
        return kept


class KeptContent:
    """What one call said: so many bytes of what was asked, and as many of the answer."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._asked: list[Entry] = []
        self._cut = False
        self._completion: Callable[[], Completion] | None = None

    def asked(self, ask: Ask) -> None:
        """Keep the end of the conversation."""
        budget = _Budget(self._limit)
        for message in reversed(ask.messages):
            budget.left -= _MESSAGE
            if budget.left <= 0:
                budget.cut = True
                break
            self._asked.append(_message(message, budget))
        self._asked.reverse()
        self._cut = budget.cut

    def answering(self, completion: Callable[[], Completion]) -> None:
        """The answer is asked for at the end."""
        self._completion = completion

    def fields(self) -> Entry:
        """What the line says of it."""
        budget = _Budget(self._limit)
        choices = () if self._completion is None else self._completion().choices
        answered = [_assistant(choice.message, budget) for choice in choices]
        cut = {"content_cut": True} if self._cut or budget.cut else {}
        return {"asked": self._asked, "answered": answered, **cut}


def _message(message: Message, budget: _Budget) -> Entry:
    entry: Entry = {"role": _ROLES[type(message)]}
    match message:
        case SystemMessage() | DeveloperMessage():
            return entry | {"text": budget.text(message.text)}
        case AssistantMessage():
            return entry | _assistant(message, budget)
        case ToolMessage():
            return entry | {"tool_call_id": budget.text(message.tool_call_id)} | _parts(message.content, budget)
        case UserMessage():
            return entry | _parts(message.content, budget)


def _assistant(message: AssistantMessage, budget: _Budget) -> Entry:
    texts = {"text": message.text, "refusal": message.refusal, "reasoning": message.reasoning}
    entry: Entry = {name: budget.text(text) for name, text in texts.items() if text}
    if message.tool_calls:
        entry["tool_calls"] = [
            {"name": budget.text(call.name), "arguments": budget.text(call.arguments)}
            for call in message.tool_calls
            if budget.left > 0
        ]
    return entry


def _parts(parts: Sequence[ContentPart], budget: _Budget) -> Entry:
    kept: list[Entry] = []
    for part in parts:
        budget.left -= _MESSAGE
        if budget.left <= 0:
            budget.cut = True
            break
        kept.append(_part(part, budget))
    return {"content": kept}


def _part(part: ContentPart, budget: _Budget) -> Entry:
    match part:
        case TextPart():
            return {"text": budget.text(part.text)}
        case ImagePart():
            return {"image": budget.text(_where(part.url) or part.media_type), "bytes": len(part.data)}
        case AudioPart():
            return {"audio": budget.text(part.format), "bytes": len(part.data)}
        case FilePart():
            return {"file": budget.text(part.filename or _where(part.url) or part.media_type), "bytes": len(part.data)}


def _where(url: str) -> str:
    """A URL without what may be secret or long."""
    return "data:" if url[:5].lower() == "data:" else url.partition("#")[0].partition("?")[0]
