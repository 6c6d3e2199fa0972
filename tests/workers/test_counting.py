"""How many workers there are, and what they count together."""

from pathlib import Path

import pytest
from prometheus_client.core import GaugeMetricFamily

from integration_api.calls.admission import AdmissionLimits
from integration_api.settings import Settings
from integration_api.telemetry.merged import Merged
from integration_api.workers.count import cpus, worker_count


def test_a_number_is_a_number() -> None:
    """From 1 to 256."""
    assert [worker_count(text) for text in ("1", " 4 ", "256")] == [1, 4, 256]
    for text in ("0", "257", "-1", "two", "", "1.5"):
        with pytest.raises(ValueError, match="workers must be"):
            worker_count(text)


@pytest.mark.parametrize(
    ("files", "most"),
    [
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "nonsense"}, None),
        ({}, None),
    ],
)
def test_auto_follows_the_quota(tmp_path: Path, files: dict[str, str], most: int | None) -> None:
    """Of cgroup v2 or v1; without one, the CPUs that the process may run on."""
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    without = cpus(tmp_path / "none")

    assert worker_count("auto", tmp_path) == (without if most is None else min(without, most))


def test_limits_hold_for_all_workers_together() -> None:
    """Each has its share of running and queued calls; a limit never becomes none."""
    settings = Settings(max_running_calls=100, max_queued_calls=3)
    shared = AdmissionLimits.of(settings, 4).shared_by(4)

    assert (shared.running, shared.queued) == (25, 1)


_ONE = b"""# HELP integration_api_build_info The program.
# TYPE integration_api_build_info gauge
integration_api_build_info{version="1"} 1.0
# HELP integration_api_calls_total Calls.
# TYPE integration_api_calls_total counter
integration_api_calls_total{method="Chat",status="OK"} 3.0
# HELP integration_api_running_calls Running.
# TYPE integration_api_running_calls gauge
integration_api_running_calls 2.0
# HELP took Seconds.
# TYPE took histogram
took_bucket{le="0.1"} 1.0
took_bucket{le="+Inf"} 3.0
took_count 3.0
took_sum 1.5
"""
_CANCELLED = b'integration_api_calls_total{method="Chat",status="CANCELLED"} 1.0\n'
_RUNNING = b"# HELP integration_api_running_calls"
_TWO = _ONE.replace(b"3.0", b"5.0").replace(_RUNNING, _CANCELLED + _RUNNING)


def test_metrics_of_workers_are_summed() -> None:
    """Counters, gauges and buckets; what says the same everywhere is said once; own families stand beside."""
    up = GaugeMetricFamily("workers", "Up.")
    up.add_metric([], 2)
    text = Merged().text([_ONE, _TWO], [up]).decode()

    for line in (
        'integration_api_build_info{version="1"} 1.0',
        'integration_api_calls_total{method="Chat",status="OK"} 8.0',
        'integration_api_calls_total{method="Chat",status="CANCELLED"} 1.0',
        "integration_api_running_calls 4.0",
        'took_bucket{le="0.1"} 2.0',
        'took_bucket{le="+Inf"} 8.0',
        "took_count 8.0",
        "took_sum 3.0",
        "workers 2.0",
    ):
        assert line in text.splitlines()
    assert text.index('le="0.1"') < text.index('le="+Inf"')


def test_a_worker_that_is_gone_keeps_its_counts() -> None:
    """Twice retired, its counters and histograms stay in the sums; its gauges do not."""
    merged = Merged()
    merged.retire(_ONE)
    merged.retire(_ONE)
    merged.retire(b"")
    lines = merged.text([_TWO]).decode().splitlines()

    assert 'integration_api_calls_total{method="Chat",status="OK"} 11.0' in lines
    assert "took_count 11.0" in lines
    assert "integration_api_running_calls 2.0" in lines
