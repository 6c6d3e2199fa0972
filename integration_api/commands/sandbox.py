"""`integration-api sandbox`: runs the embedded chat endpoint, and explains its scripts."""

import textwrap

import click

from integration_api.commands.loop import run
from integration_api.commands.values import SECRET
from integration_api.sandbox import FAULTS, help_text
from integration_api.sandbox import run as run_sandbox
from integration_api.sandbox.faults import SOUND


@click.command(
    # \b keeps click from filling the paragraph anew.
    epilog="\n\n".join(f"\b\n{paragraph}" for paragraph in help_text().split("\n\n"))
    + "\n\n\b\nExample:\n  integration-api sandbox --port 8000",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option(
    "--require-key",
    type=SECRET,
    default="",
    help="Ask every request for this key: text, env:NAME (an environment variable) or @FILE.",
)
@click.option(
    "--fault",
    type=click.Choice(list(FAULTS)),
    help="What is wrong with the endpoint, whatever model is asked: each is found by the check of this name.",
)
def command(host: str, port: int, require_key: str, fault: str | None) -> None:
    """Run a chat endpoint whose models are scripts, until SIGTERM or SIGINT.

    It speaks OpenAI's Chat Completions and Responses (base URL http://HOST:PORT/v1), Anthropic's Messages (the same)
    and Gemini's generateContent (http://HOST:PORT/v1beta). No model runs and no key is needed.
    """
    try:
        run(run_sandbox(host, port, require_key, FAULTS[fault] if fault else SOUND))
    except OSError as error:
        reason = textwrap.shorten(error.strerror or str(error), 200)
        raise click.ClickException(
            f"cannot listen on {host} port {port}: {reason}. Choose another with --port."
        ) from None
