"""`integration-api health`: asks the standard health service, for container checks.

Rule: it loads grpc and the health messages only, since it runs every few seconds.
"""

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from integration_api.commands.connection import Connection, connection_options


@click.command(
    epilog="\b\nExample:\n  integration-api health --address 127.0.0.1:9004 --service integration_api.v1.ChatService"
)
@connection_options
@click.option("--service", default="", help="The gRPC service that is asked about; empty: the server as a whole.")
@click.option(
    "--timeout", default=3.0, show_default=True, type=click.FloatRange(min=0.01), help="Longest wait, in seconds."
)
def command(connection: Connection, service: str, timeout: float) -> None:
    """Exit with 0 when the service is SERVING, else with 1."""
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


def _reason(error: grpc.RpcError, address: str, service: str) -> str:
    code = error.code()
    if code is grpc.StatusCode.NOT_FOUND:
        return f"the server at {address} has no service {service!r}"
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return f"what answers at {address} has no health service"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"no answer from {address} in time"
    return f"no service answers at {address} ({code.name})"
