"""Which endpoint a command is about: `--provider`, `--key`, `--base-url` and their like of `chat`, `verify`, `models`.

Rule: options in, the provider's id and the contract's `Credential` (as JSON) out. What is wrong with their values the
service says.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from caller.api_facts import FACTS
from caller.credentials import ApiCompatibility
from caller.json_types import JsonObject
from caller.providers import CUSTOM
from integration_api.commands.values import HEADER, KEY, KEY_VARIABLE

_Command = TypeVar("_Command", bound=Callable[..., object])
_APIS = [api.value for api in ApiCompatibility]
DEFAULT_API = ApiCompatibility.OPENAI_COMPATIBLE
_GIVEN = ("base_url", "key", "exact_url", "headers", "compatibility")
_OPTIONS = (
    click.option(
        "--provider",
        default=CUSTOM,
        show_default=True,
        help="The provider's id: `integration-api providers` lists those that are known by name.",
    ),
    click.option(
        "--key",
        type=KEY,
        default="",
        envvar=KEY_VARIABLE,
        show_envvar=True,
        help="The endpoint's key: env:NAME (an environment variable), @FILE, - for a prompt, or the text. It goes into"
        " the header in which the API wants it.",
    ),
    click.option("--base-url", default="", help="Where the chat endpoint is, as the service reaches it."),
    click.option("--credential", "held", default="", help="A credential that the service holds, by its name."),
    click.option("--exact-url", is_flag=True, help="Call --base-url as it is, without the path of the API behind it."),
    click.option(
        "--header",
        "headers",
        multiple=True,
        type=HEADER,
        help="A header for the endpoint, any number of them. In place of the value: env:NAME (an environment variable)"
        " or @FILE, also behind a scheme: 'Authorization=Bearer env:KEY'.",
    ),
    click.option(
        "--compatibility",
        type=click.Choice(_APIS),
        help=f"The API that the endpoint speaks.  [default: {DEFAULT_API.value}, or the provider's own]",
    ),
)


def endpoint_options(function: _Command) -> _Command:
    """Adds the options; the command gets `provider` and `credential` of a request for them."""

    @functools.wraps(function)
    def command(*args: Any, **values: Any) -> object:
        held = values.pop("held")
        given = {name: values.pop(name) for name in _GIVEN}
        custom = values["provider"].lower() == CUSTOM
        if (held and given["base_url"]) or (custom and not (held or given["base_url"])):
            raise click.UsageError("say which endpoint: --base-url, --credential, or --provider with --key")
        if held and given["key"] and key_is_typed():
            raise click.UsageError("a stored credential has its own key: leave --key out")
        credential: JsonObject = {"name": held} if held else {"value": credential_value(values["provider"], **given)}
        return function(*args, credential=credential, **values)

    decorated: Any = command
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return] # click's decorators keep the signature


def key_is_typed() -> bool:
    """Whether the running command's key stands on its command line; one of the environment gives way to what does."""
    return click.get_current_context().get_parameter_source("key") is ParameterSource.COMMANDLINE


def credential_value(
    provider: str,
    *,
    base_url: str,
    key: str,
    headers: Sequence[tuple[str, str]],
    compatibility: str | None,
    exact_url: bool = False,
) -> JsonObject:
    """The credential object. Of `custom-llm` the key goes into the header in which the API wants it.

    Raises:
        click.UsageError: a key and a header that are typed are the same.
    """
    custom = provider.lower() == CUSTOM
    api = compatibility or (DEFAULT_API.value if custom else "")
    sent = dict(headers)
    if key and custom:
        name, scheme = FACTS[ApiCompatibility(api)].key_header
        twice = name.lower() in {header.lower() for header in sent}
        if twice and key_is_typed():
            raise click.UsageError(f"--key and --header both give {name}: leave one out")
        if not twice:
            sent[name] = f"{scheme} {key}".strip()
        key = ""
    value: JsonObject = {
        "apiCompatibility": api,
        "baseUrl": base_url,
        "headers": {**sent},
        "exactUrl": exact_url,
        "key": key,
    }
    return {name: each for name, each in value.items() if each}
