"""kube-proxy's pods made anew by a real API server: where there is none, and where one is wanted."""

from __future__ import annotations

import asyncio
from pathlib import Path

from recoverd.act.kube import Kube
from recoverd.act.node import restart_daemon_pods
from recoverd.model.node_operations import Agent, RestartDaemonPods
from recoverd.model.plan import StepResult

from .apiserver import ApiServer
from .conftest import Sshd

DAEMONSETS = "/apis/apps/v1/namespaces/kube-system/daemonsets"
LABELS = {"k8s-app": "kube-proxy"}
PROXY = {
    "metadata": {"name": "kube-proxy"},
    "spec": {
        "selector": {"matchLabels": LABELS},
        "template": {
            "metadata": {"labels": LABELS},
            "spec": {"containers": [{"name": "kube-proxy", "image": "kube-proxy"}]},
        },
    },
}


async def test_where_kube_proxy_was_replaced_there_is_nothing_to_restart(
    api: ApiServer, sshd: Sshd, tmp_path: Path
) -> None:
    """As with Cilium or Calico's eBPF: else the step fails on every node, and its CNI's agent is left out with it."""
    sshd.stop()  # no process of this machine is ended
    (tmp_path / "admin").write_text(api.admin_kubeconfig())
    kube, pool = Kube(tmp_path / "admin", list), sshd.pool("w1")

    async def restarted(agent: Agent) -> StepResult:
        until = asyncio.get_running_loop().time() + 4.0
        return await restart_daemon_pods(RestartDaemonPods("w1", agent), kube, pool, "w1", until)

    for agent in (Agent.KUBE_PROXY, Agent.CNI):
        done = await restarted(agent)
        assert done.ok and done.already_done and "nothing to restart" in done.detail
    # whoever made it has not been followed yet by a controller that says how many it wants
    assert await api.ask("POST", DAEMONSETS, admin=True, body=PROXY) == 201
    wanted = await restarted(Agent.KUBE_PROXY)
    assert not wanted.ok and "no new pod of kube-proxy" in wanted.detail
    status = {
        "currentNumberScheduled": 0,
        "numberMisscheduled": 0,
        "numberReady": 0,
        "observedGeneration": 1,
        "desiredNumberScheduled": 0,
    }
    put = await api.ask("PUT", f"{DAEMONSETS}/kube-proxy/status", admin=True, body={**PROXY, "status": status})
    assert put == 200 and (await restarted(Agent.KUBE_PROXY)).already_done
    await kube.close()
    await pool.close()
