"""From a fault in a cluster to the pager and back: the daemon as a process, a real Prometheus with the shipped rules,
and a real Alertmanager with the shipped routes and inhibitions.
"""

from __future__ import annotations

import asyncio
import re
import textwrap
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from recoverd.report import runbooks

from .clusters import Daemon
from .daemons import REQUIRED, Make, make, run
from .monitoring import Start, start_alertmanager, start_prometheus
from .receivers import Pager
from .test_api import as_json, node

__all__ = ["make", "run", "start_alertmanager", "start_prometheus"]
pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
QUICKER = 60
"""By so much each time to wait in the shipped files is divided: a minute is a second."""
UNITS = {"s": 1, "m": 60, "h": 3600}
WAITS = ("for", "group_wait", "group_interval", "repeat_interval")


def quicker(shipped: Any) -> Any:
    """The same with every time to wait divided by `QUICKER`, and nothing else changed."""
    if isinstance(shipped, list):
        return [quicker(each) for each in shipped]
    if isinstance(shipped, Mapping):
        return {key: _divided(value) if key in WAITS else quicker(value) for key, value in shipped.items()}
    return shipped


def _divided(time: str) -> str:
    number, unit = re.fullmatch(r"(\d+)([smh])", time).groups()  # type: ignore[union-attr]
    return f"{int(number) * UNITS[unit] * 1000 // QUICKER}ms"


def shipped(name: str) -> Any:
    return yaml.safe_load((ROOT / "config" / name).read_text())


def scraping(port: int) -> dict[str, Any]:
    """The scrape job as docs/install.md has it, in a Prometheus that calls the bastion's own cluster otherwise."""
    text = (ROOT / "docs/install.md").read_text()
    block = re.search(r"(?m)^ {4}scrape_configs:\n(?: {4}.*\n)+", text)
    assert block
    job = yaml.safe_load(textwrap.dedent(block[0]))["scrape_configs"][0]
    assert job["static_configs"][0]["targets"] == ["127.0.0.1:9770"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{port}"], "labels": {"cluster": "of-the-job"}}]
    return dict(job)


class Alertmanager:
    """A running one, and what it holds."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def holds(self, *names: str, state: str) -> dict[str, dict[str, Any]]:
        """What it holds, by name, once alerts of these names are in that state (`active` or `suppressed`)."""
        found: dict[str, dict[str, Any]] = {}
        try:
            async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as session:
                while {found[n]["status"]["state"] if n in found else "" for n in names} != {state}:
                    await asyncio.sleep(0.2)
                    async with session.get(f"{self.url}/api/v2/alerts") as answer:
                        found = {a["labels"]["alertname"]: a for a in await answer.json()}
        except TimeoutError:
            raise AssertionError(f"{names} not {state}; it holds {found}") from None
        return found


@pytest.fixture
async def pagers(tmp_path: Path) -> AsyncIterator[dict[str, Pager]]:
    """One for each receiver that the example for Alertmanager names."""
    found = {r["name"]: Pager(tmp_path, r["name"]) for r in shipped("alertmanager.yml")["receivers"]}
    for each in found.values():
        await each.start()
    yield found
    for each in found.values():
        await each.stop()


@pytest.fixture
def alerting(
    tmp_path: Path, start_prometheus: Start, start_alertmanager: Start, pagers: dict[str, Pager]
) -> Callable[[int], Alertmanager]:
    """`alerting(port)`: a Prometheus that scrapes that port, and the Alertmanager that it tells."""

    def start(port: int) -> Alertmanager:
        config = quicker(shipped("alertmanager.yml"))
        # Alertmanager's defaults are for people; what stands is told every second here, so that a test sees it stand
        config["route"] |= {"group_wait": "500ms", "group_interval": "1s", "repeat_interval": "1s"}
        config["receivers"] = [
            {"name": name, "webhook_configs": [{"url": pager.url, "send_resolved": True}]}
            for name, pager in pagers.items()
        ]
        url = start_alertmanager(config)
        rules = tmp_path / "rules.yml"
        rules.write_text(yaml.safe_dump(quicker(shipped("alerts/recoverd.yml"))))
        start_prometheus(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(rules)],
                "scrape_configs": [scraping(port)],
                "alerting": {"alertmanagers": [{"static_configs": [{"targets": [url.removeprefix("http://")]}]}]},
            }
        )
        return Alertmanager(url)

    return start


async def test_one_outage_is_one_page_what_follows_from_it_is_silent_and_its_end_is_told(
    make: Make, run: Callable[..., Daemon], alerting: Callable[[int], Alertmanager], pagers: dict[str, Pager]
) -> None:
    oncall, tickets = pagers["oncall"], pagers["tickets"]
    prod = await make("prod", approval=REQUIRED, restore_points={"interval": "0s"})
    # no TCP leads to a group's address, at once and wherever this runs; nothing is said of it while the node is Ready
    control_plane, worker = prod.config["control_planes"][0], {"name": "prod-w2", "address": "224.0.0.1"}
    prod.config["workers"] = [worker]

    def listed(*, ready: bool) -> None:
        nodes = [node(control_plane["name"], address=control_plane["address"])]
        nodes += [node(worker["name"], address=worker["address"], ready=ready)]
        prod.api.answers["/api/v1/nodes"] = as_json({"kind": "NodeList", "items": nodes})

    listed(ready=True)
    daemon = run(prod)
    daemon.start()
    await daemon.ready()
    await daemon.in_phase("healthy")
    alertmanager = alerting(daemon.port)

    prod.node.unit("kubelet", "inactive")
    await oncall.when(lambda: bool(oncall.alerts("RecoverdPlanAwaitsApproval")))
    page = oncall.alerts("RecoverdPlanAwaitsApproval")[0]
    (plan,) = (await daemon.json("plans"))["plans"]
    assert (page["labels"]["severity"], page["labels"]["cluster"]) == ("page", "prod")
    # by its link, as it stands, from where recoverd listens
    link = page["annotations"]["runbook_url"]
    assert link.startswith(runbooks.BASE)
    status, text = await daemon.get(link.removeprefix("http://127.0.0.1:9770"))
    assert status == 200 and "<h1>RecoverdPlanAwaitsApproval</h1>" in text and "recoverctl approve" in text
    assert f"recoverctl approve {plan['id']}" in page["annotations"]["description"]
    # the fault itself is not a second page
    held = await alertmanager.holds("RecoverdApiserverDown", state="suppressed")
    assert held["RecoverdApiserverDown"]["status"]["inhibitedBy"] == [held["RecoverdPlanAwaitsApproval"]["fingerprint"]]

    # a worker is lost meanwhile, which follows from it for all that is known
    listed(ready=False)
    held = await alertmanager.holds("RecoverdNodeLost", state="suppressed")
    assert held["RecoverdNodeLost"]["labels"]["severity"] == "ticket"
    assert held["RecoverdNodeLost"]["status"]["inhibitedBy"] == [held["RecoverdApiserverDown"]["fingerprint"]]
    # what was on its way when it was silenced has come by now; the fault may have been told before there was a plan
    await oncall.again()
    before = len(oncall.alerts("RecoverdApiserverDown"))
    for _ in range(3):
        await oncall.again()
    assert len(oncall.alerts("RecoverdApiserverDown")) == before
    assert oncall.last()["RecoverdPlanAwaitsApproval"] == "firing"
    assert not tickets.told and not oncall.alerts("RecoverdNodeLost")

    assert (await daemon.ctl("approve", plan["id"]))[0] == 0
    await daemon.closed()
    await oncall.when(lambda: set(oncall.last().values()) == {"resolved"})
    # and what is left of it when the page has gone is told
    await tickets.when(lambda: tickets.last() == {"RecoverdNodeLost": "firing"})
    ticket = tickets.alerts("RecoverdNodeLost")[0]
    assert (ticket["labels"]["cluster"], ticket["labels"]["node"]) == ("prod", "prod-w2")
    listed(ready=True)
    await tickets.when(lambda: tickets.last() == {"RecoverdNodeLost": "resolved"})
