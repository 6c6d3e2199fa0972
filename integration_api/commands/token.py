"""`integration-api token new NAME`: a token for a client, and its line for the file that the service reads.

Rule: the token is shown once and kept nowhere; the file holds its hash.
"""

import hashlib
import secrets
from pathlib import Path

import click

from integration_api.auth.tokens import NAME

_EXAMPLES = """\b
Example:
  export TOKEN=$(integration-api token new voice --file tokens)
  integration-api serve --auth-tokens-file tokens
  integration-api chat --token env:TOKEN …
"""


@click.group()
def command() -> None:
    """Make tokens by which clients say who they are."""


@command.command(epilog=_EXAMPLES)
@click.argument("name")
@click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The tokens file: the line is put behind what it holds, and the service reads it again.",
)
def new(name: str, file: Path | None) -> None:
    """Print a new token for the client NAME, once.

    The token goes to standard output. Its line for the tokens file (--auth-tokens-file), which holds only the token's
    hash, goes to --file, or to standard error.
    """
    if not NAME.fullmatch(name):
        raise click.BadParameter("is up to 256 characters without blanks and colons", param_hint="NAME")
    token = secrets.token_urlsafe(32)
    line = f"{name} sha256:{hashlib.sha256(token.encode()).hexdigest()}\n"
    if file is None:
        click.echo(f"The line for the tokens file:\n{line}The token, shown once:", err=True)
    else:
        _append(file, line)
    click.echo(token)


def _append(file: Path, line: str) -> None:
    """Put a line behind what a file holds; a new one is readable by its owner only."""
    try:
        file.touch(mode=0o600)
        held = file.read_bytes()
        with file.open("ab") as tokens:
            tokens.write((b"\n" if held and not held.endswith(b"\n") else b"") + line.encode())
    except OSError as error:
        raise click.ClickException(f"cannot write {file}: {error.strerror}") from None
