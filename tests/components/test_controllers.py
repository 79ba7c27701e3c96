"""Whether kube-controller-manager leads and endpoints follow pods, asked of a real API server; what a
controller would write, the test writes.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tenacity import AsyncRetrying, Retrying, retry_if_exception_type, retry_if_result, stop_after_delay, wait_fixed

from recoverd.act.controllers import STEADY, await_controllers, await_endpoints
from recoverd.act.kube import Kube
from recoverd.model.plan import StepResult

from .apiserver import ADMIN, ApiServer, lab_program
from .test_cordon import kube

__all__ = ["kube"]
Kubectl = Callable[..., str]
LEASE = {
    "kind": "Lease",
    "apiVersion": "coordination.k8s.io/v1",
    "metadata": {"name": "kube-controller-manager", "namespace": "kube-system"},
}
POD = "/api/v1/namespaces/default/pods/web-1"


@pytest.fixture
def kubectl(api: ApiServer) -> Kubectl:
    program = lab_program("kubectl")
    access = [
        f"--server={api.base}",
        f"--token={ADMIN}",
        f"--certificate-authority={api.pki / 'ca.crt'}",
        f"--cache-dir={api.pki / 'cache'}",
    ]

    def run(*words: str, given: Any = None) -> str:
        text = json.dumps(given) if given else None
        return subprocess.run(
            [program, *access, *words], check=True, capture_output=True, text=True, timeout=30, input=text
        ).stdout

    return run


def soon(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


def renew(kubectl: Kubectl, second: int) -> None:
    spec = {
        "holderIdentity": "cp1_1",
        "leaseDurationSeconds": 15,
        "renewTime": f"2026-03-05T19:10:{second:02d}.000000Z",
    }
    kubectl("apply", "--validate=false", "-f", "-", given=LEASE | {"spec": spec})


async def test_a_controller_manager_leads_when_its_lease_is_renewed(kube: Kube, kubectl: Kubectl) -> None:
    result = await await_controllers(kube, soon(5))
    assert result.ok and "cannot be told" in result.detail and "404" in result.detail, "there is no lease"
    renew(kubectl, 1)
    result = await await_controllers(kube, soon(4))
    assert (
        not result.ok and "held by cp1_1, renewed at 2026-03-05T19:10:01" in result.detail and "crictl" in result.detail
    )

    waiting = asyncio.create_task(await_controllers(kube, soon(60)))
    for second in range(2, 50):
        await asyncio.to_thread(renew, kubectl, second)
        if (await asyncio.wait([waiting], timeout=0.5))[0]:
            break
    result = await waiting
    assert result.ok and "leads" in result.detail


@pytest.fixture
async def service(kube: Kube, kubectl: Kubectl) -> AsyncIterator[Callable[..., None]]:
    """The service web with a pod on w1; what is called sets the pod's address, and that of its endpoint."""
    container = {"name": "web", "image": "web"}
    spec = {"nodeName": "w1", "automountServiceAccountToken": False, "containers": [container]}
    # admission hears of the account a moment after it was made
    insist = Retrying(
        retry=retry_if_exception_type(subprocess.CalledProcessError),
        wait=wait_fixed(0.5),
        stop=stop_after_delay(30),
        reraise=True,
    )
    kubectl("create", "serviceaccount", "default")
    insist(
        kubectl,
        "create",
        "-f",
        "-",
        given={"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "web-1"}, "spec": spec},
    )
    kubectl("create", "service", "clusterip", "web", "--tcp=80:80")

    def put(pod: str, endpoint: str, keeper: str = "endpointslice-controller.k8s.io") -> None:
        seen = json.loads(kubectl("get", "--raw", POD))
        seen["status"] |= {"podIP": pod, "podIPs": [{"ip": pod}], "phase": "Running"}
        kubectl("replace", "--raw", f"{POD}/status", "-f", "-", given=seen)
        reference = {"kind": "Pod", "namespace": "default", "name": "web-1"}
        slices = {
            "kind": "EndpointSlice",
            "apiVersion": "discovery.k8s.io/v1beta1",
            "metadata": {
                "name": "web-x",
                "labels": {"kubernetes.io/service-name": "web", "endpointslice.kubernetes.io/managed-by": keeper},
            },
            "addressType": "IPv4",
            "ports": [{"name": "80-80", "port": 80, "protocol": "TCP"}],
            "endpoints": [{"addresses": [endpoint], "conditions": {"ready": True}, "targetRef": reference}],
        }
        kubectl("apply", "--validate=false", "-f", "-", given=slices)

    yield put


async def test_endpoints_follow_their_pods(kube: Kube, kubectl: Kubectl, service: Callable[..., None]) -> None:
    service("10.244.1.2", "10.244.1.9")
    left = await await_endpoints(kube, soon(4))
    assert left.ok and "10.244.1.9:80 of default/web:80, whose pod default/web-1 now has 10.244.1.2" in left.detail, (
        left
    )
    assert "the plan goes on" in left.detail

    service("10.244.1.2", "10.244.1.9", keeper="another-network.example")
    assert "are the addresses of their pods" in (await await_endpoints(kube, soon(20))).detail, (
        "who else keeps slices knows why"
    )

    service("10.244.1.2", "10.244.1.9")
    waiting = asyncio.create_task(timed(kube))
    await asyncio.to_thread(service, "10.244.1.2", "10.244.1.2")
    result, took = await waiting
    assert "are the addresses of their pods" in result.detail and took >= STEADY

    await asyncio.to_thread(kubectl, "delete", "pod", "web-1", "--grace-period=0", "--force")
    assert "default/web-1 is gone" in (await await_endpoints(kube, soon(4))).detail


async def timed(kube: Kube) -> tuple[StepResult, float]:
    began = soon(0)
    return await await_endpoints(kube, soon(60)), soon(0) - began


async def test_where_it_may_not_look_it_says_so_and_goes_on(api: ApiServer, kube: Kube, kubectl: Kubectl) -> None:
    renew(kubectl, 1)
    kubectl("delete", "clusterrolebinding", "recoverd")

    async def denied() -> bool:
        return await api.ask("GET", "/api/v1/services", admin=False) == 403

    assert await AsyncRetrying(
        retry=retry_if_result(lambda no: not no), wait=wait_fixed(0.2), stop=stop_after_delay(30)
    )(denied)
    for look in (await_controllers, await_endpoints):
        result = await look(kube, soon(20))
        assert result.ok and "cannot be told" in result.detail and "rbac.yaml" in result.detail
