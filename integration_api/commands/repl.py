"""`integration-api chat` without a MESSAGE: a conversation at the terminal.

Rule: a line is read, a `Talk` makes the request of it, `asking` shows the answer. What a person does wrong, and what
goes wrong at the service, is said, and the conversation goes on.
"""

import asyncio
import os
import shlex
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path

import click
import grpc
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.formatted_text import ANSI
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from integration_api.commands.asking import ask
from integration_api.commands.connection import token_metadata
from integration_api.commands.failures import explained
from integration_api.commands.printing import IncompleteError, Printer, visible
from integration_api.commands.talk import Talk, TalkError
from integration_api.v1 import chat_service_pb2_grpc as stubs
from integration_api.v1 import messages_pb2 as msg

_HELP = """\
  /system TEXT   rules for the conversation; /system alone: none
  /model NAME    ask another model; /models lists those of the endpoint
  /tools FILE    tools that the model may call, as JSON; /tools -: none
  /image PATH    a picture for the next message; a URL works too
  /save FILE     write the conversation as a ChatRequest, without its credential
  /raw           show the service's frames as JSON; again: the text
  /new           forget the conversation
  /quit          end; so does Ctrl-D

  Enter sends; Alt-Enter, or a \\ at the end, goes on in the next line. Ctrl-C cancels an answer and keeps the
  conversation. The arrows bring back what was typed before."""
_PROMPT = "\x1b[1m> \x1b[0m"
_MORE = "  "


class Repl:
    """The conversation of one terminal. `timeout` is an answer's deadline in seconds."""

    def __init__(
        self, talk: Talk, channel: grpc.aio.Channel, *, unary: bool, timeout: float | None, token: str, raw: bool
    ) -> None:
        self._talk = talk
        self._channel = channel
        self._unary, self._timeout, self._token = unary, timeout, token
        self._raw = raw
        self._commands: Mapping[str, Callable[[str], str | Awaitable[str]]] = {
            "/help": self._help,
            "/system": self._system,
            "/model": self._model,
            "/models": self._models,
            "/tools": self._tools,
            "/image": self._image,
            "/save": self._save,
            "/raw": self._toggle_raw,
            "/new": self._new,
        }
        self._session: PromptSession[str] = PromptSession(
            history=_history(),
            key_bindings=_keys(),
            multiline=True,
            prompt_continuation=_MORE,
            completer=WordCompleter([*self._commands, "/quit"], sentence=True),
            complete_while_typing=False,
        )

    async def run(self) -> None:
        """Until the person ends it."""
        click.secho(f"Talking to {self._talk.model}. /help lists the commands, Ctrl-D ends.", dim=True)
        while True:
            try:
                line = (await self._session.prompt_async(ANSI(_PROMPT), handle_sigint=False)).strip()
            except KeyboardInterrupt:
                continue  # the line is gone; the conversation is not
            except EOFError:
                return
            if not line:
                continue
            if line.startswith("/"):
                if await self._command(line):
                    return
                continue
            await self._turn(line)

    async def _command(self, line: str) -> bool:
        """Do what a line that begins with a slash says; True: that is the end."""
        name, _, rest = line.partition(" ")
        if name in {"/quit", "/exit"}:
            return True
        command = self._commands.get(name)
        if command is None:
            click.echo(f"no command {name}; /help lists them")
            return False
        try:
            answer = command(rest.strip())
            reply = answer if isinstance(answer, str) else await answer
        except TalkError as error:
            reply = str(error)
        except grpc.aio.AioRpcError as error:
            reply = explained(error)
        if reply:
            click.secho(reply, dim=True)
        return False

    async def _turn(self, text: str) -> None:
        """What is said, its answer, and the results of the tools that it calls."""
        before = len(self._talk.messages)
        self._talk.say(text)
        while True:
            answer = await self._answer(before)
            if answer is None or not answer.tool_calls:
                return
            if not await self._results(answer):
                self._talk.back_to(before)
                click.secho("(forgotten: the model waits for the results of its calls)", dim=True)
                return

    async def _answer(self, before: int) -> msg.AssistantMessage | None:
        """The answer to the conversation as it is. None where there is none: what was said last is forgotten then, so
        that it can be said again."""
        printer = Printer(raw=self._raw, aside_on_stderr=False)
        asking = ask(
            self._channel,
            self._talk.request(),
            printer,
            unary=self._unary,
            timeout=self._timeout,
            token=self._token,
        )
        try:
            cancelled = await _interruptible(asking)
        except grpc.aio.AioRpcError as error:
            click.secho(explained(error), fg="red")
            self._talk.back_to(before)
            return None
        except IncompleteError as error:
            click.secho(str(error), fg="red")
            self._talk.back_to(before)
            return None
        if not cancelled:
            message = printer.message()
            self._talk.answered(message)
            return message
        partial = printer.text
        if partial:
            self._talk.answered(msg.AssistantMessage(text=partial))
        else:
            self._talk.back_to(before)
        click.secho(f"(cancelled; {'what came is kept' if partial else 'nothing came'})", dim=True)
        return None

    async def _results(self, answer: msg.AssistantMessage) -> bool:
        """Let the person be the tools; False: they would rather not."""
        for call in answer.tool_calls:
            try:
                text = await self._session.prompt_async(f"result of {visible(call.name)}: ", handle_sigint=False)
            except (KeyboardInterrupt, EOFError):
                return False
            self._talk.tool_result(call, text.strip() or "{}")
        return True

    def _help(self, rest: str) -> str:
        del rest
        return _HELP

    def _system(self, rest: str) -> str:
        self._talk.set_system(rest)
        return "rules set" if rest else "no rules"

    def _model(self, rest: str) -> str:
        self._talk.set_model(rest)
        return f"asking {rest} from now on"

    async def _models(self, rest: str) -> str:
        del rest
        found = await stubs.ChatServiceStub(self._channel).ListModels(
            self._talk.models_request(), timeout=self._timeout, metadata=token_metadata(self._token)
        )
        return "\n".join(f"  {visible(model.id)}" for model in found.models) or "the endpoint lists none"

    def _tools(self, rest: str) -> str:
        names = self._talk.set_tools(_path(rest))
        return f"tools: {', '.join(names)}" if names else "no tools"

    def _image(self, rest: str) -> str:
        self._talk.attach(_path(rest))
        return f"{self._talk.images} image{'s' if self._talk.images > 1 else ''} with the next message"

    def _save(self, rest: str) -> str:
        self._talk.save(_path(rest))
        return f"saved: {rest}"

    def _toggle_raw(self, rest: str) -> str:
        del rest
        self._raw = not self._raw
        return "frames as JSON" if self._raw else "text"

    def _new(self, rest: str) -> str:
        del rest
        self._talk.back_to(0)
        return "forgotten"


def _path(typed: str) -> str:
    """A file's name as a shell would read it: quotes and backslashes are for blanks."""
    with suppress(ValueError):
        words = shlex.split(typed)
        if len(words) == 1:
            return words[0]
    return typed


async def _interruptible(asking: Coroutine[object, object, None]) -> bool:
    """Do it until it ends or Ctrl-C is pressed; True: that was pressed."""
    task = asyncio.ensure_future(asking)
    loop = asyncio.get_running_loop()
    pressed = False

    def cancel() -> None:
        nonlocal pressed
        pressed = True
        task.cancel()

    loop.add_signal_handler(signal.SIGINT, cancel)
    try:
        await task
    except asyncio.CancelledError:
        if not pressed:
            raise
    finally:
        loop.remove_signal_handler(signal.SIGINT)
    return pressed


def _keys() -> KeyBindings:
    """Enter sends, unless the line ends in a backslash; Alt-Enter goes on in the next line."""
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.text_before_cursor.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


def _history() -> History:
    """What was typed in earlier conversations, readable by its person only; in memory where no file can be had."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    file = state / "integration-api" / "chat_history"
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(file))
