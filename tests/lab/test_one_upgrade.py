"""An upgrade that has stopped half-way on the only control plane: the manifest names an image that is not there, or an
etcd that has raised the cluster's version and does not come up again. Nothing of it is taken back unasked.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.lab import etcd, newer
from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster
from tests.lab.witness import ready

MANIFESTS = "/etc/kubernetes/manifests"
PULLED = 180
"""Seconds for which an image may still be pulled."""


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=1, spares=1, workers=2)


def edit(cluster: Cluster, component: str, script: str) -> None:
    """As an editor does, by another file that takes its place."""
    path = f"{MANIFESTS}/{component}.yaml"
    cluster.node("cp1").sh(f"sed '{script}' {path} >/root/new.yaml && mv /root/new.yaml {path}")


@pytest.mark.parametrize(
    ("component", "version", "state"),
    [("kube-apiserver", "v1.20.99", "apiserver-down"), ("etcd", "3.4.99-0", "etcd-stuck")],
)
def test_an_image_that_is_not_there_is_named_and_the_one_of_before_is_offered(
    cluster: Cluster, bastion: Callable[..., Bastion], component: str, version: str, state: str
) -> None:
    daemon, cp1 = bastion(cluster), cluster.node("cp1")
    edit(cluster, component, f"s#\\(image: .*/{component}\\):.*#\\1:{version}#")
    began = time.monotonic()
    daemon.wait(
        "the image is named",
        lambda: any(
            f["code"] == "static-pods-do-not-start" and f"{component}:{version}" in f["message"]
            for f in daemon.status()["findings"]
        ),
        120,
    )
    print(f"named after {time.monotonic() - began:.0f} s: {daemon.status()['explanation']}")
    plan = daemon.wait_plan("restore-manifest", 330)
    assert time.monotonic() - began > PULLED - 30, "it may still be pulled"
    assert daemon.status()["state"] == state
    assert any(version in line for line in plan["evidence"]), plan
    done = daemon.ended(daemon.approve("restore-manifest"), 180)
    assert done["status"] == "succeeded", (done, daemon.tail())
    daemon.wait_state("healthy", seconds=180)
    cp1.wait_for(lambda: ready(cp1), "does not serve", 60)


@pytest.mark.spoils
def test_an_etcd_that_has_raised_the_version_and_falls_is_not_put_back_unasked(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    """An older program may refuse what the newer one has written."""
    daemon, cp1 = bastion(cluster), cluster.node("cp1")
    # an edit of the test before has to be old enough
    daemon.wait(
        "etcd's manifest is remembered", lambda: "etcd" in daemon.remembered(cluster.name).manifests.get("cp1", {}), 120
    )
    newer.fetch()
    [image] = newer.HOME.glob("*.tar")
    with image.open("rb") as file:
        cp1.sh("ctr -n k8s.io images import - >/dev/null", stdin=file)
    edit(cluster, "etcd", f"s|image: .*/etcd:.*|image: {newer.IMAGE}|")
    cp1.wait_for(lambda: newer.version(cp1) == newer.VERSION, f"does not run etcd {newer.VERSION}", 120)
    edit(cluster, "etcd", "s|--snapshot-count=|--snapshot-cuont=|")
    daemon.wait("etcd's manifest is named", lambda: "etcd-manifest-changed" in daemon.codes(), 180)
    plan = daemon.wait_plan("restore-manifest", 120)
    assert "another image" in str(plan) and newer.IMAGE in str(plan), plan
    # the way forward is a person's, and recoverd sees that it was gone
    edit(cluster, "etcd", "s|--snapshot-cuont=|--snapshot-count=|")
    daemon.wait_state("healthy", seconds=240)
    assert newer.version(cp1) == newer.VERSION and etcd.members(cp1) == ["cp1"]
    assert not [p for p in daemon.plans(everything=True) if p["status"] in ("running", "succeeded")]
