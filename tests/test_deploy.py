"""What deploy/ says agrees with the service: its settings, its ports, its probes, its times. `make deploy-check` lets
Kubernetes' and Envoy's own tools read the same files."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from integration_api import admin, settings
from integration_api.chat import service as chat
from integration_api.commands import serve
from integration_api.settings import Settings

DEPLOY = Path(__file__).parents[1] / "deploy"
BASE = DEPLOY / "kubernetes" / "base"
PHONE_CALLS = DEPLOY / "kubernetes" / "overlays" / "phone-calls"
ENVOY = DEPLOY / "envoy" / "envoy.yaml"
_FILES = sorted((DEPLOY / "kubernetes").rglob("*.yaml"))
_NAME = re.compile(rf"{settings.ENV_PREFIX}[A-Z_]+")
# What is closed behind the grace has this long, in seconds.
_BEHIND = 20


def read(file: Path) -> Any:
    return yaml.safe_load(file.read_text("utf-8"))


def lines_of(text: str) -> dict[str, str]:
    """NAME=value, as kustomize reads them."""
    pairs = (line.partition("=") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def literals(kustomization: Path) -> dict[str, str]:
    maps = read(kustomization)["configMapGenerator"]
    return lines_of("\n".join(line for each in maps for line in each.get("literals", [])))


BASE_SETTINGS = lines_of((BASE / "settings.env").read_text("utf-8"))
TLS_SETTINGS = literals(DEPLOY / "kubernetes" / "components" / "tls" / "kustomization.yaml")
PHONE_SETTINGS = {**BASE_SETTINGS, **TLS_SETTINGS, **literals(PHONE_CALLS / "kustomization.yaml")}


def settings_of(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """As `serve` reads them from its environment."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    values = dict(serve.command.make_context("serve", []).params)
    return Settings(**{name: value for name, value in values.items() if not name.startswith("sandbox")})


def pod_spec() -> Any:
    return read(BASE / "deployment.yaml")["spec"]["template"]["spec"]


def container() -> Any:
    (only,) = pod_spec()["containers"]
    return only


def ports() -> dict[str, int]:
    return {each["name"]: each["containerPort"] for each in container()["ports"]}


def mentioned(value: Any, key: str) -> Iterator[Any]:
    """What stands under a key, anywhere."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key:
                yield inner
            yield from mentioned(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from mentioned(inner, key)


def test_every_name_of_a_setting_is_one() -> None:
    """A variable that deploy/ names, in a comment too, is one that the service reads."""
    known = {settings.env_name(name) for name in Settings.__dataclass_fields__}
    named = {
        (file.name, name)
        for file in (*_FILES, BASE / "settings.env")
        for name in _NAME.findall(file.read_text("utf-8"))
    }

    assert len(named) > 15
    assert {(file, name) for file, name in named if name not in known} == set()
    assert PHONE_SETTINGS.keys() <= known


@pytest.mark.parametrize("environment", [BASE_SETTINGS, PHONE_SETTINGS], ids=["base", "phone-calls"])
def test_the_service_takes_them(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`serve` reads each value, and listens where the ports are."""
    taken = settings_of(environment, monkeypatch)

    assert ports() == {"grpc": taken.port, "admin": taken.admin_port}
    assert (taken.host, taken.admin_host) == ("0.0.0.0", "0.0.0.0")
    assert taken.auth_tokens_file, "a service beyond loopback without authentication does not start"


@pytest.mark.parametrize(
    ("environment", "deployment"),
    [(BASE_SETTINGS, BASE / "deployment.yaml"), (PHONE_SETTINGS, PHONE_CALLS / "deployment.yaml")],
    ids=["base", "phone-calls"],
)
def test_a_rollout_cuts_no_call(environment: dict[str, str], deployment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call ends within the grace, and the kubelet waits for longer than that."""
    taken = settings_of(environment, monkeypatch)
    (grace,) = mentioned(read(deployment), "terminationGracePeriodSeconds")

    assert taken.total_timeout <= taken.shutdown_grace
    assert taken.drain_delay > 0, "endpoints leave a Service behind SIGTERM, not before it"
    assert taken.drain_delay + taken.shutdown_grace + _BEHIND <= grace
    assert not list(mentioned(read(deployment), "preStop")), "drain_delay is what waits"


def test_the_cluster_autoscaler_waits_for_it() -> None:
    """It gives a pod ten minutes at most: longer than the base needs."""
    assert pod_spec()["terminationGracePeriodSeconds"] < 600


def test_probes_ask_the_admin_port() -> None:
    """Each probe asks a path that the admin port has, the right one."""
    probes = {name: container()[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}

    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startupProbe": "/readyz",
        "readinessProbe": "/readyz",
        "livenessProbe": "/livez",
    }
    assert {probe["port"] for probe in probes.values()} == {"admin"}
    source = Path(admin.__file__).read_text("utf-8")
    assert all(f'web.get("{probe["path"]}"' in source for probe in probes.values())


def test_the_pod_may_do_nothing_else() -> None:
    """What Kubernetes' profile `restricted` asks for, a root that cannot be written to, and no token."""
    pod, own = pod_spec()["securityContext"], container()["securityContext"]

    assert (pod["runAsNonRoot"], pod["runAsUser"], pod["seccompProfile"]) == (True, 65532, {"type": "RuntimeDefault"})
    assert own == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod_spec()["automountServiceAccountToken"] is False
    assert pod_spec()["enableServiceLinks"] is False, "a Service integration-api would set INTEGRATION_API_PORT"
    assert container()["resources"]["limits"].keys() == {"memory"}


def test_every_file_of_a_setting_is_mounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that the settings name lie in a mounted directory."""
    taken = settings_of(BASE_SETTINGS, monkeypatch)
    mounted = [each["mountPath"] for each in container()["volumeMounts"]]

    assert str(Path(taken.auth_tokens_file).parent) in mounted
    assert taken.credentials_dir in mounted
    tls = (DEPLOY / "kubernetes" / "components" / "tls" / "kustomization.yaml").read_text("utf-8")
    (place,) = {str(Path(value).parent) for value in TLS_SETTINGS.values()}
    assert f"mountPath: {place}," in tls


def test_every_selector_means_the_pods() -> None:
    """Deployment, Service, budget, policies: all select by the one label that the pods have."""
    (label,) = read(BASE / "deployment.yaml")["spec"]["template"]["metadata"]["labels"].items()
    ours = [{"matchLabels": {label[0]: label[1]}}]

    assert read(BASE / "service.yaml")["spec"]["selector"] == {label[0]: label[1]}
    assert [read(BASE / name)["spec"]["selector"] for name in ("deployment.yaml", "pdb.yaml")] == ours * 2
    policies = (BASE / "networkpolicy.yaml", PHONE_CALLS / "model-servers.yaml")
    assert [read(each)["spec"]["podSelector"] for each in policies] == ours * 2
    spread = pod_spec()["topologySpreadConstraints"]
    assert [each["labelSelector"] for each in spread] == ours * len(spread)


def test_clients_balance_by_the_services_name() -> None:
    """Headless: the name has every pod's address, ready ones only."""
    service = read(BASE / "service.yaml")["spec"]

    assert service["clusterIP"] == "None"
    assert not service.get("publishNotReadyAddresses")
    assert [(each["name"], each["port"]) for each in service["ports"]] == [("grpc", ports()["grpc"])]


def test_the_admin_port_is_the_monitorings() -> None:
    """Clients reach the gRPC port only, and no rule is open to all."""
    policy = read(BASE / "networkpolicy.yaml")["spec"]
    allowed = {port["port"]: rule["from"] for rule in policy["ingress"] for port in rule["ports"]}

    assert allowed.keys() == {"grpc", "admin"}
    monitoring = {"kubernetes.io/metadata.name": "monitoring"}
    assert allowed["admin"] == [{"namespaceSelector": {"matchLabels": monitoring}}]
    assert all(rule.get("to") for rule in policy["egress"])
    exceptions = [block["except"] for block in mentioned(policy["egress"], "ipBlock")]
    assert all("169.254.0.0/16" in each or "fe80::/10" in each for each in exceptions)


def test_the_autoscalers_metric_exists() -> None:
    """What the overlay scales by is a metric of ours."""
    (name,) = {each["name"] for each in mentioned(read(PHONE_CALLS / "hpa.yaml"), "metric")}

    assert f"`{name}`" in (DEPLOY.parent / "docs" / "operations.md").read_text("utf-8")


def test_envoy_agrees_with_the_service() -> None:
    """Its cluster is the Service's name, its health check our service, its pings and streams within our bounds."""
    envoy, namespace = read(ENVOY), read(BASE / "kustomization.yaml")["namespace"]
    (cluster,) = envoy["static_resources"]["clusters"]
    (address,) = mentioned(cluster["load_assignment"], "socket_address")
    name = f"{read(BASE / 'service.yaml')['metadata']['name']}.{namespace}.svc.cluster.local"

    assert address == {"address": name, "port_value": ports()["grpc"]}
    assert [each["grpc_health_check"]["service_name"] for each in cluster["health_checks"]] == [chat.NAME]
    for pings in mentioned(envoy, "connection_keepalive"):
        assert float(pings["interval"].rstrip("s")) >= Settings().min_client_ping_interval
    assert list(mentioned(envoy, "retry_on")) == ["reset-before-request,connect-failure"]
    assert list(mentioned(envoy, "max_concurrent_streams")) == [Settings().max_streams_per_connection]
    (route,) = mentioned(envoy, "route")
    assert route["timeout"] == "0s", "Envoy's own is 15 s for a whole stream"
