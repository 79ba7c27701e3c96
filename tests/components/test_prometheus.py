"""recoverd's metrics in a real Prometheus with the alert rules loaded, and against
promtool's own opinion of an exposition.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from recoverd.metrics.server import Metrics, app
from recoverd.model.finding import Finding, Phase, State
from recoverd.model.plan import Incident, Plan, PlanStatus
from recoverd.model.status import ClusterStatus
from recoverd.playbooks import registry
from tests.components.conftest import free_port
from tests.components.monitoring import Start, start_prometheus
from tests.unit.builders import Cluster

__all__ = ["start_prometheus"]
RULES = Path(__file__).parents[2] / "config/alerts/recoverd.yml"
PATIENCE = 40.0
"""Seconds; rules are evaluated every second, and the longest `for` that is awaited is 30 s."""


def broken(now: datetime) -> Metrics:
    """The metrics of a cluster whose etcd is stuck, with a plan that waits."""
    cluster = Cluster(now=now)
    finding = Finding("etcd-quorum-lost", "", "quorum is lost", ("member list of cp1",), state=State.ETCD_STUCK)
    incident = Incident(
        "prod-1", "prod", State.ETCD_STUCK, "quorum is lost", opened_at=now, fault_since=now - timedelta(seconds=10)
    )
    plan = Plan(
        id="prod-1.1",
        incident="prod-1",
        cluster="prod",
        playbook="force-new-cluster",
        summary="make cp1 a one-member cluster",
        destructive=True,
        automatic=False,
        status=PlanStatus.AWAITING_APPROVAL,
        created_at=now,
        expires_at=now + timedelta(minutes=30),
        evidence=(),
        destroys=(),
        undo=(),
        basis=(finding.key,),
        resolves=(finding.key,),
        steps=(),
        verify_within=60.0,
        deadline=900.0,
    )
    status = ClusterStatus(
        "prod",
        State.ETCD_STUCK,
        Phase.AWAITING_APPROVAL,
        now,
        False,
        "",
        "",
        (finding,),
        "prod-1",
        now,
        plan.id,
        now,
        "",
    )
    metrics = Metrics()
    metrics.expect(["prod"], [p.name for p in registry()])
    metrics.seed([incident], [plan])
    metrics.swept(replace(cluster.observation(), durations={"api": 0.1, "etcd": 0.2, "hosts": 0.3}), status)
    return metrics


@asynccontextmanager
async def served(metrics: Metrics) -> AsyncIterator[int]:
    runner = web.AppRunner(app(metrics, lambda: None, lambda: None))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port := free_port())
    await site.start()
    try:
        yield port
    finally:
        await runner.cleanup()


async def awaited(session: aiohttp.ClientSession, url: str, wanted: Any) -> Any:
    """Ask until `wanted(answer)` gives something, and return that; the failure shows what Prometheus answered last."""

    async def once() -> Any:
        async with session.get(url) as response:
            answer = await response.json()
        found = wanted(answer["data"])
        assert found, answer
        return found

    errors = retry_if_exception_type((AssertionError, aiohttp.ClientError, KeyError))
    return await AsyncRetrying(
        retry=errors, wait=wait_fixed(0.2), stop=stop_after_delay(PATIENCE), sleep=asyncio.sleep, reraise=True
    )(once)


async def test_a_real_prometheus_scrapes_it_and_raises_the_alerts(start_prometheus: Start) -> None:
    async with served(broken(datetime.now(UTC))) as port, aiohttp.ClientSession() as session:
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [{"job_name": "recoverd", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}],
        }
        api = start_prometheus(config) + "/api/v1"
        target = await awaited(
            session, f"{api}/targets", lambda data: [t for t in data["activeTargets"] if t["health"] == "up"]
        )
        assert target[0]["lastError"] == ""

        stuck = await awaited(session, f"{api}/query?query=recoverd_cluster_state%3D%3D1", lambda data: data["result"])
        assert [r["metric"]["state"] for r in stuck] == ["etcd-stuck"]

        rules = await awaited(session, f"{api}/rules", lambda data: data["groups"] if all(_evaluated(data)) else None)
        assert {r["health"] for group in rules for r in group["rules"]} == {"ok"}

        def fault(data: Any) -> Any:
            raised = {a["labels"]["alertname"]: a for a in data["alerts"]}
            # and nothing else: RecoverdAbsent was pending before the first scrape
            return raised if raised.keys() == {"RecoverdEtcdStuck", "RecoverdPlanAwaitsApproval"} else None

        alerts = await awaited(session, f"{api}/alerts", fault)
        assert alerts["RecoverdEtcdStuck"]["state"] in ("pending", "firing")
        assert alerts["RecoverdEtcdStuck"]["labels"]["cluster"] == "prod"
        waiting = alerts["RecoverdPlanAwaitsApproval"]
        assert waiting["state"] == "firing"
        assert "recoverctl approve prod-1.1" in waiting["annotations"]["description"]


def _evaluated(data: Any) -> Iterator[bool]:
    groups = data["groups"]
    yield bool(groups)
    for group in groups:
        yield from (rule["health"] != "unknown" for rule in group["rules"])


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
async def test_promtool_has_nothing_to_say_against_the_exposition(accept: str) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    async with (
        served(broken(datetime.now(UTC))) as port,
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept}) as response,
    ):
        assert response.content_type == ("application/openmetrics-text" if accept else "text/plain")
        body = await response.read()
    if accept:
        assert body.endswith(b"# EOF\n")
        return  # promtool reads the older format only
    process = await asyncio.create_subprocess_exec("promtool", "check", "metrics", stdin=-1, stdout=-1, stderr=-1)
    out, err = await process.communicate(body)
    assert (process.returncode, (out + err).decode()) == (0, "")
