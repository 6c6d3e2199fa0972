"""`integration-api check`: looks into a chat endpoint, with no service between, and says what is wrong and what to do.

Rule: options to one target, and the engine of `VerifyCredential` over it. How findings are printed stands in
`check_report`, the search for an unknown API in `detecting`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from caller.call import CallReport
from caller.credentials import ApiCompatibility
from caller.custom_llm.base_url import without_query
from caller.custom_llm.caller import CustomLLMCaller, Limits
from caller.custom_llm.check.table import usual
from caller.custom_llm.http.transport import Transport
from caller.errors import ClientError
from caller.json_types import JsonObject
from caller.providers import CUSTOM, Providers
from caller.target import Target, Timeouts
from integration_api.commands.check_report import Report
from integration_api.commands.detecting import Wanted, detect
from integration_api.commands.endpoint import DEFAULT_API, credential_value
from integration_api.commands.loop import run
from integration_api.commands.serve import unusable
from integration_api.commands.setting_options import setting_options
from integration_api.commands.values import HEADER, KEY, KEY_VARIABLE
from integration_api.files.provider_rows import read_providers
from integration_api.server import transport_settings
from integration_api.settings import Settings

_EXAMPLES = f"""\b
Examples:
  integration-api check http://127.0.0.1:8000/v1
  {KEY_VARIABLE}=… integration-api check https://llm.example.com/v1 --model llama3.1 --deep
  integration-api check --provider groq --key env:GROQ_API_KEY
  integration-api check https://llm.example.com --key - --detect
"""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What is checked: a provider among those that are known by name, its credential, and the model, if any. `seconds`
    are for each request."""

    providers: Providers
    provider: str
    credential: JsonObject
    model: str
    seconds: float
    settings: Settings


@click.command(epilog=_EXAMPLES)
@click.argument("base_url", required=False, default="")
@click.option(
    "--api",
    "--compatibility",
    "api",
    type=click.Choice([api.value for api in ApiCompatibility]),
    help=f"The API that the endpoint speaks.  [default: {DEFAULT_API.value}, or the provider's own]",
)
@click.option(
    "--provider", default=CUSTOM, show_default=True, help="A provider that is known by name; see `providers`."
)
@click.option("--model", default="", help="The model to ask; without it, the first of the endpoint's list.")
@click.option(
    "--key",
    type=KEY,
    default="",
    envvar=KEY_VARIABLE,
    show_envvar=True,
    help="The endpoint's key: env:NAME (an environment variable), @FILE, - for a prompt, or the text itself, which all"
    " users of the machine can see. It goes into the header of the API: Authorization, x-api-key, x-goog-api-key.",
)
@click.option("--header", "headers", multiple=True, type=HEADER, help="A header for the endpoint: 'api-key=env:KEY'.")
@click.option("--deep", is_flag=True, help="Also those that cost more tokens or time: images, cancel, latency.")
@click.option("--detect", "detects", is_flag=True, help="Find out which API it speaks, and under which base URL.")
@click.option("--json", "raw", is_flag=True, help="Print the result as one JSON object.")
@click.option(
    "--timeout", default=60.0, show_default=True, type=click.FloatRange(min=0.01), help="Seconds for each request."
)
@setting_options("providers_file", "endpoint_ca_file", "endpoint_tls_strict", "endpoint_proxy")
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    base_url: str,
    api: str | None,
    provider: str,
    model: str,
    key: str,
    headers: Sequence[tuple[str, str]],
    deep: bool,
    detects: bool,
    raw: bool,
    timeout: float,
    **values: Any,
) -> None:
    """Is the chat endpoint at BASE_URL compatible, and if not, what is wrong?

    Makes a dozen small requests, a wrong key among them, and prints what each check saw and what to do about it. Ends
    with 1 where a check failed.
    """
    settings = Settings(**values)
    if problem := unusable(settings):
        raise click.UsageError(problem)
    providers = read_providers(settings.providers_file)
    known = provider.lower() in providers
    if not known and provider.lower() != CUSTOM:
        raise click.UsageError(f"no provider is called {provider!r}: `integration-api providers` lists them")
    if not base_url and not known:
        raise click.UsageError("say which endpoint: BASE_URL, or a --provider")
    if detects and not base_url:
        raise click.UsageError("--detect looks at a BASE_URL")
    credential = credential_value(provider, base_url=base_url, key=key, headers=headers, compatibility=api)
    endpoint = Endpoint(providers, provider, credential, model, timeout, settings)
    try:
        if detects:
            wanted = Wanted(base_url, key, dict(headers), model, timeout)
            good = run(detect(wanted, transport_settings(settings), raw=raw))
        else:
            good = run(_check(endpoint, Report(raw=raw), deep=deep))
    except ClientError as error:
        raise click.UsageError(error.message.replace("credential.value.", "")) from None
    context.exit(0 if good else 1)


async def _check(endpoint: Endpoint, report: Report, *, deep: bool) -> bool:
    """Whether no check failed. They are printed as they are found."""
    transport = Transport(transport_settings(endpoint.settings))
    seconds = endpoint.seconds
    target = Target(
        endpoint.provider,
        endpoint.credential,
        Timeouts(endpoint.settings.connect_timeout, seconds, seconds, seconds),
        {"model.name": endpoint.model} if endpoint.model else {},
    )
    try:
        caller = CustomLLMCaller(transport, Limits(endpoint.settings.max_event_bytes), lambda: endpoint.providers)
        inspection = caller.inspect(target)
        record = CallReport(started=asyncio.get_running_loop().time())
        session = inspection.session(target, record, usual(deep=deep), own_time=True, picks=True)
        report.begin(inspection.api, without_query(session.credential.base_url), usual(deep=deep))
        async for check in inspection.rows(session):
            report.check(check)
        return report.end(session.url, session.exchanges.made)
    finally:
        await transport.close()
