"""The manifests: valid by the published schemas, safe, and of one mind with the settings."""

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import psutil
import pytest
import yaml
from baking import bake, run
from faults.conftest import figure
from serving import serve
from test_answers import NAMES

OLDEST = 30  # of 1.x, as the kustomization says
VERSIONS = range(OLDEST, int(kubernetes_validate.latest_version().split(".")[1]) + 1)
POSTGRES_CONNECTIONS = 100 - 3  # max_connections, superuser_reserved_connections
BODIES = 900  # fewer than files that a process may open on most machines
READ_AHEAD = 450  # KiB that the server keeps of a connection
Manifest = dict[str, Any]

__all__ = ["figure"]


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
        "from my_service.app import app; "
        "from my_service.chassis import limits, migrations, schema; "
        "print(json.dumps([settings.PORT, __main__.DRAIN_TIMEOUT, schema.READY_TIMEOUT, "
        "settings.WEB_CONCURRENCY, migrations.ATTEMPTS * migrations.LOCK_TIMEOUT, "
        "(migrations.ATTEMPTS - 1) * migrations.LONGEST_PAUSE, "
        "settings.BODY_MEMORY, limits.MAX_IN_FLIGHT, [route.path for route in app.routes]]))"
    )
    names = "port drain ready workers locks pauses bodies requests paths".split()
    return dict(zip(names, json.loads(run(project, "python", "-c", program)), strict=True))


@pytest.mark.parametrize("version", VERSIONS)
def test_schemas(folder: Path, manifests: dict[str, Manifest], version: int) -> None:
    assert f"Kubernetes 1.{OLDEST} and newer" in (folder / "kustomization.yaml").read_text()
    assert manifests.keys() == {
        "Deployment",
        "HorizontalPodAutoscaler",
        "Job",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
    }
    for manifest in manifests.values():
        kubernetes_validate.validate(manifest, f"1.{version}", strict=True)


def list_names(data: Any) -> list[str]:
    """What is a name of an object or of a container, or the value of a label."""
    if isinstance(data, list):
        return [name for each in data for name in list_names(each)]
    if not isinstance(data, dict):
        return []
    named = [data[key] for key in ("name", "app.kubernetes.io/name") if key in data]
    return [*named, *list_names(list(data.values()))]


def test_names_of_the_longest_project(tmp_path: Path) -> None:
    """Each is a label of RFC 1123 too, of at most 63 characters."""
    name = max(NAMES, key=len)
    folder = bake(tmp_path, project=name) / "deploy/kubernetes"
    names = {
        found
        for path in folder.glob("*.yaml")
        for found in list_names(yaml.safe_load(path.read_text()))
        if name in found
    }
    assert names == {name, f"{name}-migrate"}
    assert max(map(len, names)) <= 63


def test_defect_is_found(manifests: dict[str, Manifest]) -> None:
    """The control of the test above: a misspelt field and a wrong type"""
    for old, new in [('"livenessProbe"', '"livenesProbe"'), ('"seconds": 5', '"seconds": "5"')]:
        text = json.dumps(manifests["Deployment"])
        assert old in text
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(json.loads(text.replace(old, new)), "1.37", strict=True)


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


def test_folder_for_files_of_forms(project: Path, pod: Manifest, container: Manifest) -> None:
    """The only one that can be written, with either; it does not fill the node."""
    assert container["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
    assert pod["volumes"] == [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}]
    services = yaml.safe_load((project / "compose.yaml").read_text())["services"]
    assert services["service"]["read_only"] is True
    assert services["service"]["tmpfs"] == ["/tmp"]


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
    """At its largest, while it is updated and migrated, it fits into one PostgreSQL

    Each pod may have one before it that still ends, and each Job too.
    """
    replicas = manifests["HorizontalPodAutoscaler"]["spec"]["maxReplicas"]
    surge = manifests["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    pool, workers = int(variables["DATABASE_POOL_SIZE"]), values["workers"]
    most = (replicas + surge + replicas) * workers * 2 * pool + 2 * 2
    assert most <= POSTGRES_CONNECTIONS
    said = f"({replicas} + {surge} + {replicas}) * {workers} * 2 * {pool} + 2 * 2 = {most}"
    page = (project / "docs/deployment.md").read_text().replace("\N{MULTIPLICATION SIGN}", "*")
    assert said in page


def test_autoscaler_acts_before_the_core_is_used_up(
    manifests: dict[str, Manifest], container: Manifest, values: Manifest
) -> None:
    """Its percentage is of the request, and a process uses one core at most"""
    spec = manifests["HorizontalPodAutoscaler"]["spec"]
    (metric,) = spec["metrics"]
    request = container["resources"]["requests"]["cpu"]
    cores = float(request[:-1]) / 1000 if request.endswith("m") else float(request)
    used = cores * metric["resource"]["target"]["averageUtilization"] / 100
    assert 0.5 <= used / values["workers"] <= 0.8


def test_node_can_be_drained(manifests: dict[str, Manifest]) -> None:
    """Also where none is ready; and the pods are not all on that node, where there are others"""
    budget = manifests["PodDisruptionBudget"]["spec"]
    assert budget["maxUnavailable"] < manifests["HorizontalPodAutoscaler"]["spec"]["minReplicas"]
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    deployment = manifests["Deployment"]["spec"]
    spreads = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert {spread["topologyKey"] for spread in spreads} == {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    }
    for spread in spreads:
        assert spread["labelSelector"] == deployment["selector"]


def test_start_has_its_own_time(container: Manifest) -> None:
    """Longer than a process that lives may be silent"""
    start, live = container["startupProbe"], container["livenessProbe"]
    assert start["httpGet"] == live["httpGet"]
    assert start["periodSeconds"] * start["failureThreshold"] >= 60
    assert live["periodSeconds"] * live.get("failureThreshold", 3) < 60


def test_job_ends(manifests: dict[str, Manifest], values: Manifest) -> None:
    """After all its attempts, with the waits for locks and the pauses in between"""
    job = manifests["Job"]["spec"]
    retries = job["backoffLimit"]
    waits = (retries + 1) * (values["locks"] + values["pauses"])
    # https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-backoff-failure-policy
    pauses = sum(min(10 * 2**number, 360) for number in range(retries))
    assert waits + pauses < job["activeDeadlineSeconds"] <= 3600


def test_job_can_be_made_anew(folder: Path, manifests: dict[str, Manifest]) -> None:
    """A Job cannot be changed: by hand it is deleted first, and engines know that they must"""
    name = manifests["Job"]["metadata"]["name"]
    commands = (folder / "kustomization.yaml").read_text()
    assert commands.index(f"delete job {name} --ignore-not-found") < commands.index("apply -")
    assert manifests["Job"]["metadata"]["annotations"] == {
        "argocd.argoproj.io/hook": "PreSync",
        "argocd.argoproj.io/hook-delete-policy": "BeforeHookCreation",
        "kustomize.toolkit.fluxcd.io/force": "enabled",
    }
    assert "ttlSecondsAfterFinished" not in manifests["Job"]["spec"]


def test_network(manifests: dict[str, Manifest], container: Manifest) -> None:
    """Both kinds of pods are meant; one port is open, at which HTTP/2 is spoken"""
    policy, service = manifests["NetworkPolicy"]["spec"], manifests["Service"]["spec"]
    (expression,) = policy["podSelector"]["matchExpressions"]
    pods = [manifests[kind]["spec"]["template"] for kind in ("Deployment", "Job")]
    (label,) = pods[0]["metadata"]["labels"]
    names = [pod["metadata"]["labels"][label] for pod in pods]
    assert expression == {"key": label, "operator": "In", "values": names}
    assert policy["ingress"] == [{"ports": [{"port": container["ports"][0]["containerPort"]}]}]
    assert service["ports"][0]["appProtocol"] == "kubernetes.io/h2c"
    assert not any(pod["spec"]["enableServiceLinks"] for pod in pods)


def test_limit_of_memory(container: Manifest, values: Manifest) -> None:
    """It holds the process, all bodies and what is made of them, and what is read ahead of each"""
    sizes = container["resources"]
    limit, request = (int(sizes[kind]["memory"][:-2]) for kind in ("limits", "requests"))
    read_ahead = values["requests"] * READ_AHEAD // 1024
    assert request + values["workers"] * (2 * values["bodies"] + read_ahead) <= limit


async def send_part(port: int) -> asyncio.StreamWriter:
    """All of a body but its last byte"""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "POST /users HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {1 << 20}\r\n\r\n".encode() + bytes((1 << 20) - 1))
    await writer.drain()
    return writer


@pytest.mark.slow
async def test_memory(
    project: Path, container: Manifest, values: Manifest, figure: Callable[[str, str], None]
) -> None:
    """Bodies that never end take what the limit is made of, and an idle pod is in its request"""
    request = int(container["resources"]["requests"]["memory"].removesuffix("Mi"))
    with serve(project, ("python", "-m", "my_service")) as service:
        process = psutil.Process(service.process.pid)
        idle = process.memory_info().rss >> 20
        parts = [asyncio.create_task(send_part(service.port)) for _ in range(BODIES)]
        await asyncio.wait(parts, timeout=5)
        most = process.memory_info().rss >> 20
        for part in parts:
            part.cancel()
        for part in parts:
            if not part.cancelled() and part.done() and not part.exception():
                part.result().close()
    figure(f"{BODIES} unfinished bodies of 1 MiB", f"{idle} MiB at first, {most} MiB then")
    assert idle < request
    assert most - idle < 2 * values["bodies"] + BODIES * READ_AHEAD // 1024
