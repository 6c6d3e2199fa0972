"""Shows an answer at a terminal as it comes.

Rule: standard output holds the answer (text, refusal, tool calls), so that it can be piped; standard error holds what
is said about it (reasoning, dimmed; usage and times). What an endpoint sent is no command to the terminal. It knows the
contract's messages and no network.
"""

import sys
import time

import click
from google.protobuf import json_format
from google.protobuf.message import Message

from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import messages_pb2 as msg

_LEAST_TO_RATE = 0.05  # seconds: what comes in one piece has no rate


# Control characters as pictures of themselves (U+2400 and on); those of C1 have none.
_PICTURES = {
    **{code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
}


def visible(text: str, *, err: bool = False) -> str:
    """Text of an endpoint, as a terminal may show it: without control sequences, which could change its title, its
    clipboard or what stands on it. Where standard output, or with `err` standard error, is no terminal it stays."""
    return text.translate(_PICTURES) if (sys.stderr if err else sys.stdout).isatty() else text


class IncompleteError(Exception):
    """A stream ended well, but without its `completed`: what answered does not keep the contract."""


class Printer:
    """Shows one call: `frame` for each of a stream, or `response` for a whole answer, then `summary`.

    `raw`: every message as one line of JSON instead. `aside_on_stderr` False: everything goes to standard output.
    """

    def __init__(self, *, raw: bool = False, aside_on_stderr: bool = True) -> None:
        self._raw = raw
        self._aside = aside_on_stderr
        self._started = time.monotonic()
        self._first: float | None = None
        self._section: tuple[str, int] | None = None
        self._last = self._started
        self._texts: list[str] = []
        self._answer: pb.ChatResponse | None = None

    @property
    def text(self) -> str:
        """The text of the first choice, as far as it came."""
        return "".join(self._texts)

    def message(self) -> msg.AssistantMessage:
        """What the first choice of the whole answer says."""
        choices = self._answer.choices if self._answer is not None else ()
        return choices[0].message if choices else msg.AssistantMessage()

    def frame(self, frame: pb.StreamChatResponse) -> None:
        """Shows the next event of a stream."""
        kind = frame.WhichOneof("event")
        if self._first is None and kind not in ("started", "completed"):
            self._first = time.monotonic()
        self._last = time.monotonic()
        if kind == "text_delta" and frame.text_delta.choice_index == 0:
            self._texts.append(frame.text_delta.text)
        if self._raw:
            self._json(frame)
        elif kind == "reasoning_delta":
            self._piece("reasoning", frame.reasoning_delta.choice_index, frame.reasoning_delta.text)
        elif kind == "text_delta":
            self._piece("text", frame.text_delta.choice_index, frame.text_delta.text)
        elif kind == "refusal_delta":
            self._piece("refusal", frame.refusal_delta.choice_index, frame.refusal_delta.text)
        if kind == "completed":
            self._answer = frame.completed
            for choice in () if self._raw else frame.completed.choices:
                self._tool_calls(choice)

    def response(self, response: pb.ChatResponse) -> None:
        """Shows a whole answer."""
        self._answer = response
        if self._raw:
            self._json(response)
            return
        for choice in response.choices:
            self._piece("reasoning", choice.index, choice.message.reasoning)
            self._piece("text", choice.index, choice.message.text)
            self._piece("refusal", choice.index, choice.message.refusal)
            self._tool_calls(choice)

    def end(self) -> None:
        """Ends the line that is being written; after an error as well as after an answer."""
        if self._section is not None:
            click.echo(err=self._aside and self._section[0] == "reasoning")
            self._section = None

    def summary(self) -> None:
        """Usage and times, on standard error.

        Raises:
            IncompleteError: no whole answer came.
        """
        self.end()
        if self._answer is None:
            raise IncompleteError("the stream ended without its last event, `completed`")
        if not self._raw:
            click.secho(" · ".join(self._facts(self._answer)), err=self._aside, dim=True)

    def _piece(self, kind: str, choice: int, text: str) -> None:
        """More of a section; a section begins on a line of its own."""
        if not text:
            return
        reasoning = kind == "reasoning"
        aside = self._aside and reasoning
        text = visible(text, err=aside)
        if self._section != (kind, choice):
            self.end()
            self._section = (kind, choice)
            title = "refusal: " if kind == "refusal" else ""
            click.secho(f"[{choice}] {title}" if choice else title, nl=False, err=aside, dim=True)
        click.echo(click.style(text, dim=True) if reasoning else text, nl=False, err=aside)

    def _tool_calls(self, choice: msg.Choice) -> None:
        for call in choice.message.tool_calls:
            self.end()
            called = visible(f"{call.name}({call.arguments})")
            click.echo(f"{f'[{choice.index}] ' if choice.index else ''}{called}", nl=False)
            click.secho(f"  {visible(call.id)}", dim=True)

    def _json(self, message: Message) -> None:
        click.echo(visible(json_format.MessageToJson(message, indent=None, ensure_ascii=False)))

    def _facts(self, answer: pb.ChatResponse) -> list[str]:
        facts = [visible(answer.model, err=self._aside)] if answer.model else []
        facts += [_finish(choice) for choice in answer.choices]
        facts.append(_usage(answer.usage))
        if self._first is not None:
            service = answer.timing.time_to_first_output.ToTimedelta().total_seconds()
            facts.append(f"first output {_duration(self._first - self._started)} (service {_duration(service)})")
            facts += _rate(answer.usage, self._last - self._first)
        facts.append(f"total {_duration(time.monotonic() - self._started)}")
        if answer.timing.attempts > 1:
            facts.append(f"{answer.timing.attempts} attempts")
        return facts


def _finish(choice: msg.Choice) -> str:
    return msg.FinishReason.Name(choice.finish_reason).removeprefix("FINISH_REASON_").lower().replace("_", " ")


def _usage(usage: msg.Usage) -> str:
    counts = (
        ("input_tokens", "in"),
        ("cached_input_tokens", "cached"),
        ("cache_creation_input_tokens", "written to the cache"),
        ("output_tokens", "out"),
        ("reasoning_tokens", "reasoning"),
        ("total_tokens", "total"),
    )
    known = [f"{getattr(usage, name)} {word}" for name, word in counts if usage.HasField(name)]
    if not known:
        return "tokens: not reported"
    partial = " (partial)" if usage.source == msg.USAGE_SOURCE_PARTIAL else ""
    return f"tokens: {', '.join(known)}{partial}"


def _rate(usage: msg.Usage, seconds: float) -> list[str]:
    """Tokens per second from the first output to the end, where that was long enough to tell."""
    if not usage.output_tokens or seconds < _LEAST_TO_RATE:
        return []
    return [f"{usage.output_tokens / seconds:.0f} tokens/s"]


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
