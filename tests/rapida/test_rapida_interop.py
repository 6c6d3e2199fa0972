"""The contract against those who made it: the platform's SDK, in processes of its own."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings

_HERE = Path(__file__).parent
_SECRET = "a secret of this test, shared with nobody"


async def program(path: Path, *arguments: str) -> str:
    """What a program prints; it must end well."""
    root = str(_HERE.parent.parent)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        str(path),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    )
    out, err = await asyncio.wait_for(process.communicate(), 50)
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.fixture
async def contracts() -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    theirs, ours = await asyncio.gather(
        program(_HERE / "descriptors.py", "rapida"), program(_HERE / "descriptors.py", "ours")
    )
    return json.loads(theirs), json.loads(ours)


async def test_our_contract_is_theirs_field_by_field(contracts: tuple[Mapping[str, Any], Mapping[str, Any]]) -> None:
    """Names, numbers, types, cardinality and presence of every field, and all methods, agree with the SDK's."""
    theirs, ours = contracts

    assert len(theirs["messages"]) > 30
    assert ours["service"] == theirs["service"] == "integration_api.UnifiedProviderService"
    assert ours["methods"] == theirs["methods"]
    assert set(ours["messages"]) == set(theirs["messages"])
    for name, fields in theirs["messages"].items():
        assert ours["messages"][name] == fields, name


class TestWithThePlatformsClient:
    """A server with the platform's secret."""

    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(port=0, shutdown_grace=2.0, rapida_jwt_secret=_SECRET)

    async def test_the_platforms_own_client_is_served(self, sandbox: Sandbox, server: Server) -> None:
        """Chat, StreamChat with a tool round and a barge-in, VerifyCredential, with both kinds of tokens: every field
        as its client expects."""
        arguments = ("--address", f"127.0.0.1:{server.port}", "--endpoint", sandbox.url, "--secret", _SECRET)
        said = await program(_HERE.parent.parent / "acceptance/interop.py", *arguments)

        done = [tuple(line.split()[1:]) for line in said.splitlines() if line.startswith("ok")]
        steps = ["chat", "stream_chat", "unauthenticated", "verify_credential", "no_vectors"]
        assert done == [(step, kind) for kind in ("project_token", "service_token") for step in steps]
        sent = sandbox.requests[0].json()
        assert sent["model"] == "echo"
        assert (sent["temperature"], sent["max_tokens"], sent["top_k"]) == (0.5, 100, 5)
        assert sandbox.requests[0].headers["Authorization"] == "Bearer interop"
