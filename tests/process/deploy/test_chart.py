"""The Helm chart, rendered by Helm's own library. `make chart` installs it."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.server.workers import stop_seconds_max
from app.settings import load
from app.settings.variables import VARIABLES
from tests.paths import ROOT
from tests.waiting import HANG_SECONDS

ENVIRONMENT = ROOT / ".chart"
CHART = ROOT / "deploy/helm/flagstone"
HERE = Path(__file__).parent
SETS: dict[str, Any] = yaml.safe_load((HERE / "chart_values.yaml").read_text())
COMMON = {"Deployment", "Job", "PodDisruptionBudget", "Service"}
TESTED = COMMON | {"Pod"}
KINDS = {
    "defaults": TESTED,
    "small": TESTED,
    "ingress": TESTED | {"Ingress"},
    "gateway": TESTED | {"HTTPRoute", "HorizontalPodAutoscaler", "ServiceMonitor"},
    "restricted": TESTED | {"NetworkPolicy"},
    "backups": TESTED - {"Job"},
    "relay": (TESTED | {"NetworkPolicy"}) - {"Job"},
}
# Each value that the chart refuses, with words of the reason.
REFUSED = {
    "name": ({"replicaCount": 3}, "additional properties 'replicaCount' not allowed"),
    "name below": ({"image": {"name": "x"}}, "at '/image': additional properties 'name'"),
    "type": ({"replicas": "two"}, "at '/replicas': got string, want integer"),
    "digest": ({"image": {"digest": "latest"}}, "at '/image/digest'"),
    "case": ({"settings": {"log_level": "info"}}, "'log_level' does not match"),
    "setting": ({"settings": {"LOGLEVEL": "info"}}, "settings.LOGLEVEL: Flagstone has no setting"),
    "secret": (
        {"settings": {"DATABASE_URL": "postgresql://a:canary7f3a@db/f"}},
        "settings.DATABASE_URL: it is secret. Put it into a Secret",
    ),
    "path": ({"settings": {"TOKEN_KEY_FILE": "/k"}}, "in secrets.app.files.TOKEN_KEY."),
    "port": ({"settings": {"PORT": 8081}}, "settings.PORT: the chart sets it: use service.port."),
    "instance": ({"settings": {"INSTANCE_ID": "a"}}, "each pod has its own name"),
    "migrator": (
        {"secrets": {"app": {"files": {"DATABASE_MIGRATOR_URL": "m"}}}},
        "the service must not have it",
    ),
    "plain file": (
        {"secrets": {"app": {"files": {"TIER": "tier"}}}},
        "Flagstone has no secret setting of this name",
    ),
    "twice": ({"settings": {"TOKEN_KEY": "sealed:age:v1:x"}}, "secrets.app.files has it too"),
    "host": ({"ingress": {"enabled": True}}, "host: set the host name"),
    "parent": (
        {"host": "flags.example.org", "httpRoute": {"enabled": True}},
        "httpRoute.parentRefs: name a Gateway.",
    ),
    "token": ({"serviceMonitor": {"enabled": True}}, "name the Secret with a token"),
    "upstream": (
        {"relay": {"enabled": True, "upstream": "http://flags.example.org"}},
        "relay.upstream: set the https URL",
    ),
    "scale": (
        {"autoscaling": {"enabled": True, "minReplicas": 7}},
        "must not exceed autoscaling.maxReplicas",
    ),
}
# Checks of checkov that do not fit, with the reason.
SKIPPED_POLICIES = {
    "CKV_K8S_11": "a limit of the processor delays requests",
    "CKV_K8S_21": "the namespace is an option of helm",
    "CKV_K8S_8": "the pod of `helm test` ends",
    "CKV_K8S_9": "the pod of `helm test` ends",
    "CKV2_K8S_6": "the policy is for the service; Helm creates it after the Job",
}

Manifest = dict[str, Any]
Results = dict[str, dict[str, Any]]

pytestmark = pytest.mark.skipif(
    not (ENVIRONMENT / "bin/checkov").exists(), reason="make chart installs Helm's library"
)


@pytest.fixture(scope="module")
def results() -> Results:
    """Return what Helm says to each set of values, in one process."""
    refused = {name: values for name, (values, _) in REFUSED.items()}
    assert not refused.keys() & SETS.keys()
    run = subprocess.run(
        [ENVIRONMENT / "bin/python", HERE / "chart_program.py"],
        input=json.dumps({"chart": str(CHART), "sets": {**SETS, **refused}}),
        capture_output=True,
        check=False,
        text=True,
        timeout=HANG_SECONDS,
    )
    assert run.returncode == 0, run.stderr
    answers: Results = json.loads(run.stdout)
    return answers


@pytest.fixture(params=SETS)
def manifests(request: pytest.FixtureRequest, results: Results) -> list[Manifest]:
    assert "refusal" not in results[request.param], results[request.param]
    rendered: list[Manifest] = results[request.param]["manifests"]
    return rendered


def _pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Yield the kind of each object with a pod, and the specification of the pod."""
    for manifest in manifests:
        if manifest["kind"] == "Pod":
            yield "Pod", manifest["spec"]
        elif "template" in manifest["spec"]:
            yield manifest["kind"], manifest["spec"]["template"]["spec"]


def _one(manifests: list[Manifest], kind: str) -> Manifest:
    (found,) = (manifest for manifest in manifests if manifest["kind"] == kind)
    return found


def _environment(pod: Manifest) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in pod["containers"][0]["env"]}


@pytest.mark.parametrize("name", SETS)
def test_chart_has_no_finding_and_valid_manifests(name: str, results: Results) -> None:
    result = results[name]

    assert result["findings"] == result["problems"] == []
    assert {manifest["kind"] for manifest in result["manifests"]} == KINDS[name]


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_values_are_refused_with_the_reason(name: str, results: Results) -> None:
    refusal = results[name]["refusal"]

    assert REFUSED[name][1] in refusal
    assert "canary" not in refusal


def test_every_pod_has_no_power(manifests: list[Manifest]) -> None:
    for kind, pod in _pods(manifests):
        (container,) = pod["containers"]
        assert pod["automountServiceAccountToken"] is False, kind
        assert pod["enableServiceLinks"] is False, kind
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"], kind


def test_only_the_migration_gets_the_migrator(manifests: list[Manifest]) -> None:
    for kind, pod in _pods(manifests):
        secrets = {v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
        has_url = "DATABASE_MIGRATOR_URL_FILE" in _environment(pod)
        assert ("flagstone-migrator" in secrets, has_url) == (kind == "Job",) * 2


def test_migration_runs_before_the_service(results: Results) -> None:
    manifests = results["defaults"]["manifests"]
    job, deployment = _one(manifests, "Job"), _one(manifests, "Deployment")

    annotations = job["metadata"]["annotations"]

    assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation"
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["database", "migrate"]
    pods = (job["spec"]["template"]["spec"], deployment["spec"]["template"]["spec"])
    assert [_environment(pod)["MIGRATE_ON_START"] for pod in pods] == ["false", "false"]


def test_settings_of_the_pods_are_accepted(manifests: list[Manifest]) -> None:
    parsers = {variable.name: variable.parse for variable in VARIABLES}
    environment = _environment(_one(manifests, "Deployment")["spec"]["template"]["spec"])

    for name, value in environment.items():
        if name in parsers:
            parsers[name](value)
        else:
            assert name.removesuffix("_FILE") in parsers


def test_files_of_the_settings_are_mounted(results: Results) -> None:
    pod = _one(results["backups"]["manifests"], "Deployment")["spec"]["template"]["spec"]
    environment = _environment(pod)

    assert environment["KEY_RING_FILE"] == "/etc/flagstone/app/key-ring"
    assert environment["HEARTBEAT_RETENTION"] == "2000000"
    mounts = {m["name"]: m["mountPath"] for m in pod["containers"][0]["volumeMounts"]}
    assert mounts == {
        "data": "/data",
        "app-secret": "/etc/flagstone/app",
        "backups": "/backups",
    }
    assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}


def test_relay_has_its_token_and_nothing_of_the_database(results: Results) -> None:
    manifests = results["relay"]["manifests"]
    pod = _one(manifests, "Deployment")["spec"]["template"]["spec"]

    assert pod["containers"][0]["args"] == ["relay"]
    assert _environment(pod) == {
        "RELAY_UPSTREAM": "https://flags.example.org",
        "RELAY_TOKEN_FILE": "/etc/flagstone/relay/relay-token",
    }
    secrets = [v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v]
    assert secrets == ["flagstone-relay"]
    ports = _one(manifests, "NetworkPolicy")["spec"]["egress"][0]["ports"]
    assert [port["port"] for port in ports] == [53, 53, 8443]
    assert "token create" not in results["relay"]["notes"]


def test_pods_may_reach_the_provider_of_the_sign_in(results: Results) -> None:
    policy = _one(results["restricted"]["manifests"], "NetworkPolicy")
    ports = policy["spec"]["egress"][0]["ports"]

    assert [port["port"] for port in ports] == [53, 53, 5432, 6432, 443]


def test_port_of_flagd_sync_is_that_of_the_settings(results: Results) -> None:
    manifests = results["restricted"]["manifests"]
    pod = _one(manifests, "Deployment")["spec"]["template"]["spec"]

    assert {"name": "grpc", "containerPort": 8015} in pod["containers"][0]["ports"]
    (port,) = (p for p in _one(manifests, "Service")["spec"]["ports"] if p["name"] == "grpc")
    assert (port["port"], port["targetPort"]) == (8015, "grpc")
    assert {"port": "grpc"} in _one(manifests, "NetworkPolicy")["spec"]["ingress"][0]["ports"]
    assert len(_one(results["defaults"]["manifests"], "Service")["spec"]["ports"]) == 1


@pytest.mark.parametrize(("name", "drain"), [("defaults", 5), ("small", 0), ("ingress", 12.5)])
def test_pod_has_time_to_stop(name: str, drain: float, results: Results) -> None:
    pod = _one(results[name]["manifests"], "Deployment")["spec"]["template"]["spec"]
    environment = _environment(pod)
    shutdown = environment.get("SHUTDOWN_TIMEOUT", "8")

    settings = load({"DRAIN_SECONDS": str(drain), "SHUTDOWN_TIMEOUT": shutdown})

    assert float(environment.get("DRAIN_SECONDS", 5)) == drain
    grace = pod["terminationGracePeriodSeconds"] - stop_seconds_max(settings.http)
    assert 5 < grace < 15


def test_service_selects_only_the_pods_of_the_service(manifests: list[Manifest]) -> None:
    selector = _one(manifests, "Service")["spec"]["selector"].items()
    labels = {
        manifest["kind"]: manifest["spec"]
        .get("template", manifest)
        .get("metadata", {})
        .get("labels", {})
        for manifest in manifests
        if manifest["kind"] in {"Deployment", "Job", "Pod"}
    }

    assert {kind for kind, given in labels.items() if selector <= given.items()} == {"Deployment"}


def test_selectors_do_not_change_with_the_version(manifests: list[Manifest]) -> None:
    """Kubernetes refuses to change the selector of a Deployment."""
    names = _one(manifests, "Deployment")["spec"]["selector"]["matchLabels"].keys()

    assert names == {f"app.kubernetes.io/{n}" for n in ("name", "instance", "component")}


def test_host_is_that_of_the_console(results: Results) -> None:
    pod = _one(results["ingress"]["manifests"], "Deployment")["spec"]["template"]["spec"]

    assert _environment(pod)["PUBLIC_URL"] == "https://flags.example.org"
    assert "https://flags.example.org/console" in results["ingress"]["notes"]
    assert "Signing in to the console is refused" in results["defaults"]["notes"]


def test_policies_of_checkov_hold(results: Results, tmp_path: Path) -> None:
    file = tmp_path / "manifests.yaml"
    ingress = _one(results["ingress"]["manifests"], "Ingress")
    file.write_text(yaml.safe_dump_all([*results["restricted"]["manifests"], ingress]))

    run = subprocess.run(
        [
            *(ENVIRONMENT / "bin/checkov", "--file", file, "--framework", "kubernetes"),
            *("--compact", "--quiet", "--skip-download", "--output", "json"),
            *("--skip-check", ",".join(SKIPPED_POLICIES)),
        ],
        capture_output=True,
        check=False,
        text=True,
        timeout=HANG_SECONDS * 3,
    )

    report = json.loads(run.stdout)
    assert report["summary"]["failed"] == 0, run.stdout
    assert report["summary"]["passed"] > 200
