"""`integration-api serve`: one option for every field of `Settings`, the checks before the start, and the start.

Rule: it refuses what cannot work before anything listens, and says what to do; running is the server's.
"""

import asyncio
import os
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import click
import structlog

from caller.custom_llm.http.egress_policy import EgressPolicy
from caller.providers import NO_PROVIDERS
from caller.registry import nearest
from integration_api import log
from integration_api.admin import AdminPortError
from integration_api.auth.access import exposed, is_loopback, problem_of
from integration_api.auth.authenticator import is_authenticated_setup
from integration_api.commands.banner import banner
from integration_api.commands.loop import run
from integration_api.commands.setting_options import setting_options
from integration_api.files.provider_rows import read_providers
from integration_api.server import check_upstream, serve, transport_settings
from integration_api.settings import Settings, env_name, unknown_names
from integration_api.telemetry.audit import open_to_append
from integration_api.workers.count import worker_count
from integration_api.workers.supervisor import NoWorkerError, Supervisor

_EXPOSED = (
    "refusing to listen on {host}: it can be reached from other machines, and nothing says who may call. Set up"
    " authentication (--auth-tokens-file, --auth-jwt-key-file or --tls-client-ca-file), listen on loopback"
    f" (--host 127.0.0.1), or let every client in: --allow-anonymous, or {env_name('allow_anonymous')}=true."
)
# The trailers of an error share 4 KB.
_LONGEST_HELP_URL = 200


@click.command(
    epilog="\b\nExamples:\n  integration-api serve --sandbox"
    "\n  integration-api serve --port 9004 --log-format json --egress-policy public-only",
)
@setting_options()
@click.option("--sandbox", is_flag=True, help="Run the embedded chat endpoint beside it, for a first try.")
@click.option(
    "--sandbox-port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Where that listens on 127.0.0.1; 0 takes a free one.",
)
def command(*, sandbox: bool, sandbox_port: int, **values: Any) -> None:
    """Run the gRPC service until SIGTERM or SIGINT.

    Every setting is an option and an environment name; the option wins. Times are in seconds, sizes in bytes.
    """
    settings = Settings(**values)
    log.configure(settings.log_level, settings.log_format)
    problem = unusable(settings) or (_EXPOSED.format(host=settings.host) if exposed(settings) else "")
    if not problem and sandbox:
        problem = sandbox_problem(settings)
    if problem:
        raise click.UsageError(problem)
    for event, fields_of_it in doubtful(settings, os.environ):
        structlog.get_logger("integration_api.settings").warning(event, **fields_of_it)
    _raise_descriptor_limit()
    try:
        run(_serve(settings, sandbox_port if sandbox else None))
    except OSError as error:
        flag = "--admin-port" if isinstance(error, AdminPortError) else "--port"
        raise click.ClickException(f"{error}. Another service may use the port: choose one with {flag}.") from None
    except ValueError as error:  # what only the start finds out: OTEL_* variables, files that changed meanwhile
        raise click.UsageError(str(error)) from None
    except asyncio.CancelledError:
        raise click.ClickException("ended at once by a second signal; running calls were cut") from None


def sandbox_problem(settings: Settings) -> str:
    """Why the sandbox could not be called; empty where it can."""
    if settings.egress_policy == "public-only":
        return "--sandbox listens on loopback, where --egress-policy public-only lets nobody call"
    return ""


async def _serve(settings: Settings, sandbox_port: int | None) -> None:
    """The service, and beside it the sandbox where it has a port.

    Raises:
        OSError, ValueError: see `serve`.
        click.ClickException: the sandbox's port is taken.
    """
    if sandbox_port is None:
        await _run(settings, partial(_greet, settings, ""))
        return
    async with AsyncExitStack() as stack:
        from integration_api.sandbox import Sandbox  # noqa: PLC0415 -- a tenth of the start, for a first try only

        sandbox = Sandbox(port=sandbox_port, remember=0)
        try:
            await stack.enter_async_context(sandbox)
        except OSError:
            taken = f"the sandbox cannot listen on 127.0.0.1 port {sandbox_port}: choose another with --sandbox-port"
            raise click.ClickException(taken) from None
        structlog.get_logger("integration_api.sandbox").info("sandbox.started", url=sandbox.url)
        await _run(settings, partial(_greet, settings, sandbox.url))


async def _run(settings: Settings, on_started: Callable[[int], None]) -> None:
    """One process, or a supervisor of several.

    Raises:
        OSError, ValueError: see `serve`.
        click.ClickException: no worker comes up.
    """
    workers = worker_count(settings.workers)
    if workers == 1:
        await serve(settings, on_started)
        return
    try:
        await Supervisor(settings, workers, on_started).run()
    except NoWorkerError as error:
        raise click.ClickException(str(error)) from None


def _greet(settings: Settings, sandbox_url: str, port: int) -> None:
    """The banner, unless machines read what is written, or only warnings are wanted."""
    if settings.log_format == "console" and settings.log_level in {"debug", "info"}:
        click.echo(f"\n{banner(settings, port, sandbox_url)}\n", err=True)


def unusable(settings: Settings) -> str:
    """What is wrong with settings that can be read, but not used; empty when nothing is. Repeats no secret."""
    try:
        transport_settings(settings)
        check_upstream(settings)
        worker_count(settings.workers)
    except ValueError as error:
        return str(error)
    if not 0 < len(settings.error_docs_url) <= _LONGEST_HELP_URL:
        return f"error_docs_url must have 1 to {_LONGEST_HELP_URL} characters: it stands in every error"
    if settings.endpoint_ca_file:
        try:
            ssl.create_default_context(cafile=settings.endpoint_ca_file)
        except OSError as error:  # ssl.SSLError is one
            return (
                f"cannot read certificates from endpoint_ca_file {settings.endpoint_ca_file}: {error.strerror or error}"
            )
    if settings.audit_file:
        try:
            os.close(open_to_append(settings.audit_file))
        except OSError as error:
            return f"cannot write audit_file {settings.audit_file}: {error.strerror or error}"
    return _proxy_problem(settings.endpoint_proxy) or problem_of(settings)


def _proxy_problem(url: str) -> str:
    if not url:
        return ""
    malformed = "endpoint_proxy must be a URL such as http://proxy.internal:3128"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", 80 if parts.port is None else parts.port
    except ValueError:
        return malformed
    if parts.scheme != "http" or not host or not port:
        return malformed
    try:
        EgressPolicy.only(host, port)
    except ValueError:
        return f"endpoint_proxy leads to {host}, which nothing may call: name the address of a proxy"
    return ""


def doubtful(settings: Settings, environ: Mapping[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
    """What works, but is hardly meant: events and fields of warnings. The settings are usable; reads a file."""
    if settings.allow_anonymous and not is_loopback(settings.host) and not is_authenticated_setup(settings):
        advice = "everybody who reaches this address may call: set up authentication, or see to it that few do"
        yield "settings.open_to_all", {"host": settings.host, "advice": advice}
    if settings.rapida_upstream and not is_authenticated_setup(settings):
        advice = "nothing is passed on: only known clients' calls are; set up authentication"
        yield "settings.upstream_for_nobody", {"upstream": settings.rapida_upstream, "advice": advice}
    if settings.egress_policy == "allowlist" and not settings.egress_allow.strip(" ,"):
        yield "settings.empty_allowlist", {"advice": "no endpoint may be called: list them in egress_allow"}
    own = [name.strip().lower() for name in settings.rapida_own_providers.split(",")]
    known = read_providers(settings.providers_file) if any(own) else NO_PROVIDERS
    for name in own:
        if name and name not in known:
            near = " or ".join(nearest(name, sorted(known)))
            advice = f"no provider has this name; did you mean {near}?" if near else "no provider has this name"
            yield "settings.unknown_provider", {"name": name, "advice": advice}
    for name, nearest_name in unknown_names(environ):
        advice = (
            f"no setting has this name; did you mean {nearest_name}?" if nearest_name else "no setting has this name"
        )
        yield "settings.unknown", {"name": name, "advice": advice}


def _raise_descriptor_limit() -> None:
    """Every call needs two sockets, and the usual soft limit of 1,024 is there for programs that use select()."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 -- there is none on Windows

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS says that there is no limit, and refuses none
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
