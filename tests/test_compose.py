"""docker-compose.yml, as it is written; `make container` lets compose itself read it, and runs it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from integration_api.settings import ENV_PREFIX, Settings, env_name

ROOT = Path(__file__).parents[1]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]


def test_without_a_profile_it_is_the_service_alone() -> None:
    """Everything else is asked for by name."""
    assert [name for name, service in SERVICES.items() if "profiles" not in service] == ["service"]
    profiles = {profile for service in SERVICES.values() for profile in service.get("profiles", ())}
    assert profiles == {"sandbox", "llama", "ollama", "observe"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_part_is_bounded_and_none_is_open(name: str) -> None:
    """CPU and memory have limits, and what is published is on this machine's loopback."""
    service = SERVICES[name]
    assert {"cpus", "memory"} <= service["deploy"]["resources"]["limits"].keys()
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


@pytest.mark.parametrize("name", ["service", "sandbox"])
def test_ours_may_do_nothing(name: str) -> None:
    """No capability, no new privilege, nothing to write to, and a bound on processes."""
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["deploy"]["resources"]["limits"]["pids"]


def test_a_stop_has_the_time_that_the_service_takes() -> None:
    """The engine kills later than the service's own grace ends, and each variable is a setting of ours."""
    service = SERVICES["service"]
    assert float(service["stop_grace_period"].removesuffix("s")) > Settings().shutdown_grace
    known = {env_name(name) for name in Settings.__dataclass_fields__}
    assert {name for name in service["environment"] if name.startswith(ENV_PREFIX)} <= known
