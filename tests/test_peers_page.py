"""docs/peers.md shows what was measured: its tables are those of docs/bench/peers.json."""

import json
from pathlib import Path
from typing import Any

from bench.peers.table import calls_table, limits_table, streams_table, summary

DOCS = Path(__file__).parents[1] / "docs"
RESULT: dict[str, Any] = json.loads((DOCS / "bench" / "peers.json").read_text("utf-8"))
PAGE = (DOCS / "peers.md").read_text("utf-8")


def test_the_tables_are_those_of_the_last_run() -> None:
    """Each table of the page is made from the file beside it, whose summary is that of its rounds."""
    assert summary(RESULT) == RESULT["summary"]
    for table in (calls_table, streams_table, limits_table):
        assert table(RESULT) in PAGE, f"{table.__name__}: python -m bench.peers --table docs/bench/peers.json"


def test_the_page_says_when_and_on_what() -> None:
    """The date, the cores, the rounds and every gateway that was measured."""
    assert RESULT["date"] in PAGE
    assert f"{RESULT['cores']} cores" in PAGE
    assert f"{len(RESULT['rounds'])} rounds" in PAGE
    assert {"direct", "integration-api", "LiteLLM", "Portkey", "vllm-router", "smg"} == RESULT["gateways"].keys()
