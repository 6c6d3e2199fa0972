"""Draws the results in a folder: `floor.json`, `streams.json`, `startup.json`, `race.json` and `peers.json`, each where
it is there.

    python -m bench.plots docs/bench

An aim is a dashed line; a bar of CPU has its smallest and largest round as a whisker.
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "bench"  # the same picture for the same numbers

from matplotlib import pyplot as plt  # noqa: E402 -- the backend is chosen first

_COLOURS = {"base": "#9aa5b1", "ours": "#2f6fab"}
_AIM: dict[str, Any] = {"color": "#b03a2e", "linestyle": "--", "linewidth": 1}


def _read(folder: Path, name: str) -> dict[str, Any] | None:
    file = folder / f"{name}.json"
    return json.loads(file.read_text("utf-8")) if file.exists() else None


def _save(figure: Any, file: Path, result: dict[str, Any]) -> None:
    machine = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    machine = f"{result['date']}; {machine}" if "date" in result else machine
    figure.text(0.01, 0.01, f"{machine}; load {result['load'][0]:.1f} at the end", fontsize=7, color="#666666")
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)
    print(file)


def floor(folder: Path, result: dict[str, Any]) -> None:
    """CPU of each case for both sides, and Python calls with their aims."""
    cases = result["cases"]
    figure, axes = plt.subplots(1, len(cases), figsize=(3 * len(cases), 3.6), squeeze=False)
    for axis, case in zip(axes[0], cases.values(), strict=True):
        middle = {side: statistics.median(case[side]["cpu_us"]) for side in _COLOURS}
        for at, side in enumerate(_COLOURS):
            costs = case[side]["cpu_us"]
            spread = [[middle[side] - min(costs)], [max(costs) - middle[side]]]
            axis.bar(at, middle[side], color=_COLOURS[side], yerr=spread, capsize=4)
        axis.axhline(middle["base"] * case["aim"], **_AIM)
        axis.set_xticks([0, 1], ["base", "ours"])
        axis.set_title(
            case["name"].replace(": ", "\n").replace(", ", "\n") + (" (void)" if case["void"] else ""), fontsize=8
        )
        axis.set_ylabel(f"CPU, µs per {case['unit']}", fontsize=8)
    _save(figure, folder / "cpu.svg", result)
    calls = result["python_calls"]
    if not calls:
        return
    figure, axes = plt.subplots(1, len(calls["ours"]), figsize=(3 * len(calls["ours"]), 3.2), squeeze=False)
    for axis, (name, ours) in zip(axes[0], calls["ours"].items(), strict=True):
        bars = [
            axis.bar(0, calls["base"].get(name, 0), color=_COLOURS["base"]),
            axis.bar(1, ours, color=_COLOURS["ours"]),
        ]
        for bar in bars:
            axis.bar_label(bar, fontsize=8)
        axis.axhline(calls["aim"][name], **_AIM)
        axis.set_xticks([0, 1], ["base", "ours"])
        axis.set_title(f"Python calls: {name}", fontsize=8)
    _save(figure, folder / "python-calls.svg", result)


def streams(folder: Path, result: dict[str, Any]) -> None:
    """Memory, CPU and jitter over the number of streams."""
    rows = result["rows"]
    counts = [row["streams"] for row in rows]
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.2))
    axes[0].plot(counts, [row["bytes_each"] / 1024 for row in rows], marker="o", color=_COLOURS["ours"])
    axes[0].axhline(result["aim"]["bytes_each"] / 1024, **_AIM)
    axes[0].set_ylim(bottom=0)
    axes[1].plot(counts, [row["cores"] for row in rows], marker="o", color=_COLOURS["ours"])
    axes[2].plot(counts, [row["jitter_p50_ms"] for row in rows], marker="o", color=_COLOURS["base"], label="p50")
    axes[2].plot(counts, [row["jitter_p99_ms"] for row in rows], marker="o", color=_COLOURS["ours"], label="p99")
    axes[2].legend(fontsize=8)
    for axis, title in zip(axes, ("RSS per stream, KiB", "cores used", "jitter of a frame, ms"), strict=True):
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("slow streams at once", fontsize=8)
    _save(figure, folder / "streams.svg", result)


def startup(folder: Path, result: dict[str, Any]) -> None:
    """Every start's time and memory."""
    figure, axes = plt.subplots(1, 2, figsize=(6.5, 3))
    for axis, values, aim, title in (
        (axes[0], result["seconds"], result["aim"]["seconds"], "first answer, s"),
        (axes[1], [each / 2**20 for each in result["resident"]], result["aim"]["resident"] / 2**20, "RSS at rest, MiB"),
    ):
        axis.bar(range(len(values)), values, color=_COLOURS["ours"])
        axis.axhline(aim, **_AIM)
        axis.set_title(title, fontsize=9)
    _save(figure, folder / "startup.svg", result)


def race(folder: Path, result: dict[str, Any]) -> None:
    """First outputs with and without the race, from the quickest to the slowest."""
    figure, axis = plt.subplots(figsize=(6.5, 3.2))
    for name, colour in (("without", "base"), ("with", "ours")):
        times = result[name]["first_ms"]
        shares = [100 * (at + 1) / len(times) for at in range(len(times))]
        axis.step(
            times, shares, where="post", color=_COLOURS[colour], label=f"{name}: p99 {result[name]['p99_ms']:.0f} ms"
        )
    axis.axvline(result["aim"]["p99_ms"], **_AIM)
    axis.set_xscale("log")
    axis.set_ylim(80, 100.5)
    axis.set_xlabel("first output, ms", fontsize=8)
    axis.set_title(f"% of {result['streams']} streams that have their first output", fontsize=9)
    axis.legend(fontsize=8, loc="lower right")
    _save(figure, folder / "race.svg", result)


def peers(folder: Path, result: dict[str, Any]) -> None:
    """What each gateway adds to a call, what calls and tokens cost, and how many it carries."""
    found = {name: row for name, row in result["summary"].items() if name != "direct"}
    names, colours = list(found), [_COLOURS["ours" if name == "integration-api" else "base"] for name in found]
    figure, axes = plt.subplots(2, 3, figsize=(12, 5.6))
    panels = (
        ("added to a call, 1 caller, p50, ms", "calls-1", "added_p50_ms"),
        ("calls/s, 64 callers", "calls-64", "per_second"),
        ("CPU of a call, µs", "calls-64", "cpu_us"),
        ("first token added, 64 streams, p50, ms", "paced-64", "added_first_p50_ms"),
        ("tokens/s of 25,600: 512 streams x 20 ms", "paced-512", "tokens_per_second"),
        ("CPU of a token, µs", "paced-64", "cpu_us"),
    )
    for axis, (title, work, what) in zip(axes.flat, panels, strict=True):
        values = [row[work][what] or 0.0 for row in found.values()]
        above = [each for each in values if each > 0]  # a logarithm has no place for the others
        for at, (value, colour) in enumerate(zip(values, colours, strict=True)):
            axis.scatter([value] if value > 0 else [], [at] if value > 0 else [], color=colour, s=45, zorder=3)
            label = f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
            axis.annotate(
                label, (max(value, min(above)), at), (0, 6), textcoords="offset points", ha="center", fontsize=8
            )
        axis.set_xscale("log")
        axis.xaxis.set_minor_formatter("")
        axis.set_xlim(min(above) / 3, max(above) * 3)
        axis.set_ylim(-0.7, len(names) - 0.5)
        axis.set_yticks(range(len(names)), names)
        axis.grid(axis="x", color="#dddddd")
        axis.invert_yaxis()
        axis.set_title(title, fontsize=9)
        axis.tick_params(labelsize=8)
    _save(figure, folder / "peers.svg", result)


if __name__ == "__main__":
    where = Path(sys.argv[1])
    for name, draw in (("floor", floor), ("streams", streams), ("startup", startup), ("race", race), ("peers", peers)):
        found = _read(where, name)
        if found is not None:
            draw(where, found)
