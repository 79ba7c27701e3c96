"""Whose cordon it is, asked of a real API server, with kubectl as the person's hand."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tenacity import AsyncRetrying, retry_if_result, stop_after_delay, wait_fixed

from recoverd.act.kube import Kube
from recoverd.act.node import cordon, uncordon
from recoverd.model.node_operations import CORDONED, Cordon, Uncordon

from .apiserver import ADMIN, ApiServer, lab_program

FIRST, SECOND = "prod-1.1", "prod-1.2"
Kubectl = Callable[..., None]


@pytest.fixture
async def kube(api: ApiServer, tmp_path: Path) -> AsyncIterator[Kube]:
    """A cluster of one node, w1, in which the user `recoverd` may do everything."""
    binding = {
        "metadata": {"name": "recoverd"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "name": "recoverd"}],
    }
    made = Kube(api.kubeconfig(tmp_path / "kubeconfig"), list)

    async def there() -> bool:
        """The API server takes them only a moment after its port is open."""
        bound = await api.ask(
            "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", admin=True, body=binding
        )
        node = await api.ask("POST", "/api/v1/nodes", admin=True, body={"metadata": {"name": "w1"}})
        allowed = await api.ask("GET", "/api/v1/nodes/w1", admin=False)
        return bound in (201, 409) and node in (201, 409) and allowed == 200

    assert await AsyncRetrying(
        retry=retry_if_result(lambda ok: not ok), wait=wait_fixed(0.5), stop=stop_after_delay(60)
    )(there)
    yield made
    await made.close()


@pytest.fixture
def kubectl(api: ApiServer) -> Kubectl:
    program = lab_program("kubectl")
    access = [
        f"--server={api.base}",
        f"--token={ADMIN}",
        f"--certificate-authority={api.pki / 'ca.crt'}",
        f"--cache-dir={api.pki / 'cache'}",
    ]
    return lambda *words: subprocess.run([program, *access, *words], check=True, capture_output=True, timeout=30)


async def state(kube: Kube) -> tuple[bool, str]:
    """Whether w1 is cordoned, and the mark on it."""
    node = await kube.node("w1")
    return bool(node["spec"].get("unschedulable")), (node["metadata"].get("annotations") or {}).get(CORDONED, "")


async def test_a_cordon_of_the_plan_is_taken_back_with_its_mark_and_a_persons_stays(
    kube: Kube, kubectl: Kubectl
) -> None:
    assert (await cordon(Cordon("w1", FIRST), kube)).ok and await state(kube) == (True, FIRST)
    again = await cordon(Cordon("w1", FIRST), kube, ask=True)
    assert again.already_done and "for this plan" in again.detail
    assert "schedulable again" in (await uncordon(Uncordon("w1", FIRST), kube)).detail and await state(kube) == (
        False,
        "",
    )
    assert (await uncordon(Uncordon("w1", FIRST), kube)).already_done
    kubectl("cordon", "w1")
    assert "somebody cordoned it" in (await cordon(Cordon("w1", FIRST), kube)).detail
    assert "stays cordoned" in (await uncordon(Uncordon("w1", FIRST), kube)).detail and await state(kube) == (True, "")


async def test_a_cordon_that_a_person_has_made_anew_is_not_the_next_plans(kube: Kube, kubectl: Kubectl) -> None:
    """kubectl leaves the annotation of the first cordon on the node."""
    await cordon(Cordon("w1", FIRST), kube)
    kubectl("uncordon", "w1")
    kubectl("cordon", "w1")
    assert await state(kube) == (True, FIRST)
    result = await cordon(Cordon("w1", SECOND), kube)
    assert result.ok and "it stays cordoned afterwards" in result.detail and f"plan {FIRST}" in result.detail
    assert await state(kube) == (True, "")
    assert "stays cordoned" in (await uncordon(Uncordon("w1", SECOND), kube)).detail and await state(kube) == (True, "")
    assert "stays cordoned" in (await uncordon(Uncordon("w1", FIRST), kube)).detail, "its mark is gone"
