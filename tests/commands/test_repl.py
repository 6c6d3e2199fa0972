"""`chat` as a conversation, typed into a pseudo-terminal."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.edge.processes import Running
from tests.edge.terminal import Terminal

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
# The prompt, after whatever the line editor draws around it.
PROMPT = "\x1b[?2004h"


@contextmanager
def talking(server: Running, endpoint: str, home: Path, *options: str) -> Iterator[Terminal]:
    """A conversation whose first prompt is there."""
    args = ("chat", "--address", server.address, "--base-url", endpoint, *options)
    with Terminal(*args, home=home) as terminal:
        terminal.until("Ctrl-D ends")
        terminal.until(PROMPT)
        yield terminal


def said(terminal: Terminal, line: str) -> str:
    """Type a line; what is shown from there to the next prompt."""
    terminal.type(f"{line}\r")
    return terminal.until(PROMPT)


def test_answers_end_with_what_they_took(server: Running, endpoint: str, tmp_path: Path) -> None:
    """The answer, the time to the first token, tokens per second and usage; Ctrl-D ends it well."""
    with talking(server, endpoint, tmp_path, "--model", "echo:gap=40ms") as terminal:
        shown = said(terminal, "one two three four five")
        assert "one two three four five" in shown.partition("\n")[2]
        assert "first output" in shown
        assert "tokens/s" in shown
        assert "5 in" in shown
        terminal.type("\x04")
        assert terminal.ended() == 0


def test_the_conversation_is_kept_and_saved(server: Running, endpoint: str, tmp_path: Path) -> None:
    """Rules, several lines, another model, an image, and the file that holds them all but the credential."""
    image, talk = tmp_path / "a pixel.png", tmp_path / "talk.json"
    image.write_bytes(PIXEL)
    with talking(server, endpoint, tmp_path, "--model", "echo", "--key", "sk-canary-of-the-talk") as terminal:
        assert "rules set" in said(terminal, "/system Be brief.")
        terminal.type("first line\\\rsecond line\x1b\rthird line\r")
        terminal.until("third line")
        terminal.until("total")
        terminal.until(PROMPT)
        assert "echo" in said(terminal, "/models")
        assert "asking reasoning from now on" in said(terminal, "/model reasoning")
        assert "1 image with the next message" in said(terminal, f"/image '{image}'")
        assert "total" in said(terminal, "what is this?")
        assert "saved" in said(terminal, f"/save {talk}")
        assert "cannot write" in said(terminal, f"/save {talk}"), "a file is not overwritten"
    saved = json.loads(talk.read_text("utf-8"))
    system, user, assistant, asked, told = saved["messages"]
    assert system == {"system": {"text": "Be brief."}}
    assert user["user"]["content"] == [{"text": "first line\nsecond line\nthird line"}]
    assert "first line" in assistant["assistant"]["text"]
    assert asked["user"]["content"][0]["image"]["mediaType"] == "image/png"
    assert base64.b64decode(asked["user"]["content"][0]["image"]["data"]) == PIXEL
    assert told["assistant"]["reasoning"]
    assert saved["modelParameters"]["model.name"] == "reasoning"
    assert "canary" not in talk.read_text("utf-8")


def test_an_answer_is_cancelled_and_the_conversation_goes_on(server: Running, endpoint: str, tmp_path: Path) -> None:
    """What came is kept; what failed is forgotten, so that it can be said again."""
    talk = tmp_path / "talk.json"
    with talking(server, endpoint, tmp_path, "--model", "stall:after=2,for=60s") as terminal:
        terminal.type("alpha beta gamma\r")
        terminal.until("\r\n")
        terminal.until("alpha")
        terminal.interrupt()
        assert "what came is kept" in terminal.until(PROMPT)
        said(terminal, "/model stall:after=0,for=60s")
        terminal.type("nothing comes\r")
        terminal.until("⠙")  # the spinner turns
        terminal.interrupt()
        assert "nothing came" in terminal.until(PROMPT)
        said(terminal, "/model http-error:status=401")
        assert "ENDPOINT_UNAUTHENTICATED" in said(terminal, "who am I?")
        said(terminal, "/model echo")
        assert "still here" in said(terminal, "still here").partition("\n")[2]
        said(terminal, f"/save {talk}")
    messages = json.loads(talk.read_text("utf-8"))["messages"]
    assert [next(iter(message)) for message in messages] == ["user", "assistant", "user", "assistant"]
    assert messages[2]["user"]["content"] == [{"text": "still here"}]


def test_the_person_is_the_tool(server: Running, endpoint: str, tmp_path: Path) -> None:
    """Tools come from a file, in either form; a call is shown, its result asked for, and sent."""
    tools = tmp_path / "tools.json"
    weather = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
    tools.write_text(json.dumps([weather, {"type": "function", "function": {"name": "time"}}]))
    talk = tmp_path / "talk.json"
    with talking(server, endpoint, tmp_path, "--model", "tool-call") as terminal:
        assert "tools: weather, time" in said(terminal, f"/tools {tools}")
        terminal.type("What is the weather in Rome?\r")
        terminal.until("weather({")
        terminal.until("result of weather:")
        terminal.type("21 degrees\r")
        terminal.until("total")
        terminal.until(PROMPT)
        said(terminal, f"/save {talk}")
        assert "no tools" in said(terminal, "/tools -")
    results = [message["tool"] for message in json.loads(talk.read_text("utf-8"))["messages"] if "tool" in message]
    assert results[0]["content"] == [{"text": "21 degrees"}]


def test_frames_and_mistakes_are_shown(server: Running, endpoint: str, tmp_path: Path) -> None:
    """`/raw` shows frames as JSON; what cannot be done is said in words, and history outlives the conversation."""
    with talking(server, endpoint, tmp_path, "--model", "echo") as terminal:
        assert "frames as JSON" in said(terminal, "/raw")
        assert '{"textDelta"' in said(terminal, "bring me back")
        assert "/image PATH" in said(terminal, "/help")
        for line, words in (
            ("/nonsense", "no command /nonsense"),
            ("/tools /no/such", "cannot read /no/such: No such file"),
            ("/image notes.txt", "no ending of an image"),
            ("/model", "the model is echo"),
            ("/save", "say where to"),
        ):
            assert words in said(terminal, line)
        terminal.type("not to be sent\x03")
        terminal.until(PROMPT)
        assert "forgotten" in said(terminal, "/new")
        terminal.type("/quit\r")
        assert terminal.ended() == 0
    with talking(server, endpoint, tmp_path, "--model", "echo") as terminal:
        terminal.press_until("\x1b[A", "/")  # what was typed last were commands
