"""The manifests for Kubernetes: `kubectl` builds them, the API's schemas accept them, and they say what the pages say.

There is no cluster here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from presenced import Settings
from presenced.node.shutdown import MAX_DRAIN_S
from presenced.worker.client import STOP_TIMEOUT_S

FOLDER = Path(__file__).parents[2] / "deploy/kubernetes"
PAGE = (FOLDER.parents[1] / "docs/how-to/deploy/kubernetes.md").read_text("utf-8")

VERSIONS = ["1.30", "1.34", "1.37"]
"""Versions of Kubernetes whose schemas must accept the manifests, from the oldest one that has all kinds."""

LISTENER_S = 2.0
"""Seconds that the listener adds to `close_timeout` for connections that do not end (`Listener.stop`)."""

Manifest = dict[str, Any]


def build(folder: Path) -> str:
    """Return the manifests of a kustomization."""
    kubectl = shutil.which("kubectl", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert kubectl, "tools/setup installs it"
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), "an error or a warning, for example about an old field"
    return done.stdout


@cache
def manifests(name: str) -> dict[str, Manifest]:
    """Return the manifests of a folder by kind."""
    return {one["kind"]: one for one in yaml.safe_load_all(build(FOLDER / name))}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the manifests of the example with all components."""
    folder = shutil.copytree(FOLDER, tmp_path_factory.mktemp("kubernetes") / "kubernetes")
    file = folder / "example/kustomization.yaml"
    text = file.read_text("utf-8")
    assert "  # - ../components/servicemonitor\n" in text
    file.write_text(
        text.replace("  # - ../components/servicemonitor", "  - ../components/servicemonitor\n  - ../components/sqlite")
    )
    return build(folder / "example")


def pod(manifest: Manifest) -> Manifest:
    found: Manifest = manifest["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["base", "example", "one-replica", "everything"])
def test_the_schemas_of_kubernetes_accept_the_manifests(
    name: str, version: str, everything: str, tmp_path: Path
) -> None:
    text = everything if name == "everything" else build(FOLDER / name)
    parts = [part for part in text.split("\n---\n") if "kind: ServiceMonitor" not in part]  # the operator's own kind
    (tmp_path / "manifests.yaml").write_text("\n---\n".join(parts))
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "--kubernetes-version", version]
    done = subprocess.run([*command, tmp_path / "manifests.yaml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("passed") >= len(parts), done.stdout


@pytest.mark.parametrize("name", ["base", "example"])
def test_there_is_one_replica_and_the_old_pod_stops_first(name: str) -> None:
    spec = manifests(name)["Deployment"]["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


def test_the_policy_refuses_more_than_one_replica_of_presenced() -> None:
    policy, binding = yaml.safe_load_all((FOLDER / "one-replica/policy.yaml").read_text("utf-8"))
    (rule,) = policy["spec"]["matchConstraints"]["resourceRules"]
    assert set(rule["resources"]) == {"deployments", "deployments/scale"}
    assert rule["resourceNames"] == [manifests("base")["Deployment"]["metadata"]["name"]]
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    assert binding["spec"]["validationActions"] == ["Deny"]
    (validation,) = policy["spec"]["validations"]
    assert validation["expression"] == "!has(object.spec.replicas) || object.spec.replicas <= 1"


def test_the_pod_satisfies_the_restricted_standard() -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    spec = pod(manifests("example")["Deployment"])
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    for container in spec["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
    allowed = {"configMap", "secret", "persistentVolumeClaim", "emptyDir", "projected"}
    assert all(set(volume) - {"name"} <= allowed for volume in spec["volumes"])


def test_a_stop_has_enough_time() -> None:
    grace = pod(manifests("base")["Deployment"])["terminationGracePeriodSeconds"]
    longest = MAX_DRAIN_S + Settings().close_timeout + LISTENER_S + STOP_TIMEOUT_S
    assert longest == 14, "as the manifest and the pages say"
    assert grace >= 2 * longest
    assert "takes up to 14 s" in (FOLDER / "base/deployment.yaml").read_text("utf-8")
    assert f"`terminationGracePeriodSeconds` is {grace}, and a stop takes up to 14 s" in PAGE


def test_the_service_and_the_ingress_lead_to_the_port_of_the_server() -> None:
    built = manifests("example")
    deployment, service = built["Deployment"], built["Service"]
    (container,) = pod(deployment)["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": Settings().port}]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert built["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    (port,) = service["spec"]["ports"]
    assert port["targetPort"] == "http"
    backends = [path["backend"]["service"] for path in built["Ingress"]["spec"]["rules"][0]["http"]["paths"]]
    assert {(one["name"], one["port"]["name"]) for one in backends} == {(service["metadata"]["name"], port["name"])}


def test_the_probes_ask_health_routes_and_the_ingress_waits_longer_than_the_heartbeat() -> None:
    (container,) = pod(manifests("base")["Deployment"])["containers"]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert paths == {"startup": "/readyz", "readiness": "/readyz", "liveness": "/healthz"}
    annotations = manifests("example")["Ingress"]["metadata"]["annotations"]
    for name in ("read", "send"):
        timeout = int(annotations[f"nginx.ingress.kubernetes.io/proxy-{name}-timeout"])
        assert timeout > Settings().heartbeat_interval + Settings().pong_timeout


def test_the_pod_does_not_get_variables_of_a_service_called_presenced() -> None:
    assert pod(manifests("base")["Deployment"])["enableServiceLinks"] is False


def test_every_secret_that_is_used_is_in_the_command_of_the_page() -> None:
    names = set(re.findall(r"--from-literal=(\w+)=", PAGE))
    settings = (FOLDER / "example/presenced.toml").read_text("utf-8")
    assert set(re.findall(r"/run/secrets/presenced/(\w+)", settings)) == names
    (secret,) = (volume for volume in pod(manifests("example")["Deployment"])["volumes"] if "secret" in volume)
    assert secret["secret"]["secretName"] == "presenced"
    assert "kubectl create secret generic presenced " in PAGE


def test_the_application_mounts_the_secret_that_the_page_creates_for_it(tmp_path: Path) -> None:
    """The page's part of a Deployment is complete: as a patch of an application, it gives a valid manifest."""
    (patch,) = re.findall(r"```yaml\n(spec:.*?)```", PAGE, re.DOTALL)
    container = {"name": "shop", "image": "shop"}
    application = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "shop", "namespace": "shop"},
        "spec": {
            "selector": {"matchLabels": {"app": "shop"}},
            "template": {"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [container]}},
        },
    }
    (tmp_path / "shop.yaml").write_text(yaml.safe_dump(application))
    (tmp_path / "patch.yaml").write_text(
        yaml.safe_dump({key: application[key] for key in ("apiVersion", "kind", "metadata")}) + patch
    )
    kustomization = {"resources": ["shop.yaml"], "patches": [{"path": "patch.yaml"}]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    text = build(tmp_path)
    (tmp_path / "built.yaml").write_text(text)
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "--kubernetes-version", VERSIONS[0]]
    subprocess.run([*command, tmp_path / "built.yaml"], check=True)
    spec = pod(yaml.safe_load(text))
    assert [one["name"] for one in spec["containers"]] == ["shop"]
    (mount,), (volume,) = spec["containers"][0]["volumeMounts"], spec["volumes"]
    assert mount["name"] == volume["name"]
    name = volume["secret"]["secretName"]
    # Both Secrets have the same value under the same name.
    assert f'kubectl create secret generic {name} --namespace shop --from-literal=jwt_key="$KEY"' in PAGE
    assert PAGE.count('--from-literal=jwt_key="$KEY"') == 2
    assert f"`{mount['mountPath']}/jwt_key`" in PAGE


@pytest.mark.parametrize("name", ["base", "example"])
def test_the_server_accepts_the_settings_of_the_config_map(name: str, tmp_path: Path) -> None:
    text = manifests(name)["ConfigMap"]["data"]["presenced.toml"]
    (tmp_path / "jwt_key").write_text("a secret of forty characters, or nearly so")
    (tmp_path / "database_url").write_text("postgresql://presenced:secret@postgres.example.com/presenced")
    file = tmp_path / "presenced.toml"
    file.write_text(text.replace("/run/secrets/presenced/", f"{tmp_path}/"))
    command = [sys.executable, "-m", "presenced", "config", "show", "--config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_sqlite_is_on_a_volume_that_one_pod_can_use(everything: str) -> None:
    built = {one["kind"]: one for one in yaml.safe_load_all(everything)}
    claim = built["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    (container,) = pod(built["Deployment"])["containers"]
    assert {"name": "data", "mountPath": "/var/lib/presenced"} in container["volumeMounts"]
    assert {"name": "PRESENCED_DATABASE", "value": "sqlite"} in container["env"]
    assert {"name": "PRESENCED_NODE", "value": "presenced"} in container["env"]
    volumes = {volume["name"]: volume for volume in pod(built["Deployment"])["volumes"]}
    assert volumes["data"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert set(volumes) == {"settings", "secrets", "data"}


def test_the_service_monitor_selects_the_service_and_names_the_job_of_the_alerts(everything: str) -> None:
    built = {one["kind"]: one for one in yaml.safe_load_all(everything)}
    spec = built["ServiceMonitor"]["spec"]
    labels = built["Service"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    assert labels[spec["jobLabel"]] == "presenced"
    (endpoint,) = spec["endpoints"]
    assert endpoint["port"] == built["Service"]["spec"]["ports"][0]["name"]
    assert endpoint["authorization"]["credentials"] == {"name": "presenced", "key": "metrics_key"}
    assert "`metrics_key`" in PAGE


def test_the_page_lists_every_folder() -> None:
    folders = {path.parent.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("kustomization.yaml")}
    assert folders == set(re.findall(r"^\| `([\w/-]+)` \|", PAGE, re.MULTILINE))


def test_the_page_makes_several_nodes_with_names_of_their_own(tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "kubernetes")
    part = PAGE.partition("## Several nodes")[2].partition("```yaml\n")[2].partition("```")[0]
    file = folder / "example/kustomization.yaml"
    added = yaml.safe_load(part)
    own = yaml.safe_load(file.read_text("utf-8"))
    file.write_text(yaml.safe_dump({**own, **added, "patches": [*own["patches"], *added["patches"]]}))
    built = {one["kind"]: one for one in yaml.safe_load_all(build(folder / "example"))}["Deployment"]["spec"]
    assert (built["replicas"], built["strategy"]["type"]) == (3, "RollingUpdate")
    [name] = built["template"]["spec"]["containers"][0]["env"]
    assert name == {"name": "PRESENCED_NODE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
