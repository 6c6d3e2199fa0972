"""The program of `make live`: that its judges find faults, and that its exit code tells of them."""

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import json_format

from acceptance.live.judging import Wrong, same, text_answer, tool_answer
from acceptance.live.targets import Target, Trait, litellm_targets, llama_targets
from integration_api.sandbox import Sandbox
from integration_api.v1 import chat_service_pb2 as pb

ROOT = Path(__file__).parents[1]
TARGET = Target(
    server="s", shape="openai_compatible", base_url="http://h", model="m", says={"chat": "Paris"}, steady=True
)
USAGE = {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5, "source": "USAGE_SOURCE_REPORTED"}


def answer(message: dict[str, object], finish: str = "STOP", **changes: object) -> pb.ChatResponse:
    whole = {"model": "m", "usage": USAGE, "choices": [{"message": message, "finishReason": f"FINISH_REASON_{finish}"}]}
    return json_format.ParseDict({**whole, **changes}, pb.ChatResponse())


def calling(arguments: str, name: str = "get_weather") -> dict[str, object]:
    return {"toolCalls": [{"id": "c", "name": name, "arguments": arguments}]}


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        (answer({"text": " \n"}), "no text"),
        (answer({"text": "Rome"}), "another text"),
        (answer({"text": "Paris"}, "LENGTH"), "ended otherwise"),
        (answer({"text": "Paris"}, model=""), "do not name the model"),
        (answer({"text": "Paris"}, usage={}), "USAGE_SOURCE_UNSPECIFIED"),
        (answer({"text": "Paris"}, usage={**USAGE, "outputTokens": 0}), "tokens in, out, total"),
        (answer({"text": "Paris"}, choices=[]), "0 choices"),
    ],
)
def test_a_text_answer_with_a_fault_is_wrong(found: pb.ChatResponse, fault: str) -> None:
    """Each fault of an answer is told, and an answer without one is let through."""
    text_answer(answer({"text": "It is Paris."}), TARGET, "chat")

    with pytest.raises(Wrong, match=fault):
        text_answer(found, TARGET, "chat")


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        (answer({"text": "Paris"}, "TOOL_CALLS"), "0 tool calls"),
        (answer(calling('{"city": "Paris"}'), "STOP"), "ended otherwise"),
        (answer(calling('{"city": "Pa'), "TOOL_CALLS"), "no JSON"),
        (answer(calling("{}"), "TOOL_CALLS"), "the arguments are"),
        (answer(calling("[]"), "TOOL_CALLS"), "the arguments are"),
        (answer(calling('{"city": "Paris"}', "other"), "TOOL_CALLS"), "the call is"),
    ],
)
def test_a_tool_call_with_a_fault_is_wrong(found: pb.ChatResponse, fault: str) -> None:
    """Each fault of a tool call is told, and a good call is let through."""
    tool_answer(answer(calling('{"city": "Paris"}'), "TOOL_CALLS"), TARGET)

    with pytest.raises(Wrong, match=fault):
        tool_answer(found, TARGET)


def test_a_stream_that_says_something_else_than_the_whole_answer_is_wrong() -> None:
    """Where a server is steady, both answers must be one; where it is not, the difference is only told."""
    one, other = answer({"text": "Paris"}), answer({"text": "Paris!"})

    assert same(one, one, TARGET) == " as by Chat"
    assert "otherwise" in same(one, other, replace(TARGET, steady=False))
    with pytest.raises(Wrong, match="'Paris' streamed, 'Paris!' whole"):
        same(one, other, TARGET)


def test_a_known_deviation_that_is_gone_is_wrong() -> None:
    """What a server is known for is expected of it, so that the knowledge cannot grow old unseen."""
    nameless = replace(TARGET, traits=frozenset({Trait.NAMELESS}))

    text_answer(answer({"text": "Paris"}, model=""), nameless, "chat")
    with pytest.raises(Wrong, match="no longer"):
        text_answer(answer({"text": "Paris"}), nameless, "chat")


def test_every_shape_has_its_targets() -> None:
    """llama.cpp is asked in the four shapes that it has, LiteLLM in all five."""
    assert len({target.shape for target in llama_targets("http://h")}) == 4
    assert len({target.shape for target in litellm_targets("http://h", "http://b")}) == 5


@pytest.mark.parametrize(
    ("model", "checks", "verdict"),
    [
        ("echo", "models,verify,chat,stream,no-route,cancel", (0, "12 passed, 0 failed")),
        ("echo", "tool", (1, "FAILED server openai_compatible tool: 0 tool calls")),
        ("html", "chat", (1, "ENDPOINT_PROTOCOL_ERROR")),
    ],
)
async def test_the_program_tells_a_good_server_from_a_bad_one(
    sandbox: Sandbox, tmp_path: Path, model: str, checks: str, verdict: tuple[int, str]
) -> None:
    """With LIVE_BASE_URL it installs nothing, asks that server in the shapes given, and exits with the verdict."""
    code, said = verdict
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("INTEGRATION_API_", "LIVE_"))},
        "LIVE_CACHE": str(tmp_path),
        "LIVE_BASE_URL": f"{sandbox.url}/v1",
        "LIVE_MODEL": model,
        "LIVE_CHECKS": checks,
        "LIVE_COMPATIBILITY": "openai_compatible,openai_responses",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "acceptance.live", cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    printed, _ = await process.communicate()

    assert said in printed.decode(), printed.decode()
    assert process.returncode == code
    assert not (tmp_path / "venvs").exists()


async def test_ctrl_c_stops_everything(sandbox: Sandbox, tmp_path: Path) -> None:
    """A signal in the middle of a check ends the service as well, and the exit code is 1."""
    env = {**os.environ, "LIVE_CACHE": str(tmp_path), "LIVE_BASE_URL": sandbox.url, "LIVE_MODEL": "silence:for=60s"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "acceptance.live", "--checks", "chat"),
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    await process.stdout.readuntil(b"server openai_compatible")
    process.send_signal(signal.SIGINT)
    printed, _ = await process.communicate()

    assert "all that was started is stopped" in printed.decode()
    assert process.returncode == 1
    assert "server.stopped" in (tmp_path / "logs" / "live-service.log").read_text()
