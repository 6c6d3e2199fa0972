"""`integration-api health`: asks the admin port, or the standard health service, for container checks.

Rule: it loads grpc and the health messages only, since it runs every few seconds.
"""

from http.client import HTTPConnection, HTTPException
from typing import Any

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from integration_api.commands.connection import Connection, connection_options
from integration_api.commands.unreachable import remedy_when_unreachable
from integration_api.settings import Settings, env_name


@click.command(
    epilog="\b\nExample:\n  integration-api health --address 127.0.0.1:9004 --service integration_api.v1.ChatService"
)
@connection_options
@click.option(
    "--admin-host",
    default=Settings().admin_host,
    show_default=True,
    envvar=env_name("admin_host"),
    show_envvar=True,
    help="Where the service's admin port listens.",
)
@click.option(
    "--admin-port",
    default=0,
    type=click.IntRange(0, 65535),
    envvar=env_name("admin_port"),
    show_envvar=True,
    help="The service's admin port: asked instead of gRPC where it is set, unless --address or --service is given.",
)
@click.option("--service", default="", help="The gRPC service that is asked about; empty: the server as a whole.")
@click.option(
    "--timeout", default=3.0, show_default=True, type=click.FloatRange(min=0.01), help="Longest wait, in seconds."
)
@click.pass_context
def command(context: click.Context, /, *, connection: Connection, service: str, timeout: float, **admin: Any) -> None:
    """Exit with 0 when the service is SERVING, else with 1."""
    if admin["admin_port"] and not service and context.params["address"] == "":
        click.echo(_ready(admin["admin_host"], admin["admin_port"], timeout))
        return
    with connection.channel() as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=service), timeout=timeout
            )
        except grpc.RpcError as error:
            raise click.ClickException(_reason(error, connection.address, service)) from None
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    if status != "SERVING":
        raise click.ClickException(status)
    click.echo(status)


def _ready(host: str, port: int, timeout: float) -> str:
    """What the admin port says. An address that stands for all of the machine's is asked on loopback."""
    admin = HTTPConnection({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port, timeout=timeout)  # noqa: S104 -- it is called, not listened on
    try:
        admin.request("GET", "/readyz")
        answer = admin.getresponse()
        status, text = answer.status, answer.read(64).decode("ascii", "replace").strip()
    except (OSError, HTTPException):
        raise click.ClickException(f"no admin port answers at {host}:{port}") from None
    finally:
        admin.close()
    if status != 200:
        raise click.ClickException(text)
    return text


def _reason(error: grpc.RpcError, address: str, service: str) -> str:
    code = error.code()
    if code is grpc.StatusCode.NOT_FOUND:
        return f"the server at {address} has no service {service!r}"
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return f"what answers at {address} has no health service"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"no answer from {address} in time"
    advice = remedy_when_unreachable(error.details() or "") if code is grpc.StatusCode.UNAVAILABLE else code.name
    return f"no service answers at {address}: {advice}"
