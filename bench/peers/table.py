"""What the rounds come to: medians for each gateway, and the tables of docs/peers.md.

Rule: pure. It is given what was measured, and knows no process.
"""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

_DIRECT = "direct"
_CALLS = ("calls-1", "calls-16", "calls-64")
_STREAMS = ("paced-64", "paced-512", "burst-8")
_BUSY = 0.9
_MIB = 2**20

_Round = dict[str, Any]


def _median(values: Sequence[float | None], digits: int = 2) -> float | None:
    known = [each for each in values if each is not None]
    return round(statistics.median(known), digits) if known else None


def _at(one: _Round, what: str, share: str) -> float | None:
    return one[what][share] if one[what] else None


def _added(rounds: Sequence[_Round], name: str, work: str, what: str, share: str) -> float | None:
    """A gateway's time less that of the direct calls of the same round."""
    pairs = [(_at(each[name][work], what, share), _at(each[_DIRECT][work], what, share)) for each in rounds]
    return _median([ours - theirs if ours is not None and theirs is not None else None for ours, theirs in pairs])


def _each(rounds: Sequence[_Round], name: str, work: str, of: Callable[[_Round], float | None]) -> float | None:
    return _median([of(each[name][work]) for each in rounds])


def _per(one: _Round, what: str) -> float | None:
    """Microseconds of the gateway's CPU for each call or token."""
    return 1e6 * one["cpu"] / one[what] if one[what] else None


def _cores(rounds: Sequence[_Round], name: str, work: str) -> dict[str, float]:
    who = rounds[0][name][work]["cores"]
    return {each: _median([one[name][work]["cores"][each] for one in rounds]) or 0.0 for each in who}


def _limit(cores: dict[str, float]) -> str:
    """Which process could do no more: a gateway has a core for itself, client and endpoint share another one."""
    if cores["gateway"] >= _BUSY:
        return "the gateway"
    if cores["client"] + cores["endpoint"] >= _BUSY:
        return "client and endpoint"
    return "none: they wait for each other"


def _of_gateway(rounds: Sequence[_Round], name: str) -> dict[str, Any]:
    found: dict[str, Any] = {"failed": sum(each[name][work]["failed"] for each in rounds for work in each[name])}
    for work in _CALLS:
        cores = _cores(rounds, name, work)
        found[work] = {
            "p50_ms": _each(rounds, name, work, lambda one: _at(one, "latency", "p50")),
            "p99_ms": _each(rounds, name, work, lambda one: _at(one, "latency", "p99")),
            "added_p50_ms": _added(rounds, name, work, "latency", "p50"),
            "added_p99_ms": _added(rounds, name, work, "latency", "p99"),
            "per_second": _each(rounds, name, work, lambda one: one["calls"] / one["wall"]),
            "cpu_us": _each(rounds, name, work, lambda one: _per(one, "calls")),
            "cores": cores,
            "limit": _limit(cores),
        }
    for work in _STREAMS:
        cores = _cores(rounds, name, work)
        found[work] = {
            "added_first_p50_ms": _added(rounds, name, work, "first", "p50"),
            "added_first_p99_ms": _added(rounds, name, work, "first", "p99"),
            "gap_p50_ms": _each(rounds, name, work, lambda one: _at(one, "gap", "p50")),
            "gap_p99_ms": _each(rounds, name, work, lambda one: _at(one, "gap", "p99")),
            "added_gap_p99_ms": _added(rounds, name, work, "gap", "p99"),
            "tokens_per_second": _each(rounds, name, work, lambda one: one["tokens_per_second"]),
            "cpu_us": _each(rounds, name, work, lambda one: _per(one, "tokens")),
            "reads_per_token": _each(rounds, name, work, lambda one: one["reads"] / (one["tokens"] or 1)),
            "cores": cores,
            "limit": _limit(cores),
        }
    return found


def summary(result: dict[str, Any]) -> dict[str, Any]:
    """Medians over the rounds, for each gateway."""
    rounds = [each["gateways"] for each in result["rounds"]]
    return {name: _of_gateway(rounds, name) for name in result["gateways"]}


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _pair(one: dict[str, Any], first: str, second: str) -> str:
    return f"{_number(one[first])} / {_number(one[second])}"


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _name(result: dict[str, Any], name: str) -> str:
    return name if name == _DIRECT else f"{name} {result['gateways'][name]['version']}"


def calls_table(result: dict[str, Any]) -> str:
    """Calls that the endpoint answers at once."""
    head = ["", "added at 1 caller, ms", "at 16", "at 64", "calls/s at 64", "CPU of a call, µs", "RSS, MiB"]
    rows = []
    for name, found in result["summary"].items():
        added = [_pair(found[work], "added_p50_ms", "added_p99_ms") for work in _CALLS]
        if name == _DIRECT:
            added = [f"({_pair(found[work], 'p50_ms', 'p99_ms')})" for work in _CALLS]
        last, resident = found["calls-64"], result["gateways"][name]["resident"]
        memory = " → ".join(f"{resident[when] / _MIB:,.0f}" for when in ("at_rest", "at_end"))
        cost = ["-", "-"] if name == _DIRECT else [_number(last["cpu_us"]), memory]
        rows.append([_name(result, name), *added, _number(last["per_second"]), *cost])
    return _rows(head, rows)


def streams_table(result: dict[str, Any]) -> str:
    """Streams of a token every 20 ms, and as fast as they come."""
    head = ["", "first token added, ms", "between tokens, ms", "CPU of a token, µs", "tokens/s of 25,600"]
    head += ["between tokens there, p99, ms", "tokens/s, unpaced"]
    rows = []
    for name, found in result["summary"].items():
        few, many, burst = (found[work] for work in _STREAMS)
        added = "-" if name == _DIRECT else _pair(few, "added_first_p50_ms", "added_first_p99_ms")
        cost = "-" if name == _DIRECT else _number(few["cpu_us"])
        told = [added, _pair(few, "gap_p50_ms", "gap_p99_ms"), cost, _number(many["tokens_per_second"])]
        rows.append([_name(result, name), *told, _number(many["gap_p99_ms"]), _number(burst["tokens_per_second"])])
    return _rows(head, rows)


def limits_table(result: dict[str, Any]) -> str:
    """Which process was the limit, where there was one: cores that each used."""
    head = ["", "work", "gateway", "client", "endpoint", "others", "the limit"]
    rows = []
    for name, found in result["summary"].items():
        for work in ("calls-64", "paced-512", "burst-8"):
            cores = found[work]["cores"]
            used = [f"{cores[who]:.2f}" for who in ("gateway", "client", "endpoint", "others")]
            rows.append([_name(result, name), work, *used, found[work]["limit"]])
    return _rows(head, rows)


def table(result: dict[str, Any]) -> str:
    """All three, as Markdown."""
    return "\n\n".join(make(result) for make in (calls_table, streams_table, limits_table))
