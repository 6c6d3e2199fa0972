"""`integration-api chat`: asks a service over gRPC and prints the tokens as they come.

Rule: options to one `ChatRequest`; asking, showing and explaining stand in their own modules. A real client: it
speaks the contract and knows nothing of the domain.
"""

import sys
from collections.abc import Mapping, Sequence

import click
import grpc
from google.protobuf import json_format

from caller.json_types import JsonObject, JsonValue
from integration_api.commands.asking import ask
from integration_api.commands.connection import Connection, connection_options, token_option
from integration_api.commands.endpoint import endpoint_options
from integration_api.commands.failures import explained
from integration_api.commands.loop import run
from integration_api.commands.printing import IncompleteError, Printer
from integration_api.commands.talk import Talk
from integration_api.commands.values import OBJECT, PARAMETER
from integration_api.v1 import chat_service_pb2 as pb

_EXAMPLES = """\b
Examples:
  integration-api chat --base-url http://127.0.0.1:8000/v1 --model tokens:n=20,gap=100ms hi
  integration-api chat --base-url https://llm.example.com/v1 --key env:LLM_KEY \\
      --model llama3.1 --param temperature=0.4 --system 'Be brief.' 'Why is the sky blue?'
  integration-api chat --provider groq --key env:GROQ_API_KEY --model llama-3.1-8b-instant hi
"""


@click.command(epilog=_EXAMPLES)
@connection_options
@endpoint_options
@click.option("--model", default="", help="The model's name; `integration-api models` lists those of an endpoint.")
@click.option(
    "--param",
    "params",
    multiple=True,
    type=PARAMETER,
    help="A parameter of the model, any number of them: temperature=0.4. JSON is read as JSON, all else is text.",
)
@click.option("--parameters", default="{}", type=OBJECT, help="Parameters as a JSON object, or @FILE; --param wins.")
@click.option(
    "--tool",
    "tools",
    multiple=True,
    type=OBJECT,
    help='A tool the model may call, as JSON or @FILE: {"name": …, "description": …, "parameters": {…}}.',
)
@click.option("--system", default="", help="Rules for the whole conversation.")
@click.option("--unary", is_flag=True, help="Ask for the whole answer at once (Chat instead of StreamChat).")
@click.option("--timeout", type=click.FloatRange(min=0.001), help="The call's deadline, in seconds.")
@token_option
@click.option("--json", "raw", is_flag=True, help="Print every message of the service as one line of JSON.")
@click.argument("message", required=False)
def command(
    *,
    connection: Connection,
    provider: str,
    credential: JsonObject,
    model: str,
    params: Sequence[tuple[str, JsonValue]],
    parameters: Mapping[str, JsonValue],
    tools: Sequence[JsonObject],
    system: str,
    unary: bool,
    timeout: float | None,
    token: str,
    raw: bool,
    message: str | None,
) -> None:
    """Ask a chat endpoint through the service, and print the answer as it comes.

    MESSAGE is what the user says; without it, standard input is, and at a terminal a conversation begins. The answer
    goes to standard output; reasoning, usage and the time to the first output go to standard error. Ends with 1 when
    the call fails.
    """
    if not model:
        raise click.UsageError("say which model with --model; `integration-api models` with these options lists them")
    interactive = message is None and sys.stdin.isatty() and sys.stdout.isatty()
    request = build_request(
        provider=provider,
        credential=credential,
        parameters={**parameters, **dict(params), "model.name": model},
        tools=tools,
        system="" if interactive else system,
        message="" if interactive else _from_stdin() if message is None else message,
    )
    if interactive:
        run(_talk(connection, request, system, unary=unary, timeout=timeout, token=token, raw=raw))
    else:
        run(_chat(connection, request, Printer(raw=raw), unary=unary, timeout=timeout, token=token))


def build_request(
    *,
    credential: JsonObject,
    parameters: JsonObject,
    message: str,
    provider: str = "custom-llm",
    tools: Sequence[JsonObject] = (),
    system: str = "",
) -> pb.ChatRequest:
    """The request in the JSON of the contract (so is `credential`), read into its message.

    Raises:
        click.UsageError: a tool is not of the contract's shape.
    """
    user: JsonObject = {"user": {"content": [{"text": message}]}}
    asked: JsonObject = {
        "providerId": provider,
        "credential": credential,
        "messages": [{"system": {"text": system}}, user] if system else [user],
        "modelParameters": parameters,
        "tools": list(tools),
    }
    try:
        return json_format.ParseDict(asked, pb.ChatRequest())
    except json_format.ParseError as error:
        # Options can be wrong in tools only, and the text of other errors could hold a secret.
        detail = str(error) if "tools" in str(error) else "a value has a form that a request cannot hold"
        raise click.UsageError(detail) from None


def _from_stdin() -> str:
    if sys.stdin.isatty():
        raise click.UsageError("say what to ask: as the MESSAGE, or on standard input")
    return sys.stdin.read().strip()


async def _talk(
    connection: Connection,
    first: pb.ChatRequest,
    system: str,
    *,
    unary: bool,
    timeout: float | None,  # noqa: ASYNC109 -- a gRPC deadline, which the server sees too
    token: str,
    raw: bool,
) -> None:
    from integration_api.commands.repl import Repl  # noqa: PLC0415 -- slow to load, and for terminals only

    first.ClearField("messages")
    async with connection.aio_channel() as channel:
        await Repl(Talk(first, system), channel, unary=unary, timeout=timeout, token=token, raw=raw).run()


async def _chat(
    connection: Connection,
    request: pb.ChatRequest,
    printer: Printer,
    *,
    unary: bool,
    timeout: float | None,  # noqa: ASYNC109 -- a gRPC deadline, which the server sees too
    token: str,
) -> None:
    async with connection.aio_channel() as channel:
        try:
            await ask(channel, request, printer, unary=unary, timeout=timeout, token=token)
        except grpc.aio.AioRpcError as error:
            raise click.ClickException(explained(error)) from None
        except IncompleteError as error:
            raise click.ClickException(str(error)) from None
