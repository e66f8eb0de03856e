"""The manifests: valid by the published schemas, safe, and of one mind with the settings."""

import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from baking import run

VERSION = "1.37"
POSTGRES_CONNECTIONS = 100 - 3  # max_connections, superuser_reserved_connections
Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def folder(project: Path) -> Path:
    return project / "deploy/kubernetes"


@pytest.fixture(scope="module")
def manifests(folder: Path) -> dict[str, Manifest]:
    """Those that the kustomization names, by their kinds."""
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    assert sorted([*listed, "kustomization.yaml"]) == sorted(p.name for p in folder.iterdir())
    read = [yaml.safe_load((folder / name).read_text()) for name in listed]
    return {manifest["kind"]: manifest for manifest in read}


@pytest.fixture(scope="module")
def pod(manifests: dict[str, Manifest]) -> Manifest:
    spec: Manifest = manifests["Deployment"]["spec"]["template"]["spec"]
    return spec


@pytest.fixture(scope="module")
def container(pod: Manifest) -> Manifest:
    (container,) = pod["containers"]
    return dict(container)


@pytest.fixture(scope="module")
def values(project: Path) -> Manifest:
    """What the code has by default."""
    program = (
        "import json; from my_service import __main__, settings; "
        "from my_service.app import app; from my_service.chassis import schema; "
        "print(json.dumps([settings.PORT, __main__.DRAIN_TIMEOUT, schema.READY_TIMEOUT, "
        "settings.WEB_CONCURRENCY, [route.path for route in app.routes]]))"
    )
    names = ["port", "drain", "ready", "workers", "paths"]
    return dict(zip(names, json.loads(run(project, "python", "-c", program)), strict=True))


def test_schemas(manifests: dict[str, Manifest]) -> None:
    assert manifests.keys() == {
        "Deployment",
        "HorizontalPodAutoscaler",
        "Job",
        "PodDisruptionBudget",
        "Service",
    }
    for manifest in manifests.values():
        kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_defect_is_found(manifests: dict[str, Manifest]) -> None:
    """The control of the test above: a misspelt field and a wrong type"""
    for old, new in [('"livenessProbe"', '"livenesProbe"'), ('"seconds": 5', '"seconds": "5"')]:
        text = json.dumps(manifests["Deployment"])
        assert old in text
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(json.loads(text.replace(old, new)), VERSION, strict=True)


def test_probes(container: Manifest, values: Manifest) -> None:
    """Liveness does not depend on the database; readiness waits longer than its own time limit"""
    live, ready = container["livenessProbe"], container["readinessProbe"]
    assert (live["httpGet"]["path"], ready["httpGet"]["path"]) == ("/livez", "/readyz")
    assert {"/livez", "/readyz"} <= set(values["paths"])
    (port,) = container["ports"]
    assert port == {"name": "http", "containerPort": values["port"]}
    assert live["httpGet"]["port"] == ready["httpGet"]["port"] == "http"
    assert ready["timeoutSeconds"] > values["ready"]


def test_time_to_end(pod: Manifest, container: Manifest, values: Manifest) -> None:
    """The kill comes after the preStop, the longest drain and the second of Hypercorn's own end"""
    sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > sleep + values["drain"] + 1


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_least_privilege(project: Path, manifests: dict[str, Manifest], kind: str) -> None:
    spec = manifests[kind]["spec"]["template"]["spec"]
    user = int(re.findall(r"^USER (\d+)", (project / "Dockerfile").read_text(), re.M)[0])
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert spec["automountServiceAccountToken"] is False
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"].keys() == {"memory"}
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}


def test_selectors(manifests: dict[str, Manifest]) -> None:
    """Service, budget and autoscaler mean the Deployment's pods, and not those of the Job"""
    deployment = manifests["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    service = manifests["Service"]["spec"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert service["selector"] == labels
    assert service["ports"][0]["targetPort"] == "http"
    assert manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    scaled = manifests["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert scaled == {
        "apiVersion": deployment["apiVersion"],
        "kind": "Deployment",
        "name": deployment["metadata"]["name"],
    }
    job = manifests["Job"]["spec"]["template"]["metadata"]["labels"]
    assert not service["selector"].items() <= job.items()


def test_secret_is_not_committed(folder: Path, manifests: dict[str, Manifest]) -> None:
    """Both pods read it from the Secret that the comment says how to make"""
    reference = {"name": "my-service", "key": "DATABASE_URL"}
    for kind in ("Deployment", "Job"):
        (container,) = manifests[kind]["spec"]["template"]["spec"]["containers"]
        variables = {variable["name"]: variable for variable in container["env"]}
        assert variables["DATABASE_URL"] == {
            "name": "DATABASE_URL",
            "valueFrom": {"secretKeyRef": reference},
        }
    comment = (folder / "kustomization.yaml").read_text()
    assert "create secret generic my-service --from-literal=DATABASE_URL=" in comment


def test_image(project: Path, folder: Path, manifests: dict[str, Manifest]) -> None:
    """One image, the compose file's, with the tag of the project's version; the Job migrates"""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    version = re.findall(r'^version = "(.+)"', (project / "pyproject.toml").read_text(), re.M)
    assert kustomization["images"] == [{"name": "my-service", "newTag": version[0]}]
    services = yaml.safe_load((project / "compose.yaml").read_text())["services"]
    containers = [
        manifests[kind]["spec"]["template"]["spec"]["containers"][0]
        for kind in ("Deployment", "Job")
    ]
    assert {container["image"] for container in containers} == {services["service"]["image"]}
    assert containers[1]["args"] == services["migrate"]["command"]


def test_connections(
    project: Path, manifests: dict[str, Manifest], container: Manifest, values: Manifest
) -> None:
    """At its largest, while it is updated and migrated, it fits into one PostgreSQL"""
    replicas = manifests["HorizontalPodAutoscaler"]["spec"]["maxReplicas"]
    surge = manifests["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    pool = int(variables["DATABASE_POOL_SIZE"])
    most = (replicas + surge) * values["workers"] * 2 * pool + 1
    assert most <= POSTGRES_CONNECTIONS
    said = f"({replicas} + {surge}) * {values['workers']} * 2 * {pool} + 1 = {most}"
    page = (project / "docs/deployment.md").read_text().replace("\N{MULTIPLICATION SIGN}", "*")
    assert said in page
