"""Certificates of a real control plane: over, soon over, and made anew by hand as in the incident."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.lab.bastion import Bastion
from tests.lab.certificates import END, authorities, expire, kubernetes, serving
from tests.lab.kubelab.cluster import Cluster
from tests.lab.witness import ready
from tests.pki import reissue


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=1, spares=1, workers=2)


def wait_kept(daemon: Bastion) -> None:
    daemon.wait(
        "a copy of the certificates is kept", lambda: daemon.journal("SELECT 1 FROM note WHERE event='pki-kept'"), 60
    )


def test_one_expiring_in_ten_days_is_offered_and_not_done(cluster: Cluster, bastion: Callable[..., Bastion]) -> None:
    daemon, cp1 = bastion(cluster), cluster.node("cp1")
    wait_kept(daemon)
    reissue(kubernetes(cp1), kubernetes(cp1) / "pki/apiserver.crt", days=10)
    plan = daemon.wait_plan("renew-certificates", 60)
    sweeps = daemon.status()["last_sweep"]
    daemon.wait("more sweeps", lambda: daemon.status()["last_sweep"] > sweeps, 30)
    assert daemon.status()["state"] == "healthy" and daemon.status()["plan"] == plan["id"] and not daemon.incidents()
    assert serving(cp1) < datetime.now(UTC) + timedelta(days=11)
    daemon.approve("renew-certificates")
    daemon.wait("it is done", lambda: [p["status"] for p in daemon.plans(everything=True)] == ["succeeded"], 120)
    daemon.wait_state("healthy", seconds=30)
    assert serving(cp1) > datetime.now(UTC) + timedelta(days=300) and ready(cp1)
    assert [(i["state"], i["outcome"]) for i in daemon.incidents()] == [("maintenance", "recovered")]


@pytest.mark.core("renew-certificates")
def test_all_over_and_renewed_after_approval(cluster: Cluster, bastion: Callable[..., Bastion]) -> None:
    """kubelet's client certificate too, with which kubelet does not start any more."""
    daemon, cp1 = bastion(cluster), cluster.node("cp1")
    of_old = authorities(cp1)
    expire(cp1)
    cp1.sh(END)
    # a plan that is made and approved while they are being replaced renews those that were over
    # by then, and fails at kubelet
    last = "cp1:/var/lib/kubelet/pki/kubelet-client-current.pem"
    daemon.wait(
        "all of it is found",
        lambda: ("certificate-expired", last) in {(f["code"], f["subject"]) for f in daemon.status()["findings"]},
        60,
    )
    daemon.approve("renew-certificates", 90)
    daemon.wait_state("healthy", seconds=240)
    assert serving(cp1) > datetime.now(UTC) + timedelta(days=300) and authorities(cp1) == of_old
    assert ready(cp1)
    cp1.sh("kubectl --kubeconfig /etc/kubernetes/admin.conf wait --for=condition=Ready nodes --all --timeout=60s")
    assert cp1.answers("systemctl is-active -q kubelet")


@pytest.mark.core("restore-pki")
def test_the_incidents_own_certificate_commands_and_its_reboot(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    """Everything moved away and made anew by hand, the CAs too: nobody who trusts the
    old one accepts the API server.
    """
    daemon, cp1 = bastion(cluster), cluster.node("cp1")
    wait_kept(daemon)
    of_old = authorities(cp1)
    make = (
        "kubeadm init phase certs all --config /root/init.yaml; kubeadm init phase kubeconfig "
        "all --config /root/init.yaml"
    )
    cp1.sh(f"rm -rf /root/old; mkdir /root/old; cd /etc/kubernetes; mv pki *.conf /root/old; {make}")
    cp1.reboot()
    daemon.wait("it is found", lambda: "pki-replaced" in daemon.codes(), 120)
    daemon.approve("restore-pki", 90)
    daemon.wait_state("healthy", seconds=240)
    assert authorities(cp1) == of_old
    assert ready(cp1)
    cp1.sh("kubectl --kubeconfig /etc/kubernetes/admin.conf wait --for=condition=Ready nodes --all --timeout=90s")
