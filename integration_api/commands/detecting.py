"""`integration-api check --detect`: the search for the API of an unknown endpoint, printed as it goes on.

Rule: it prints the credential to use with a variable for the key, never a key.
"""

import asyncio
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

import click

from caller.api_facts import FACTS
from caller.call import CallReport
from caller.credentials import ApiCompatibility, parse_credential
from caller.custom_llm.apis import ADAPTERS
from caller.custom_llm.check.detect import Detection, Found, Tried
from caller.custom_llm.check.exchange import Exchanges
from caller.custom_llm.http.transport import Transport, TransportSettings
from caller.json_types import JsonObject, object_of
from caller.target import Timeouts
from integration_api.commands.printing import visible
from integration_api.commands.program import program
from integration_api.commands.values import KEY_VARIABLE

_MOST_BYTES = 1 << 20
_CONNECT_SECONDS = 5.0
_MOST_WORDS = 100


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is known of the endpoint. `seconds` are for each request."""

    base_url: str
    key: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    model: str
    seconds: float


async def detect(wanted: Wanted, settings: TransportSettings, *, raw: bool) -> bool:
    """Whether it was found out which API is spoken there. At most ten requests, to that host only.

    Raises:
        CredentialInvalid: the URL or the key is malformed.
    """
    key = {"Authorization": wanted.key} if wanted.key else {}
    parsed = parse_credential({"baseUrl": wanted.base_url, "headers": {**key, **wanted.headers}})
    transport = Transport(settings)
    try:
        report = CallReport(started=asyncio.get_running_loop().time())
        seconds = wanted.seconds
        times = Timeouts(min(_CONNECT_SECONDS, seconds), seconds, seconds, seconds)
        exchanges = {
            api: Exchanges(
                transport, ADAPTERS[api], parsed.secrets, times, report, max_bytes=_MOST_BYTES, own_time=True
            )
            for api in ApiCompatibility
        }
        search = Detection(exchanges, parsed.base_url, wanted.key, wanted.headers, wanted.model)
        tried = []
        async for each in search.tries():
            tried.append(each)
            if not raw:
                _show(each)
    finally:
        await transport.close()
    has_key = bool(wanted.key) or not (search.found is None or search.found.sure)
    _print(search, tried, credential(search.found, wanted, has_key=has_key), raw=raw)
    return search.found is not None and search.found.sure


def _show(tried: Tried) -> None:
    words = tried.observed if len(tried.observed) <= _MOST_WORDS else f"{tried.observed[:_MOST_WORDS]}…"
    click.secho(f"  {tried.api.value:<24} {tried.url}  {visible(words)}", dim=True)


def _print(search: Detection, tried: list[Tried], use: JsonObject, *, raw: bool) -> None:
    found = search.found
    if raw:
        click.echo(json.dumps(_json(search, tried, use), indent=2, ensure_ascii=False))
        return
    click.echo()
    if found is None:
        click.secho("Nothing here speaks one of the APIs.", fg="red", bold=True)
        click.echo(_advice(tried))
        return
    if found.sure:
        click.secho(f"It speaks {found.api.value} at {found.base_url}", fg="green", bold=True)
    else:
        click.secho(
            f"It seems to speak {found.api.value} at {found.base_url}, but: {found.observed}", fg="yellow", bold=True
        )
    click.echo(f"({search.requests} requests)\n")
    click.echo(f"The credential to use:\n\n  {json.dumps(use)}\n")
    click.echo(f"Next:\n\n{_next(found, use)}")


def _advice(tried: list[Tried]) -> str:
    return f"The last answer: {tried[-1].observed}" if tried else ""


def credential(found: Found | None, wanted: Wanted, *, has_key: bool) -> JsonObject:
    """The credential object; where a secret goes, a variable is named."""
    if found is None:
        return {}
    name, scheme = found.header
    headers: JsonObject = {each: f"${each.upper().replace('-', '_')}" for each in wanted.headers}
    if has_key and name.lower() not in {each.lower() for each in wanted.headers}:
        headers[name] = f"{scheme} ${KEY_VARIABLE}".strip()
    given: JsonObject = {"apiCompatibility": found.api.value, "baseUrl": found.base_url}
    return {**given, "headers": headers} if headers else given


def _next(found: Found, use: JsonObject) -> str:
    """The commands for a first streamed answer; secrets come from the variables that the credential names."""
    options = []
    for name, value in object_of(use.get("headers")).items():
        usual = (name, str(value)) == (
            FACTS[found.api].key_header[0],
            f"{FACTS[found.api].key_header[1]} ${KEY_VARIABLE}".strip(),
        )
        options.append(f"--key env:{KEY_VARIABLE}" if usual else f"--header '{name}={str(value).replace('$', 'env:')}'")
    key = "".join(f" \\\n      {option}" for option in options)
    api = "" if found.api is ApiCompatibility.OPENAI_COMPATIBLE else f" --compatibility {found.api.value}"
    url, model = shlex.quote(found.base_url), shlex.quote(found.model or "MODEL")
    return (
        f"  {program()} serve\n"
        f"  {program()} chat --base-url {url}{api}{key} \\\n      --model {model} 'Why is the sky blue?'\n"
    )


def _json(search: Detection, tried: list[Tried], use: JsonObject) -> dict[str, object]:
    found = search.found
    return {
        "ok": found is not None and found.sure,
        "compatibility": found.api.value if found else "",
        "endpoint_url": found.url if found else "",
        "requests": search.requests,
        "credential": use,
        "model": found.model if found else "",
        "checks": [
            {
                "id": "detect",
                "status": "PASS" if found and found.sure and each.url == found.url else "SKIP",
                "observed": f"{each.api.value} {each.url}: {each.observed}",
                "remedy": "",
                "took_ms": round(each.took * 1000, 1),
            }
            for each in tried
        ],
    }
