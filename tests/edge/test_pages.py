"""What the pages show of calls can be pasted: blocks of grpcurl and of Python, against a service of ours."""

import asyncio
import json
import os
import re
import sys
import textwrap
from pathlib import Path

import pytest
from google.protobuf.json_format import ParseDict

from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.edge.processes import ROOT
from tests.patience import within

PAGES = ("getting-started", "clients")


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / f"{page}.md").read_text("utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


SHELL = [block for page in PAGES for block in blocks(page, "sh") if block.startswith("grpcurl ")]
REQUESTS = [
    block
    for page in ("contract", "providers", "reliability")
    for block in blocks(page, "json")
    if '"messages"' in block
]
PYTHON = [block for page in PAGES for block in blocks(page, "python")]


def here(block: str, server: Server, sandbox: Sandbox) -> str:
    """The block with this test's addresses in the place of the page's, and a model that the sandbox has."""
    block = re.sub(r"http://(127\.0\.0\.1|localhost):8000", sandbox.url, block).replace("gap=100ms", "gap=1ms")
    return block.replace("127.0.0.1:9004", f"127.0.0.1:{server.port}").replace("llama3.1", "echo")


async def run(*command: str) -> str:
    """What it printed; it has to end well."""
    folders = f"{ROOT / '.cache/bin'}:{Path.home() / 'go/bin'}:{os.environ.get('PATH', os.defpath)}"
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env={**os.environ, "PATH": folders, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(within(20)):
        printed, _ = await process.communicate()
    assert process.returncode == 0, printed
    return printed.decode()


@pytest.mark.parametrize("number", range(len(SHELL)))
async def test_calls_of_grpcurl_can_be_pasted(number: int, server: Server, sandbox: Sandbox) -> None:
    """Each lists the service, and then has an answer of the endpoint."""
    try:
        await run("grpcurl", "--version")
    except FileNotFoundError:
        if os.environ.get("REQUIRE_GRPCURL"):
            raise
        pytest.skip("no grpcurl here; `make grpcurl` installs it")
    printed = await run("bash", "-ec", here(SHELL[number], server, sandbox))

    assert "integration_api.v1.ChatService" in printed
    assert '"finishReason": "FINISH_REASON_STOP"' in printed


@pytest.mark.parametrize("number", range(len(PYTHON)))
async def test_the_python_of_the_pages_runs(number: int, server: Server, sandbox: Sandbox) -> None:
    """As it stands, or inside of a coroutine; the answer is printed, and no error."""
    block = here(PYTHON[number], server, sandbox)
    if "asyncio.run" not in block:
        block = f"import asyncio\nasync def main():\n{textwrap.indent(block, '    ')}\nasyncio.run(main())"
    printed = await run(sys.executable, "-c", block)

    assert printed.strip().lower() in {"hello", "say hello"}


@pytest.mark.parametrize("number", range(len(REQUESTS)))
def test_requests_of_the_pages_are_requests(number: int) -> None:
    """Every field that they name is one of the contract."""
    request = ParseDict(json.loads(REQUESTS[number]), pb.ChatRequest())

    assert request.provider_id
    assert request.messages


async def test_the_conversation_with_a_tool_is_answered(stub: ChatServiceStub, sandbox: Sandbox) -> None:
    """The first request of docs/contract.md ends in a call of the tool, the second in an answer."""
    first, second = (
        json.loads(block.replace("http://127.0.0.1:8000", sandbox.url)) for block in blocks("contract", "json")
    )
    called = await stub.Chat(ParseDict(first, pb.ChatRequest()))
    answered = await stub.Chat(ParseDict(second, pb.ChatRequest()))

    assert [call.name for call in called.choices[0].message.tool_calls] == ["weather"]
    assert answered.choices[0].message.text == "The tool says: 21 °C"


def test_the_pages_have_such_blocks() -> None:
    """The patterns above find what they look for."""
    assert (len(SHELL), len(PYTHON), len(REQUESTS)) == (2, 2, 4)
