"""The files of ``deploy/kubernetes`` and ``docker-compose.yml`` fit the worker: what they set, ask and allow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from agents.metrics import Metrics
from agents.settings import PREFIX, Settings
from agents.spec_file import parse_spec
from agents.web import Checks, WebServer
from agents.worker import STOP_WITHIN_S
from schemas.model_spec import ModelSpec

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
DOCUMENTS: dict[str, dict[str, Any]] = {
    f"{document['kind']} {document['metadata']['name']}": document
    for file in KUSTOMIZATION["resources"]
    for document in yaml.safe_load_all((FOLDER / file).read_text())
}
SETTINGS: dict[str, str] = DOCUMENTS["ConfigMap driftline-settings"]["data"]
PODS = {
    name: document["spec"]["template"]["spec"]
    for name, document in DOCUMENTS.items()
    if document["kind"] in ("StatefulSet", "Job")
}
WORKER = PODS["StatefulSet driftline"]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()

each_pod = pytest.mark.parametrize("name", PODS)


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    return only


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_document_is_valid_by_the_schema_of_kubernetes(name: str) -> None:
    kubernetes_validate.validate(DOCUMENTS[name], kubernetes_validate.latest_version(), strict=True)


def test_all_files_of_the_folder_are_applied() -> None:
    assert set(KUSTOMIZATION["resources"]) == {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}


def test_the_settings_are_settings_and_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    named = {**SETTINGS, **{variable["name"]: "secret" for variable in container(WORKER)["env"]}}
    assert {name.removeprefix(PREFIX).lower() for name in named} <= set(Settings.model_fields)
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.sasl_password is not None
    assert settings.web_host == "0.0.0.0"  # noqa: S104 - a probe comes from outside the container


@each_pod
def test_secrets_come_from_a_secret_and_from_nowhere_else(name: str) -> None:
    pod = container(PODS[name])
    assert all("secretKeyRef" in variable["valueFrom"] for variable in pod["env"])
    assert not [setting for setting in SETTINGS if "PASSWORD" in setting]
    assert [source["configMapRef"]["name"] for source in pod["envFrom"]] == ["driftline-settings"]


@each_pod
def test_no_pod_runs_as_root_or_may_write_to_its_image(name: str) -> None:
    pod, rights = PODS[name], container(PODS[name])["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert (rights["readOnlyRootFilesystem"], rights["allowPrivilegeEscalation"]) == (True, False)
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert f"USER {pod['securityContext']['runAsUser']}" in DOCKERFILE


@each_pod
def test_each_container_asks_for_memory_and_is_bounded(name: str) -> None:
    resources = container(PODS[name])["resources"]
    assert {"cpu", "memory"} <= set(resources["requests"])
    assert "memory" in resources["limits"]


def test_the_store_is_on_a_volume_that_the_worker_keeps() -> None:
    mounts = {mount["name"]: mount["mountPath"] for mount in container(WORKER)["volumeMounts"]}
    (claim,) = DOCUMENTS["StatefulSet driftline"]["spec"]["volumeClaimTemplates"]
    assert mounts[claim["metadata"]["name"]] == SETTINGS["DRIFTLINE_STATE_DIR"]
    assert WORKER["securityContext"]["fsGroup"] == WORKER["securityContext"]["runAsGroup"]


async def test_probes_and_scrapes_go_to_the_port_and_paths_of_the_web_server() -> None:
    (port,) = container(WORKER)["ports"]
    annotations = DOCUMENTS["StatefulSet driftline"]["spec"]["template"]["metadata"]["annotations"]
    assert {str(port["containerPort"]), annotations["prometheus.io/port"]} == {SETTINGS["DRIFTLINE_WEB_PORT"]}
    assert DOCUMENTS["Service driftline"]["spec"]["ports"][0]["targetPort"] == port["name"]
    probes = [container(WORKER)[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")]
    assert [probe["path"] for probe in probes] == ["/healthz", "/healthz", "/readyz"]
    assert {probe["port"] for probe in probes} == {port["name"]}
    async with WebServer("127.0.0.1", 0, Metrics(), Checks()) as server:
        assert server._runner is not None
        paths = {resource.canonical for resource in server._runner.app.router.resources()}
    assert {*(probe["path"] for probe in probes), annotations["prometheus.io/path"]} <= paths


def test_a_worker_that_is_told_to_stop_has_time_to_do_so() -> None:
    assert WORKER["terminationGracePeriodSeconds"] > STOP_WITHIN_S
    grace = re.fullmatch(r"(\d+)s", COMPOSE["services"]["worker"]["stop_grace_period"])
    assert grace is not None
    assert int(grace[1]) > STOP_WITHIN_S


def test_whoever_runs_a_worker_starts_it_again_when_it_ends() -> None:
    assert COMPOSE["services"]["worker"]["restart"] == "unless-stopped"
    assert WORKER.get("restartPolicy", "Always") == "Always"


def test_the_disruption_budget_and_the_service_are_of_the_workers() -> None:
    labels = DOCUMENTS["StatefulSet driftline"]["spec"]["template"]["metadata"]["labels"]
    assert DOCUMENTS["PodDisruptionBudget driftline"]["spec"]["selector"]["matchLabels"] == labels
    assert DOCUMENTS["Service driftline"]["spec"]["selector"] == labels
    job = DOCUMENTS["Job driftline-models"]["spec"]["template"]["metadata"]["labels"]
    assert job != labels


def test_the_specs_are_model_specs_and_each_is_applied() -> None:
    specs = DOCUMENTS["ConfigMap driftline-models"]["data"]
    assert all(isinstance(parse_spec(text, name), ModelSpec) for name, text in specs.items())
    applied = [Path(argument).name for argument in container(PODS["Job driftline-models"])["args"][2:]]
    assert applied == list(specs)


def test_the_image_is_that_of_this_release() -> None:
    version = re.search(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert {container(pod)["image"] for pod in PODS.values()} == {f"driftline:{version[1]}"}
