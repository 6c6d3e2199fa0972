"""docs/proxies.md gives the configurations that `make proxies` runs: the lines of one are lines of the other."""

import re
from pathlib import Path

import pytest

from acceptance.proxies.configurations import PROXIES, Proxy

PAGE = (Path(__file__).parents[1] / "docs" / "proxies.md").read_text("utf-8")
LANGUAGES = {"nginx": "nginx", "haproxy": "haproxy", "envoy": "yaml", "caddy": "caddyfile"}
# What a machine of its own has instead of a test's ports.
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+:\d+|(?<=listen )\S+|(?<=http://):\d+")


def lines(text: str) -> set[str]:
    found = (_ADDRESS.sub("ADDRESS", line.strip()) for line in text.splitlines())
    return {line for line in found if line and line != "}" and not line.startswith("#")}


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("proxy", PROXIES, ids=lambda proxy: proxy.name)
def test_the_pages_lines_are_what_is_run(proxy: Proxy) -> None:
    """Every line of the page stands in the configuration that is run."""
    run = proxy.configuration(9004, [9001, 9002])
    documented = lines(block(LANGUAGES[proxy.name]))

    assert len(documented) > 5
    assert not documented - lines(run)
