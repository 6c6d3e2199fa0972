"""`python -m acceptance.live`: the service against llama.cpp, against LiteLLM before it, or a server of yours."""

import asyncio
import json
import signal
import sys
import textwrap
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import click
import grpc

from acceptance.live import servers
from acceptance.live.asking import Client
from acceptance.live.checks import made
from acceptance.live.children import Child, ChildError, ToolMissing
from acceptance.live.install import Cache, install_litellm, install_llama
from acceptance.live.judging import Wrong
from acceptance.live.targets import (
    CHECKS,
    COMPATIBLE,
    SHAPES,
    Target,
    Trait,
    litellm_targets,
    llama_targets,
    other_targets,
)

_CACHE = Path(__file__).parents[2] / ".cache" / "live"
_WIDTH = 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one check of a target went."""

    target: Target
    check: str
    good: bool
    seen: str


class JsonObject(click.ParamType[dict[str, object]]):
    """A JSON object; with `texts`, one of texts. What it holds may be secret and is not repeated."""

    name = "JSON"

    def __init__(self, *, texts: bool = False) -> None:
        self._texts = texts

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, object]:
        """Read it."""
        try:
            read = json.loads(value) if isinstance(value, str) else value
        except ValueError:
            self.fail("it is not JSON", param, ctx)
        if not isinstance(read, dict) or (self._texts and not all(isinstance(text, str) for text in read.values())):
            self.fail("it is not a JSON object" + " of texts" * self._texts, param, ctx)
        return read


def _comma_separated(allowed: Sequence[str]) -> "click.ParamType[tuple[str, ...]]":
    class Words(click.ParamType[tuple[str, ...]]):
        name = "NAMES"

        def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
            words = tuple(str(value).split(","))
            for word in words:
                if word not in allowed:
                    self.fail(f"{word!r} is none of {', '.join(allowed)}", param, ctx)
            return words

    return Words()


@click.command()
@click.argument("server", type=click.Choice(["llama", "litellm"]), default="llama")
@click.option(
    "--cache",
    envvar="LIVE_CACHE",
    default=_CACHE,
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where servers and model are installed, once.",
)
@click.option("--base-url", envvar="LIVE_BASE_URL", default="", help="Ask this server instead: nothing is installed.")
@click.option("--model", envvar="LIVE_MODEL", default="", help="The model of that server.")
@click.option(
    "--headers",
    envvar="LIVE_HEADERS",
    default="{}",
    type=JsonObject(texts=True),
    help='Its headers, as {"Authorization": "Bearer …"}.',
)
@click.option(
    "--compatibility",
    envvar="LIVE_COMPATIBILITY",
    default=COMPATIBLE,
    show_default=True,
    type=_comma_separated(SHAPES),
    help="The APIs that it speaks, comma-separated.",
)
@click.option(
    "--parameters",
    envvar="LIVE_PARAMETERS",
    default="{}",
    type=JsonObject(),
    help='Its parameters, over {"temperature": 0, "max_tokens": 96}.',
)
@click.option(
    "--checks",
    envvar="LIVE_CHECKS",
    default=",".join(CHECKS),
    type=_comma_separated(CHECKS),
    help=f"Which checks are made, comma-separated: {', '.join(CHECKS)}.",
)
def main(
    *,
    server: str,
    cache: Path,
    base_url: str,
    model: str,
    headers: dict[str, str],
    compatibility: tuple[str, ...],
    parameters: dict[str, object],
    checks: tuple[str, ...],
) -> None:
    """Speak to real servers through the service, and check what comes back.

    SERVER is what stands behind the service: llama (llama.cpp's server with a small model) or litellm (LiteLLM's proxy
    before it). Every option is an environment name too. Ends with 1 when a check fails, and is skipped where what is
    not installed yet wants a C++ compiler and there is none.
    """
    if bool(base_url) != bool(model):
        raise click.UsageError("--base-url (LIVE_BASE_URL) and --model (LIVE_MODEL) go together")
    others = other_targets(base_url, model, headers, compatibility, parameters) if base_url else []
    try:
        with asyncio.Runner() as runner:
            good = runner.run(_run(Cache(cache.absolute()), server, others, checks))
    except ToolMissing as error:
        click.echo(f"SKIP {server}: {error}")
        sys.exit(0)
    except ChildError as error:
        raise click.ClickException(str(error)) from None
    except asyncio.CancelledError:
        raise click.ClickException("ended by a signal; all that was started is stopped") from None
    sys.exit(0 if good else 1)


async def _run(cache: Cache, server: str, others: list[Target], checks: Sequence[str]) -> bool:
    """Start what is needed, make every check, stop it all; whether all went well."""
    _end_on_signals()
    started = time.monotonic()
    async with AsyncExitStack() as stack:
        targets = others or await _targets(stack, cache, server)
        child, channel = await stack.enter_async_context(servers.service(cache))
        outcomes = [outcome for target in targets for outcome in await _target(channel, target, checks)]
        ended = await _end(child)
    _table(outcomes, checks)
    failed = [outcome for outcome in outcomes if not outcome.good]
    click.echo()
    for outcome in failed:
        click.secho(f"FAILED {outcome.target.name} {outcome.check}: {outcome.seen}", fg="red")
    if ended:
        click.secho(f"FAILED the service: {ended}; its log is {child.log}", fg="red")
    good = len(outcomes) - len(failed)
    click.secho(f"{good} passed, {len(failed) + bool(ended)} failed", bold=True)
    click.echo(f"in {time.monotonic() - started:.0f} s; what was started is stopped")
    return bool(outcomes) and not failed and not ended


def _end_on_signals() -> None:
    """The first signal cancels this task, which stops what it started; more of them would only disturb that."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    signals = (signal.SIGINT, signal.SIGTERM)

    def on_signal() -> None:
        for number in signals:
            loop.add_signal_handler(number, lambda: None)
        if task is not None:
            task.cancel()

    for number in signals:
        loop.add_signal_handler(number, on_signal)


async def _targets(stack: AsyncExitStack, cache: Cache, server: str) -> list[Target]:
    """Install and start the servers."""
    await install_llama(cache)
    if server == "litellm":
        await install_litellm(cache)
    behind = await stack.enter_async_context(servers.llama(cache))
    click.echo(f"llama.cpp's server with {servers.MODEL} runs on {behind}")
    if server == "llama":
        return llama_targets(behind)
    front = await stack.enter_async_context(servers.litellm(cache, behind))
    click.echo(f"LiteLLM's proxy runs on {front}")
    return litellm_targets(front, behind)


async def _target(channel: grpc.aio.Channel, target: Target, checks: Sequence[str]) -> list[Outcome]:
    """Every check of a target, told as it goes."""
    if target.checks.isdisjoint(checks):
        return []
    click.secho(f"\n{target.name} · {target.model} at {target.base_url}", bold=True)
    client = Client(channel, target)
    outcomes = []
    for check in checks:
        if check not in target.checks:
            continue
        try:
            seen, good = await made(check, client, target), True
        except Wrong as wrong:
            seen, good = str(wrong), False
        outcomes.append(Outcome(target, check, good, seen))
        click.echo(
            click.style(f"  {check:12}", fg="green" if good else "red") + ("" if good else "WRONG: ") + _short(seen)
        )
        reason = target.expected_errors.get(check)
        if good and reason:
            click.secho(f"{'':14}as expected: {reason[1]}", dim=True)
    known = [trait.value for trait in Trait if trait in target.traits] + ([target.note] if target.note else [])
    if known:
        click.secho(f"  known of it: {'; '.join(known)}", dim=True)
    return outcomes


async def _end(child: Child) -> str:
    """Stop the service as an orchestrator does; what was not as it should be."""
    if child.ended:
        return f"it died ({await child.wait()})"
    code = await child.stop()
    bugs = [line for line in child.printed().splitlines() if '"level": "error"' in line or "Traceback" in line]
    if code:
        return f"it ended with {code}"
    return f"it logged {len(bugs)} errors, the first: {bugs[0][:_WIDTH]}" if bugs else ""


def _table(outcomes: Sequence[Outcome], checks: Sequence[str]) -> None:
    """One row for every target, one column for every check."""
    targets = list(dict.fromkeys((o.target.server, o.target.shape) for o in outcomes))
    cells = {(o.target.server, o.target.shape, o.check): _cell(o) for o in outcomes}
    rows = [("server", "shape", *checks)]
    rows += [(*target, *(cells.get((*target, check), "·") for check in checks)) for target in targets]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    click.echo()
    for number, row in enumerate(rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        click.secho(line, bold=not number)
    click.echo("ok: as it should be · error: only an error can be had there, as expected · a dot: not asked")


def _cell(outcome: Outcome) -> str:
    if not outcome.good:
        return "FAILED"
    return "error" if outcome.check in outcome.target.expected_errors else "ok"


def _short(text: str) -> str:
    return textwrap.shorten(text, 400, placeholder=" …")


main()
