"""What the playbooks for `worker-network-broken` share: which nodes are broken, by which
findings, and what must be left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from recoverd.bounds import too_few_ready
from recoverd.diagnose.certificates import KUBELET_CLIENT
from recoverd.diagnose.images import is_why
from recoverd.diagnose.loss import began_anew, unread
from recoverd.diagnose.tables import concerned
from recoverd.diagnose.words import refused
from recoverd.model.catalogue import Code, Of, codes, host_in
from recoverd.model.facts import CureFacts, DoubleFacts, UnitFacts, WaitingFacts
from recoverd.model.finding import Finding, FindingKey
from recoverd.model.network import NetworkView, NodeNetworkView
from recoverd.model.observation import HostView, NodeView, ObjectsView, UnitView
from recoverd.model.proxy_operations import DAEMONSET_ANEW
from recoverd.playbooks.base import Situation

OF_NODES = codes(Of.NODE)
"""Every finding of these names the node that it is about."""


OF_RULES = codes(Of.RULES)
"""What kube-proxy alone keeps right."""
FOLLOWS: Mapping[str, frozenset[str]] = {
    Code.KUBE_PROXY_DOWN: frozenset({Code.KUBE_PROXY_DOWN}) | OF_RULES,
    Code.CNI_AGENT_DOWN: frozenset({Code.CNI_AGENT_DOWN, Code.POD_DEVICE_MISSING}) | codes(Of.PATHS),
    Code.SERVICE_RULES_STALE: OF_RULES,
    # with a cure of its own where something else than kube-proxy answers there (NodeLocal DNSCache)
    Code.DNS_UNREACHABLE: frozenset({Code.DNS_UNREACHABLE}),
}
"""What may come of an agent that does not work, and is over once it does."""
OF_KERNEL = frozenset({Code.CONNTRACK_FULL, Code.NEIGHBOURS_FULL, Code.REVERSE_PATH_FILTERED, Code.TUNNEL_FILTERED})
"""What explains that packets are lost, and is a sysctl or a rule of the node's."""
MISLED: Mapping[str, str] = {
    Code.POD_SUBNETS_OVERLAP: "has another node's part of the pod network",
    Code.CNI_ADDRESS: "is announced by its CNI at another address than its own",
}
LOST = OF_KERNEL | MISLED.keys()
"""What explains that packets do not arrive where they should, and no agent changes."""


def node_of(finding: Finding) -> str:
    return finding.facts.node or node_in(finding.key)


def node_in(key: FindingKey) -> str:
    """The node of a finding's key; "" for one of the whole cluster. A path's subject is FROM>TO."""
    return host_in(key[1])


def broken(situation: Situation, of: Collection[str] = OF_NODES) -> dict[str, list[Finding]]:
    """Confirmed findings by the node they are about."""
    found: dict[str, list[Finding]] = {}
    for finding in situation.confirmed:
        if finding.code in of:
            found.setdefault(node_of(finding), []).append(finding)
    return found


def node_views(situation: Situation) -> Mapping[str, NodeView]:
    objects = situation.observation.api.objects
    return {n.name: n for n in objects.nodes} if isinstance(objects, ObjectsView) else {}


def host_of(node: str, situation: Situation) -> str:
    """Configured name of the machine that is this node: by what a finding says, by its address, else by its name."""
    for finding in situation.confirmed:
        if finding.facts.node == node and finding.facts.host:
            return finding.facts.host
    view = node_views(situation).get(node)
    known = situation.settings.host_at(view.address) if view and view.address else None
    return known.name if known else node


def another_machine(node: str, host: str, situation: Situation) -> str:
    """Why the machine that is configured under this name is not the node that the API server lists: neither
    boot nor address. "" when it is.

    The boot id alone proves nothing: a kubelet that does not report since a reboot leaves the old one. Nor does
    the address: SSH may use another.
    """
    listed, view = node_views(situation).get(node), situation.host(host)
    learnt = {w.name: w.address for w in situation.memory.workers}
    address = (
        learnt | {h.name: h.address for h in (*situation.settings.control_planes, *situation.settings.workers)}
    ).get(host, "")
    if listed is None or view is None or not (listed.boot_id and view.boot_id and listed.address and address):
        return ""
    if listed.boot_id == view.boot_id or listed.address == address:
        return ""
    return (
        f"{host} at {address} is not the node {node}: the API server lists that one at {listed.address} in the boot "
        f"{listed.boot_id}, and the "
        f"machine is in the boot {view.boot_id}; put the right address of {node} into the configuration"
    )


def off_on_purpose(view: HostView, host: str) -> str:
    """Why kubelet and the runtime on this machine are not to be touched: somebody masked one, or it is not
    installed, or systemd was not seen there, as where SSH leads into a container beside the node (Bottlerocket's). ""
    when they may be.
    """
    if not view.units:
        return f"no unit of systemd was seen on {host}: SSH may lead to something else there than the node itself"
    for name in (view.runtime, "kubelet"):
        if (unit := view.units.get(name)) and (why := not_loaded(unit, host)):
            return why
    return ""


def not_loaded(unit: UnitView, host: str) -> str:
    """Why systemd would not start it, and what to do; "" where it would."""
    if refused(unit):
        return (
            f"systemd on {host} refuses {unit.name}.service or a drop-in of it ({unit.load}), so it can neither be "
            f"started nor restarted: see which line with `systemd-analyze verify {unit.name}.service`, put it right, "
            f"and `systemctl daemon-reload`"
        )
    if unit.load == "loaded":
        return ""
    return (
        f"{unit.name} on {host} is {unit.load}: somebody made it so on purpose or it is not installed; look with "
        f"`systemctl status {unit.name}`, and `systemctl unmask {unit.name}` when it should run"
    )


def client_over(host: str, situation: Situation) -> datetime | None:
    """When the client certificate of this machine's kubelet was over, by its own clock and the bastion's; None where it
    is valid or was not seen.
    """
    if (view := situation.host(host)) is None:
        return None
    now = min(situation.now, situation.now + timedelta(seconds=view.clock_offset))
    ends = (c.not_after for c in view.certificates if c.path.endswith(f"/{KUBELET_CLIENT}"))
    return next((end for end in ends if end < now), None)


def ends_itself(host: str, situation: Situation, *, reboot: bool = False) -> str:
    """Why no start and no reboot of a machine helps: kubelet or the runtime ends at once, for a cause that it names
    itself and that neither cures, or would with the client certificate that it has. "" where that is not so.

    What ends again and again for what is not known is not restarted once more; a `reboot`, which asks, may help.
    """
    for finding in situation.confirmed:
        facts = finding.facts
        if isinstance(facts, UnitFacts) and facts.host == host and facts.why and not facts.restart:
            if not facts.said and finding.code != Code.NODE_NOT_READY:
                if reboot:
                    continue
                return f"{facts.unit} on {host} ends at once, and no restart changes that: {facts.why}. {facts.cure}"
            does = "does not do its work" if finding.code == Code.NODE_NOT_READY else "ends at once"
            return (
                f"{facts.unit} on {host} {does}, and neither a restart nor a reboot changes why: "
                f"{facts.reason}. Cure: {facts.cure}"
            )
    worker = host not in {h.name for h in situation.settings.control_planes}
    if worker and (over := client_over(host, situation)):
        return (
            f"kubelet's client certificate on {host} was over at {over:%Y-%m-%d %H:%M} UTC, and neither a restart nor "
            "a reboot changes that: it has to be signed anew (renew-worker-certificate)"
        )
    return ""


def groups(nodes: Sequence[str], situation: Situation) -> list[tuple[str, ...]]:
    """The canary alone, then at most `nodes_at_once`, and fewer where `min_ready` would not hold."""
    bounds, views = situation.settings.bounds, tuple(node_views(situation).values())
    made, rest = [tuple(nodes[:1])], list(nodes[1:])
    while rest:
        size = min(bounds.nodes_at_once, len(rest))
        while size > 1 and too_few_ready(rest[:size], views, bounds):
            size -= 1
        made.append(tuple(rest[:size]))
        rest = rest[size:]
    return made


def nobody_keeps_rules(node: str, situation: Situation) -> str:
    """Why no restart can mend the service rules of this node: no DaemonSet wants a kube-proxy there and none
    runs. "" where that is not seen.
    """
    network = situation.observation.network
    found = {f.code for f in broken(situation).get(node, [])}
    if not found or not found <= OF_RULES or not isinstance(network, NetworkView) or "daemonsets" in network.unseen:
        return ""
    host = network.hosts.get(host_of(node, situation))
    if (
        any(a.kind == "kube-proxy" and a.node == node for a in network.agents)
        or not isinstance(host, NodeNetworkView)
        or "kube-proxy" in host.processes
    ):
        return ""
    return (
        "no DaemonSet wants a kube-proxy there, and none runs: nobody keeps the service rules, which no restart and no "
        f"reboot changes. When it was not removed on purpose: {DAEMONSET_ANEW}"
    )


def filtered(node: str, situation: Situation) -> str:
    """Why no restart and no reboot mends the paths of this node: a chain drops what it forwards, or what the node at
    the other end of its broken paths does, where it has nothing else; "" where none does.
    """
    found = broken(situation, {Code.FORWARDING_FILTERED})
    dropping = found.get(node) or [f for f in _at_the_ends(node, situation) if f.code == Code.FORWARDING_FILTERED]
    return (
        f"{node_of(dropping[0])} drops what it forwards (forwarding-filtered), which no restart and no reboot changes "
        "for long: whose rules these are (docker, firewalld, ufw, a script) has to let the pods' addresses through"
        if dropping
        else ""
    )


def _at_the_ends(node: str, situation: Situation) -> list[Finding]:
    """What is confirmed of this node and of those at the other ends of its paths; nothing where more is found of it
    than that paths and services fail.
    """
    found = broken(situation).get(node, [])
    if not found or not {f.code for f in found} <= codes(Of.PATHS):
        return []
    ends = frozenset[str]().union(*map(concerned, found))
    return [f for f in situation.confirmed if f.facts.host in ends]


def misled(node: str, situation: Situation) -> str:
    """Why no restart and no reboot mends the service rules of this node: its kube-proxy follows an API server that is
    not there, and would again; "" where it does not.
    """
    found = {f.code for f in broken(situation).get(node, [])}
    cut_off = any(f.code == Code.KUBE_PROXY_CUT_OFF and node_of(f) == node for f in situation.diagnosis.findings)
    return (
        f"the kube-proxy of {node} follows an API server that it does not reach (kube-proxy-cut-off), which no restart "
        "and no reboot changes: its configuration does (repoint-kube-proxy)"
        if cut_off and found <= OF_RULES
        else ""
    )


def without_image(node: str, situation: Situation) -> dict[str, str]:
    """The images that agents of this node wait for in vain, by what is found of the agent."""
    found = (f for f in situation.diagnosis.findings if f.code in FOLLOWS and is_why(f) and node_of(f) == node)
    return {f.code: f.facts.named for f in found if isinstance(f.facts, WaitingFacts)}


def _all_comes_of(agents: Collection[str], node: str, situation: Situation) -> bool:
    """Whether all that is found of this node follows from what is found of these agents; not where there are none."""
    of_them = {code for agent in agents for code in FOLLOWS[agent]}
    return bool(agents) and {f.code for f in broken(situation).get(node, [])} <= of_them


def unpulled(node: str, situation: Situation) -> str:
    """Why no restart and no reboot helps this node: what is found of it comes of an agent whose image does not come;
    "" where that is not so, or not all of it.
    """
    lacking = without_image(node, situation)
    if not _all_comes_of(lacking, node, situation):
        return ""
    return (
        f"{node} does not have {' and '.join(lacking.values())}, which no restart and no reboot brings; the cure is "
        f"with {' and '.join(lacking)}, and kubelet goes on by itself then"
    )


def by_own_words(node: str, situation: Situation) -> dict[str, str]:
    """What cures the agents of this node that say themselves what keeps them, or are seen to be kept, where no restart
    changes it; by what is found of them.
    """
    found = (f for f in situation.diagnosis.findings if f.code in FOLLOWS and node_of(f) == node)
    return {f.code: f.facts.cure for f in found if isinstance(f.facts, CureFacts)}


def helpless(node: str, situation: Situation) -> frozenset[str]:
    """What is found of agents of this node whose pods would be made anew in vain."""
    return frozenset(without_image(node, situation)).union(by_own_words(node, situation))


def said(node: str, situation: Situation) -> str:
    """Why no restart and no reboot helps this node: what is found of it comes of an agent that says so itself, or of
    what was seen to keep it; "" where that is not so, or not all of it.
    """
    cures = by_own_words(node, situation)
    if not _all_comes_of(cures, node, situation):
        return ""
    return (
        f"why that is so on {node} ({', '.join(cures)}) no restart and no reboot changes. Cure: "
        f"{' '.join(dict.fromkeys(cures.values()))}"
    )


def dropped(node: str, situation: Situation) -> str:
    """Why no restart and no reboot mends the paths and services of this node, where it has nothing else: its kernel, or
    that at the other end of a path, drops the packets. "" where none does.
    """
    why = next((f for f in _at_the_ends(node, situation) if f.code in LOST), None)
    if why is None or not isinstance(why.facts, CureFacts):
        return ""
    does = MISLED.get(why.code, "drops packets")
    return (
        f"{node_of(why)} {does} ({why.code}), which no restart and no reboot changes for long. Cure: {why.facts.cure}"
    )


def doubled(node: str, situation: Situation) -> str:
    """Why neither a restart nor a reboot helps this node: its machine is one node with another; "" where it is not."""
    for finding in situation.diagnosis.findings:
        facts = finding.facts
        if (
            finding.code == Code.MACHINES_SHARE_NODE
            and isinstance(facts, DoubleFacts)
            and (node == facts.node or host_of(node, situation) in (facts.host, facts.other))
        ):
            return (
                f"{facts.host} and {facts.other} are one node, {facts.node} (machines-share-node), which no restart "
                f"and no reboot changes. Cure: {facts.cure}"
            )
    return ""


def incurable(node: str, situation: Situation) -> str:
    """Why neither fresh agents nor a reboot would help this node; "" where nothing says so."""
    whys = (doubled, nobody_keeps_rules, filtered, misled, unpulled, said, dropped)
    return next((told for why in whys if (told := why(node, situation))), "")


def emptied(situation: Situation) -> str:
    """Why no kubelet may be started anew, as a refusal; "" when it may. Also when this very sweep does not see
    the member that has begun anew.
    """
    scene, setback = situation.scene, situation.memory.setback
    anew = {name: began_anew(scene, view) for name, view in {**scene.etcd_views, **scene.outside}.items()}
    if behind := [name for name, found in anew.items() if found is None]:
        return (
            f"{unread(*behind)}: a kubelet that starts anew would be told by the latter that it has "
            "no pods, and end them all"
        )
    lost = (
        situation.diagnosis.find(Code.ETCD_DATA_LOST)
        or situation.diagnosis.find(Code.ETCD_SPLIT_BRAIN)
        or (setback and setback.anew)
    )
    if not lost and not any(anew.values()):
        return ""
    return (
        "etcd has lost its data: a kubelet that starts anew would be told by the empty cluster that it has "
        "no pods, and end them all"
    )
