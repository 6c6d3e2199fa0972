"""`integration-api providers`: the providers that a service knows by name.

Rule: it asks the service, whose operator may have added some. Where none was named and none answers, it shows those
that every service has, and says so.
"""

import json
from collections.abc import Iterable, Sequence

import click
import grpc

from caller.provider_table import PROVIDERS
from caller.providers import Provider
from integration_api.commands.connection import Connection, connection_options, token_metadata, token_option
from integration_api.commands.failures import explained
from integration_api.commands.loop import run
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import chat_service_pb2_grpc as stubs

_HEAD = ("provider", "compatibility", "base URL", "documentation")
_NO_URL = "(the credential's baseUrl)"
_SECONDS = 5.0
_EXAMPLES = """\b
Examples:
  integration-api providers
  integration-api chat --provider groq --key env:GROQ_API_KEY --model llama-3.1-8b-instant hi
"""


@click.command(epilog=_EXAMPLES)
@connection_options
@token_option
@click.option("--json", "raw", is_flag=True, help="Print them as JSON.")
@click.pass_context
def command(context: click.Context, /, *, connection: Connection, token: str, raw: bool) -> None:
    """List the providers that can be named instead of a base URL: their credentials need a key only."""
    try:
        rows = run(_listed(connection, token))
    except grpc.aio.AioRpcError as error:
        if context.params["address"] or error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise click.ClickException(explained(error)) from None
        click.echo("No service answers here; these are the providers that each knows.\n", err=True)
        rows = [_row(row) for row in sorted(PROVIDERS.values(), key=lambda row: row.id)]
    if raw:
        click.echo(json.dumps({"providers": [dict(zip(_FIELDS, row, strict=True)) for row in rows]}, indent=2))
        return
    for line in _table([_HEAD, *((row[0], row[2], row[1] or _NO_URL, row[3]) for row in rows)]):
        click.echo(line)


# As the contract's JSON names them.
_FIELDS = ("id", "baseUrl", "compatibility", "documentationUrl")
_Row = tuple[str, str, str, str]


async def _listed(connection: Connection, token: str) -> list[_Row]:
    async with connection.aio_channel() as channel:
        stub = stubs.ChatServiceStub(channel)
        found = await stub.ListProviders(pb.ListProvidersRequest(), timeout=_SECONDS, metadata=token_metadata(token))
    return [(row.id, row.base_url, row.compatibility, row.documentation_url) for row in found.providers]


def _row(row: Provider) -> _Row:
    return row.id, row.defaults.base_url, row.defaults.api.value, row.documentation_url


def _table(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
