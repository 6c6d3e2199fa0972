"""The command `integration-api`: its subcommands, each loaded when it is called, so that `health` starts fast.

Rule: names only. What a command does stands in `integration_api.commands`.
"""

from importlib import import_module
from types import MappingProxyType

import click

from integration_api import __version__

# In the order of the help.
_COMMANDS = MappingProxyType(
    {
        name: f"integration_api.commands.{name}"
        for name in (
            "serve",
            "sandbox",
            "chat",
            "check",
            "verify",
            "models",
            "providers",
            "token",
            "demo",
            "health",
        )
    }
)


class _Lazy(click.Group):
    """A group whose commands are the `command` of the modules above."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        command = import_module(_COMMANDS[cmd_name]).command
        return command if isinstance(command, click.Command) else None


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="Example: integration-api demo",
)
@click.version_option(__version__, prog_name="integration-api")
def main() -> None:
    """A gRPC service in front of chat models: one contract for every chat endpoint, streamed."""
