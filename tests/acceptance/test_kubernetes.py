"""The Kubernetes manifests: what kustomize makes of them is what Kubernetes takes, and what the gateway expects."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from fastapi.routing import APIRoute

from gateway.api.app import public
from gateway.settings import Settings

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/kubernetes"
KUBERNETES = ("1.25", "1.32", kubernetes_validate.latest_version())


@pytest.fixture(scope="module")
def manifests() -> dict[str, dict[str, Any]]:
    """Kind → the one object of it."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed; Debian's package is kubernetes-client")
    made = subprocess.run(["kubectl", "kustomize", EXAMPLE], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    objects = list(yaml.safe_load_all(made.stdout))
    kinds = {each["kind"]: each for each in objects}
    assert len(kinds) == len(objects)
    return kinds


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_takes_them(manifests: dict[str, dict[str, Any]], version: str) -> None:
    """Every object fits the schema of old and new releases, with no key that they do not know."""
    for each in manifests.values():
        kubernetes_validate.validate(each, version, strict=True)

    broken = {**manifests["Service"], "spec": {"prots": []}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, version, strict=True)


def test_every_object_is_there_but_the_secret(manifests: dict[str, dict[str, Any]]) -> None:
    """The secret is only referred to."""
    kinds = {"Deployment", "Service", "PersistentVolumeClaim", "NetworkPolicy", "ConfigMap"}
    volumes = {each["name"]: each for each in pod(manifests)["volumes"]}

    assert set(manifests) == kinds
    assert all(each["metadata"]["namespace"] == "burst" for each in manifests.values())
    assert volumes["database"]["secret"]["secretName"] == "burst-database"
    assert volumes["settings"]["configMap"]["name"] == manifests["ConfigMap"]["metadata"]["name"]
    assert (
        volumes["state"]["persistentVolumeClaim"]["claimName"] == manifests["PersistentVolumeClaim"]["metadata"]["name"]
    )


def test_the_gateway_takes_its_settings(manifests: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """burst.toml is one that the gateway reads, and the ports and probes are those that it serves."""
    (tmp_path / "burst.toml").write_text(manifests["ConfigMap"]["data"]["burst.toml"])
    settings = Settings.load(tmp_path)
    (container,) = pod(manifests)["containers"]
    probes = [container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")]
    served = {route.path for route in public.routes if isinstance(route, APIRoute)}

    assert settings.listen.is_unspecified
    assert settings.database == "postgresql+psycopg://burst@postgresql.burst.svc/burst"
    assert container["ports"] == [{"name": "http", "containerPort": settings.port}]
    assert manifests["Service"]["spec"]["ports"][0]["targetPort"] == "http"
    assert {probe["path"] for probe in probes} == {"/healthz", "/readyz"} <= served
    assert manifests["Deployment"]["spec"]["replicas"] == 1
    assert (
        manifests["Service"]["spec"]["selector"].items()
        <= manifests["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    )


def pod(manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The deployment's pod."""
    return manifests["Deployment"]["spec"]["template"]["spec"]
