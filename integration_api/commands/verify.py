"""`integration-api verify` and `models`: what a running service finds of an endpoint (VerifyCredential, ListModels).

Rule: a real client, as `chat` is: options to one request, an answer to lines. What is checked is the service's.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import click
import grpc
from google.protobuf import json_format

from caller.json_types import JsonObject
from caller.verification import Check
from integration_api.commands.check_report import Report
from integration_api.commands.connection import Connection, connection_options, token_metadata, token_option
from integration_api.commands.endpoint import endpoint_options
from integration_api.commands.failures import explained
from integration_api.commands.loop import run
from integration_api.commands.printing import visible
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import chat_service_pb2_grpc as stubs

_Answer = TypeVar("_Answer")
_VERIFY = """\b
Examples:
  integration-api verify --base-url http://127.0.0.1:8000/v1 --model assistant
  integration-api verify --credential billing --model gpt-4o --check stream --check tools
"""
_MODELS = """\b
Examples:
  integration-api models --base-url http://127.0.0.1:8000/v1
  integration-api models --provider groq --key env:GROQ_API_KEY
"""


_Command = TypeVar("_Command", bound=Callable[..., object])


def _asking_options(function: _Command) -> _Command:
    """What both commands want to know beside the endpoint."""
    decorated: Any = function
    for option in (
        click.option("--json", "raw", is_flag=True, help="Print the result as JSON."),
        click.option(
            "--timeout", default=60.0, show_default=True, type=click.FloatRange(min=0.001), help="In seconds."
        ),
        token_option,
    ):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return] # click's decorators keep the signature


@click.command(epilog=_VERIFY)
@connection_options
@endpoint_options
@_asking_options
@click.option("--model", default="", help="The model that one small chat is tried with.")
@click.option("--check", "checks", multiple=True, help="A further check by its id, any number of them, or `all`.")
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    connection: Connection,
    provider: str,
    credential: JsonObject,
    model: str,
    checks: Sequence[str],
    token: str,
    timeout: float,
    raw: bool,
) -> None:
    """Ask a running service whether a credential is usable (VerifyCredential).

    Ends with 1 where a check failed. `check` looks into an endpoint without a service between.
    """
    asked: JsonObject = {"providerId": provider, "credential": credential, "model": model, "checks": list(checks)}
    request = json_format.ParseDict(asked, pb.VerifyCredentialRequest())
    answer = _called(connection, token, timeout, lambda stub, **how: stub.VerifyCredential(request, **how))
    report = Report(raw=raw)
    report.begin(answer.compatibility, answer.endpoint_url, [check.id for check in answer.checks])
    for check in answer.checks:
        status = pb.CheckStatus.Name(check.status).removeprefix("CHECK_STATUS_")
        took = check.took.ToTimedelta().total_seconds()
        report.check(Check(check.id, status, check.observed, check.remedy, took))
    context.exit(0 if report.end(answer.endpoint_url) else 1)


@click.command(epilog=_MODELS)
@connection_options
@endpoint_options
@_asking_options
def models(
    *, connection: Connection, provider: str, credential: JsonObject, token: str, timeout: float, raw: bool
) -> None:
    """List the models of an endpoint, as a running service sees them (ListModels)."""
    asked: JsonObject = {"providerId": provider, "credential": credential}
    request = json_format.ParseDict(asked, pb.ListModelsRequest())
    answer = _called(connection, token, timeout, lambda stub, **how: stub.ListModels(request, **how))
    if raw:
        found = json_format.MessageToDict(answer)
        click.echo(json.dumps({"models": found.get("models", [])}, indent=2, ensure_ascii=False))
        return
    for model in answer.models:
        click.echo(f"{visible(model.id)}  {click.style(visible(model.owned_by), dim=True)}".rstrip())


def _called(connection: Connection, token: str, seconds: float, call: Callable[..., Awaitable[_Answer]]) -> _Answer:
    """The service's answer. Ends the command where it has none."""
    metadata = token_metadata(token)

    async def called() -> _Answer:
        async with connection.aio_channel() as channel:
            return await call(stubs.ChatServiceStub(channel), timeout=seconds, metadata=metadata)

    try:
        return run(called())
    except grpc.aio.AioRpcError as error:
        raise click.ClickException(explained(error)) from None
