"""Calico's agent that is not ready since it has no BGP session with any other node. Pure.

Its readiness probe fails for as long as it has peers and a session with none of them (node/pkg/health: "BGP not
established with"), which only the event says, and not its log: where a firewall is in the way of TCP port 179, where
all the others are off, or where they call it at another address (projectcalico/calico #2561, #3309). A fresh agent has
the same peers.
"""

from __future__ import annotations

from recoverd.diagnose.cause import CNI, row
from recoverd.diagnose.causes import Reason
from recoverd.diagnose.scene import Scene
from recoverd.model.network import AgentView
from recoverd.model.text import some

CALICO = "calico-node"
WITHOUT = row(
    "no-bgp-session",
    (CNI,),
    r"(?!)",  # seen, and in no line
    "it has no BGP session with any other node, without which it does not call itself ready",
    "see whether the other nodes are up, and let TCP port 179 in between all of them (`nft list ruleset`, a firewall "
    "on the way); `calicoctl node status` there names its peers. It is ready by itself then",
)


def of_agent(scene: Scene, name: str, agent: AgentView) -> Reason | None:
    """That, where the kernel of the machine of this name shows that something listens there for BGP and has no
    connection; one that listens on another port than BGP's own is not seen.
    """
    host = scene.host(name)
    sessions = host.node.bgp if host and host.node else None
    if agent.daemonset.rpartition("/")[2] != CALICO or agent.status != "Running" or sessions is None:
        return None
    if any(sessions.values()):
        return None
    called = f"calls {some(sorted(sessions), 4)} in vain" if sessions else "is called by nobody and calls nobody"
    return Reason(WITHOUT, f"who listens on TCP port 179 there {called}", WITHOUT.why, WITHOUT.cure, seen=True)
