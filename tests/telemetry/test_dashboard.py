"""What `deploy/` asks of the metrics is there: every name in the dashboard and the alerts, and a runbook line for each
alert. That each query has data is for `make observe`, which needs a Prometheus."""

import json
import re
from pathlib import Path

from integration_api.sandbox import Sandbox
from tests.telemetry import test_mixed_calls as mixed

ROOT = Path(__file__).parents[2]
_METRIC = re.compile(r"\b(?:integration_api|gen_ai)_[a-z_]+\b")
_LABELS = re.compile(r"\bby \(([^)]*)\)")


def _queries() -> list[str]:
    board = json.loads((ROOT / "deploy/grafana/dashboard.json").read_text("utf-8"))
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    alerts = (ROOT / "deploy/prometheus/alerts.yml").read_text("utf-8")
    return [*queries, *(rule.split("labels:")[0].split("for:")[0] for rule in alerts.split("expr:")[1:])]


async def test_every_metric_and_label_that_is_asked_for_exists(sandbox: Sandbox) -> None:
    """After one good and one failed call."""
    async with mixed.world() as made:
        for model in (mixed.GOOD, "http-error:status=401"):
            await mixed.native(made, sandbox.url, model, "StreamChat")
        await made.idle()
        numbers = await made.metrics()

    described = {name for name, _ in numbers} | {name.removesuffix("_bucket") for name, _ in numbers}
    lazy = {"integration_api_open_breakers", "integration_api_retries_total"}  # series once there is something to say
    labels = {label for _, pairs in numbers for label, _ in pairs} | {"instance"}  # Prometheus' own
    for query in _queries():
        assert set(_METRIC.findall(query)) <= described | lazy, query
        asked = {label.strip() for group in _LABELS.findall(query) for label in group.split(",")}
        assert asked <= labels, query


def test_every_alert_has_a_line_in_the_runbook() -> None:
    alerts = re.findall(r"- alert: (\w+)", (ROOT / "deploy/prometheus/alerts.yml").read_text("utf-8"))
    runbook = (ROOT / "docs/operations.md").read_text("utf-8").partition("### Runbook")[2]
    assert len(alerts) >= 9
    assert alerts == re.findall(r"^\| `(\w+)` \|", runbook, re.MULTILINE)
    tested = (ROOT / "deploy/prometheus/alerts_test.yml").read_text("utf-8")
    assert set(alerts) <= set(re.findall(r"alertname: (\w+)", tested))
