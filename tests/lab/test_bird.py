"""Routes that a routing daemon has learnt, BIRD by BGP from the other workers: they are its own to add and to withdraw,
and nobody else's, whatever else is repaired on that machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import cycle
from threading import Event, Thread

import pytest

from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster
from tests.lab.kubelab.node import Node
from tests.lab.test_operators_day import until
from tests.lab.witness import boots

BLOCK = "10.250.7.0/26"
"""Addresses of pods that move from one worker to another, as a block of Calico's does."""
HERE = "/etc/bird/blocks.conf"
"""What blocks are on the machine."""
CONFIG = """router id {address};
protocol device {{ scan time 2; }}
protocol direct {{ ipv4; interface "cni0"; }}
protocol static {{ ipv4;
  include "{here}";
}}
protocol kernel {{ ipv4 {{ import none; export where source ~ [ RTS_BGP, RTS_STATIC ]; }}; }}
"""
PEER = """protocol bgp {name} {{
  local {address} as 64512; neighbor {peer} as 64512; hold time 9; direct;
  ipv4 {{ import all; export where source ~ [ RTS_DEVICE, RTS_STATIC ]; next hop self; }};
}}
"""


def give_bird(cluster: Cluster) -> None:
    """Pods' networks of the other workers are learnt by BGP there, and not by the lab's own routes any more."""
    workers = [n for n in cluster.nodes if n.name.startswith("w")]
    for node in workers:
        peers = [w for w in workers if w is not node]
        config = CONFIG.format(address=node.address, here=HERE)
        config += "".join(PEER.format(name=p.name, address=node.address, peer=p.address) for p in peers)
        node.sh(f"ip link show cni0 >/dev/null; : >{HERE}; cat >/etc/bird/bird.conf <<'E'\n{config}E\n")
        node.sh("systemctl restart bird; " + "; ".join(f"ip route del {p.pods} via {p.address} || :" for p in peers))
        # nor do they come back with a reboot
        node.sh("; ".join(f"sed -i '\\|{p.pods}|d' /etc/lab-routes" for p in peers))
    for node in workers:
        until(f"{node.name} has learnt the routes", lambda node=node: len(learnt(node)) == len(workers) - 1)  # type: ignore[misc]


def learnt(node: Node) -> list[str]:
    return node.sh("ip route show proto bird type unicast", capture_output=True).stdout.splitlines()


def place(block: Node, other: Node) -> None:
    """The block is on that machine from now on, and on the other no more."""
    block.sh(f"echo 'route {BLOCK} blackhole;' >{HERE}; birdc configure >/dev/null")
    other.sh(f": >{HERE}; birdc configure >/dev/null")


def via(node: Node) -> str:
    said = node.sh(f"ip route show {BLOCK}", capture_output=True).stdout
    return said.split()[2] if " via " in said else ""


@pytest.mark.spoils
def test_what_a_routing_daemon_has_learnt_is_left_to_it_while_another_fault_is_repaired(
    bring_up: Callable[..., Cluster], bastion: Callable[..., Bastion]
) -> None:
    cluster = bring_up(control_planes=1, workers=3, profile="bird")
    w1, w2, w3, cp1 = (cluster.node(n) for n in ("w1", "w2", "w3", "cp1"))
    give_bird(cluster)
    place(w2, w3)
    until("w1 knows where the block is", lambda: via(w1) == w2.address)
    before = boots(cluster)
    s = bastion(cluster, bounds={"cooldown": 0, "attempts": 100})
    s.wait_network(cluster)
    known = s.remembered(cluster.name).networks["w1"].routes
    assert any(cp1.pods in r for r in known) and not any(n in r for r in known for n in (BLOCK, w2.pods, w3.pods)), (
        known
    )

    w1.sh("nohup ip monitor route >/root/routes-that-changed 2>&1 </dev/null &")
    ended = Event()

    def move() -> None:
        for there, gone in cycle(((w3, w2), (w2, w3))):
            if ended.is_set() and there is w2:
                break
            place(there, gone)
            ended.wait(1)

    moving = Thread(target=move)
    # a route of the machine's own and its forwarding are lost while the block moves to and fro
    w1.sh(f"sysctl -qw net.ipv4.ip_forward=0; ip route del {cp1.pods}")
    moving.start()
    try:
        incident = s.repaired(240)
    finally:
        ended.set()
        moving.join()
    assert incident["state"] == "worker-network-broken" and incident["outcome"] == "recovered", incident
    until("w1 knows where the block is", lambda: via(w1) == w3.address)
    steps = [step["description"] for p in s.plans(everything=True) for step in p["steps"]]
    assert any(f"{cp1.pods} via {cp1.address}" in step for step in steps), steps
    assert not any(BLOCK in step or w2.pods in step or w3.pods in step for step in steps), steps
    changed = w1.sh("cat /root/routes-that-changed", capture_output=True).stdout.splitlines()
    moves = [line for line in changed if BLOCK in line]
    assert len(moves) >= 4, changed
    assert all("proto bird" in line for line in moves), moves
    assert not [line for line in changed if (w2.pods in line or w3.pods in line) and "proto bird" not in line], changed
    assert len(learnt(w1)) == 3, learnt(w1)
    at = time.monotonic()
    s.wait_state("healthy", seconds=60)
    print(
        f"healthy after {time.monotonic() - at:.0f} s; the block was moved, as w1 saw it: {len(moves)} routes changed"
    )
    assert boots(cluster) == before
