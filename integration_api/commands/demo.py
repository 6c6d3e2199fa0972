"""`integration-api demo`: the service and the sandbox in one process, and three calls over real gRPC.

Rule: nothing is pretended. It builds the very server that `serve` runs and asks it as `chat` does.
"""

import click
import grpc

from caller.json_types import JsonObject
from integration_api import log
from integration_api.commands.asking import ask
from integration_api.commands.chat import build_request
from integration_api.commands.connection import Connection
from integration_api.commands.failures import explained
from integration_api.commands.loop import run
from integration_api.commands.printing import IncompleteError, Printer
from integration_api.commands.program import program
from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings

_WEATHER: JsonObject = {
    "name": "weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
# What is shown, the rpc is unary, the sandbox's script, what is asked.
_CALLS = (
    ("Chat: one whole answer", True, "echo", "Hello from the sandbox, said back in one piece."),
    (
        "StreamChat: the answer as it is generated",
        False,
        "echo:gap=60ms",
        "These words arrive one by one, as a model speaks.",
    ),
    ("StreamChat: reasoning, then the answer", False, "reasoning:gap=30ms", "Which is larger, 9.11 or 9.9?"),
    ("StreamChat: the model calls a tool", False, "tool-call:gap=20ms", "What is the weather in Rome?"),
)
_NEXT = """
Next, in two terminals (`{program} sandbox --help` lists the models, which are scripts):

  {program} serve --sandbox
  {program} chat --base-url http://127.0.0.1:8000/v1 --model echo:gap=50ms

With an endpoint of your own:

  {program} chat --base-url https://llm.example.com/v1 --key env:LLM_KEY --model NAME
"""


@click.command(epilog="\b\nExample:\n  integration-api demo")
def command() -> None:
    """Show tokens stream over gRPC, with no model, no key and nothing to configure."""
    log.configure("warning", "console")
    try:
        run(_demo())
    except grpc.aio.AioRpcError as error:
        raise click.ClickException(explained(error)) from None
    except (IncompleteError, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(_NEXT.format(program=program()))


async def _demo() -> None:
    settings = Settings(port=0, shutdown_grace=2.0)
    async with Sandbox() as sandbox, Server(settings) as server:
        service = Connection(f"{settings.host}:{server.port}")
        click.echo(f"The service listens on {service.address}, the sandbox on {sandbox.url}.")
        async with service.aio_channel() as channel:
            for title, unary, model, message in _CALLS:
                click.secho(f"\n{title}", bold=True)
                request = build_request(
                    credential={"value": {"apiCompatibility": "openai_compatible", "baseUrl": f"{sandbox.url}/v1"}},
                    parameters={"model.name": model},
                    tools=[_WEATHER] if model.startswith("tool-call") else [],
                    message=message,
                )
                await ask(channel, request, Printer(aside_on_stderr=False), unary=unary, timeout=30)
