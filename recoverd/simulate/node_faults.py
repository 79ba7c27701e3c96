"""What goes wrong with a node's network, and what people set on pods: as `faults`, which names them."""

from __future__ import annotations

from dataclasses import replace

from recoverd.model.node_look import HOSTS
from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.hosts import BRIDGE, CNI_FILE, HOSTS_LINE
from recoverd.simulate.nodes import RESYNC

NOT_SET = (
    "could not set conntrack parameters from kube-proxy configuration: open "
    "/proc/sys/net/netfilter/nf_conntrack_max: permission denied"
)


def forwarding_off(c: ModelCluster, name: str) -> None:
    """`sysctl -w net.ipv4.ip_forward=0`, as somebody's hardening script does it."""
    c.machines[name].forwarding = False


def bridge_netfilter_off(c: ModelCluster, name: str) -> None:
    """`sysctl -w net.bridge.bridge-nf-call-iptables=0`, or a boot without the module br_netfilter."""
    c.machines[name].bridge_netfilter = False


def drop_forwards(c: ModelCluster, *names: str) -> None:
    """`iptables -P FORWARD DROP`, as docker does when it starts."""
    for name in names:
        c.machines[name].filtered = True


def accept_forwards(c: ModelCluster, name: str) -> None:
    """`iptables -P FORWARD ACCEPT`, by a person."""
    c.machines[name].filtered = False


def fill_conntrack(c: ModelCluster, *names: str) -> None:
    """A pod opens connections without end: nf_conntrack: table full, dropping packet."""
    for name in names:
        c.machines[name].conntrack_full = True


def raise_conntrack(c: ModelCluster, name: str) -> None:
    """`sysctl -w net.netfilter.nf_conntrack_max=...`, by a person."""
    c.machines[name].conntrack_full = False


def drop_tunnel(c: ModelCluster, *names: str) -> None:
    """`iptables -A INPUT -p udp --dport 8472 -j DROP`, as somebody's hardening script does it."""
    for name in names:
        c.machines[name].tunnel_filtered = True


def accept_tunnel(c: ModelCluster, name: str) -> None:
    """`iptables -D INPUT -p udp --dport 8472 -j DROP`, by a person."""
    c.machines[name].tunnel_filtered = False


def second_uplink(c: ModelCluster, name: str) -> None:
    """Pods' packets come in over a device that was added, and rp_filter is 1 there."""
    c.machines[name].astray_packets = True


def loosen_reverse_path(c: ModelCluster, name: str) -> None:
    """`sysctl -w net.ipv4.conf.all.rp_filter=2`, by a person."""
    c.machines[name].astray_packets = False


def lower_uplink(c: ModelCluster, name: str, mtu: str = "1400") -> None:
    """`ip link set host0 mtu 1400`, as after a network was moved: small packets pass."""
    c.machines[name].uplink = int(mtu)


def leak_addresses(c: ModelCluster, *names: str) -> None:
    """Crashes have left the addresses of gone containers behind, until none is left for a new pod."""
    for name in names:
        c.machines[name].leaked = 240


def free_addresses(c: ModelCluster, name: str) -> None:
    """`rm` of the files that hold them, by a person."""
    c.nodes.free_addresses(name)


def wedge_tunnel(c: ModelCluster, name: str) -> None:
    """The tunnel device stands there, is up and passes nothing, whatever is restarted; a reboot clears it."""
    c.machines[name].wedged = True


def delete_bridge(c: ModelCluster, name: str) -> None:
    """`ip link delete cni0`: the pods' cables hang loose."""
    c.machines[name].gone.add(BRIDGE)
    c.machines[name].loose = True


def link_down(c: ModelCluster, name: str, device: str = BRIDGE) -> None:
    """`ip link set DEVICE down`."""
    c.machines[name].down.add(device)


def delete_route(c: ModelCluster, name: str, *to: str) -> None:
    """`ip route delete`: those from one machine to the pods on others."""
    c.machines[name].lost_routes |= {c.machines[n].number for n in to}


def stop_kube_proxy(c: ModelCluster, *names: str) -> None:
    """`pkill -STOP kube-proxy`: it hears nothing any more, and its rules stay as they are."""
    for name in names:
        agent = c.machines[name].agents.get("kube-proxy")
        if agent and agent.waits_since is None:
            agent.stopped_at = agent.stopped_at or c.now


def mislead_kube_proxy(c: ModelCluster, *names: str) -> None:
    """`kubectl edit configmap kube-proxy` with an address that is gone; then its pods on these nodes, or on all, are
    made anew.
    """
    c.api.write(lambda s: replace(s, misled=True))
    for name in names or tuple(c.machines):
        if "kube-proxy" in c.machines[name].agents:
            c.machines[name].start_agent("kube-proxy", c.now)


def lead_kube_proxy(c: ModelCluster) -> None:
    """A person corrects the ConfigMap, and deletes kube-proxy's pods."""
    c.api.write(lambda s: replace(s, misled=False))
    for machine in c.machines.values():
        if "kube-proxy" in machine.agents:
            machine.start_agent("kube-proxy", c.now)


def lose_image(c: ModelCluster, name: str, agent: str = "kube-proxy") -> None:
    """An agent has ended, kubelet has deleted its image, which nothing used any more (a full disk), and no registry is
    reached.
    """
    machine = c.machines[name]
    if agent in machine.agents:
        machine.unpulled.add(machine.agents[agent].image)
        machine.start_agent(agent, c.now)


def end_kube_proxy(c: ModelCluster, *names: str) -> None:
    """kube-proxy may not set a sysctl that its new version insists on: it ends each time it is started."""
    for name in names:
        if "kube-proxy" in c.machines[name].agents:
            c.machines[name].ends["kube-proxy"] = NOT_SET
            c.machines[name].start_agent("kube-proxy", c.now)


def let_kube_proxy(c: ModelCluster, *names: str) -> None:
    """A person has it leave that sysctl alone (`maxPerCore: 0` in its ConfigMap)."""
    for name in names:
        c.machines[name].ends.clear()


def import_images(c: ModelCluster, *names: str) -> None:
    """`ctr -n k8s.io images import` of whatever is not there, by a person."""
    for name in names:
        c.machines[name].unpulled.clear()


def delete_kube_proxy(c: ModelCluster) -> None:
    """`kubectl delete daemonset kube-proxy`: its pods end everywhere, and the rules that they have written stay."""
    for machine in c.machines.values():
        machine.unkept = machine.programmed
        machine.agents.pop("kube-proxy", None)


def spoil_kubelet(c: ModelCluster, *names: str) -> None:
    """Its configuration on the disk cannot be read, as a rollout left it; the kubelet
    that runs was started before that.
    """
    for name in names:
        c.machines[name].units["kubelet"].refuses = "failed to load Kubelet config file: unknown field"


def flush_service_rules(c: ModelCluster, *names: str) -> None:
    """`iptables -F` and `-X` in every table, which kube-proxy does not notice; on every node unless some are named."""
    for name in names or tuple(c.machines):
        if proxy := c.machines[name].agents.get("kube-proxy"):
            proxy.flushed = True


def budget(c: ModelCluster, healthy: str) -> None:
    """`kubectl create poddisruptionbudget web --min-available=N`; with 0 it forbids nothing."""
    c.api.write(lambda s: replace(s, budget=int(healthy)))


def hang_unit(c: ModelCluster, name: str, unit: str = "kubelet") -> None:
    """`kill -STOP` of kubelet or containerd: systemd calls it active, and it answers nothing."""
    c.machines[name].hangs.add(unit)


def mute_kubelet(c: ModelCluster, name: str) -> None:
    """Its connection to the API server is dead, and it writes into it still ("use of closed network connection")."""
    c.machines[name].mute = True


def rename_host(c: ModelCluster, name: str) -> None:
    """`hostnamectl set-hostname`, and kubelet is restarted: it ends every pod there, since none is bound to that name,
    and is not let make a node of it (observed on 1.20.2).
    """
    machine = c.machines[name]
    machine.called = f"{name}-renamed"
    machine.start("kubelet", c.now)
    machine.pods.clear()
    for agent in machine.agents.values():
        agent.stopped_at = c.now


def name_host_back(c: ModelCluster, name: str) -> None:
    """A person gives it its name again, and kubelet is restarted."""
    machine = c.machines[name]
    machine.called = ""
    machine.start("kubelet", c.now)
    for agent in machine.agents:
        machine.start_agent(agent, c.now + RESYNC)


def lose_api_name(c: ModelCluster, *names: str) -> None:
    """cloud-init writes /etc/hosts anew at a boot, without the line of the API server's address;
    kubelet's old connection is gone too.
    """
    for name in names:
        files = c.machines[name].files
        files[HOSTS] = "".join(
            line for line in files.get(HOSTS, "").splitlines(keepends=True) if line.strip() != HOSTS_LINE
        )


def delete_cni_config(c: ModelCluster, *names: str) -> None:
    """`rm /etc/cni/net.d/*`."""
    for name in names:
        c.machines[name].files.pop(CNI_FILE, None)


def delete_node(c: ModelCluster, name: str) -> None:
    """`kubectl delete node NAME`, of a machine that is well."""
    c.api.write(lambda s: replace(s, nodes=tuple(n for n in s.nodes if n != name)))
