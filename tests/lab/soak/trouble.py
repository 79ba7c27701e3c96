"""What can happen to a lab cluster in a random episode, how a person undoes it, and what recoverd may make of
it. Data, and how it is drawn.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

MANIFESTS, ASIDE = "/etc/kubernetes/manifests", "/var/lib/lab-aside"
"""The second is not among the places where recoverd looks for a manifest that a person has moved away."""
KEEP = f"mkdir -p {ASIDE}; cp -n {MANIFESTS}/*.yaml {ASIDE}/"
PUT_BACK = f"for f in {ASIDE}/*.yaml; do cmp -s $f {MANIFESTS}/${{f##*/}} || cp $f {MANIFESTS}/; done; rm -rf {ASIDE}"
HALVES = f"mv {MANIFESTS}/etcd.yaml {MANIFESTS}/kube-apiserver.yaml {ASIDE}/"
FLAGS, CNI, SA = "/var/lib/kubelet/kubeadm-flags.env", "10-lab.conflist", "/etc/kubernetes/pki/sa.pub"
PEERS = "iptables {verb} INPUT -p tcp --dport 2380 -j DROP; iptables {verb} OUTPUT -p tcp --dport 2380 -j DROP"


@dataclass(frozen=True)
class Trouble:
    """One kind of thing that happens on one machine, `strike` and `mend` being commands there."""

    name: str
    on: str
    """"plane", "worker", or "node" for either."""
    strike: str
    mend: str = "true"
    """What a person would do. It must not harm where recoverd has done it already."""
    seconds: float = 0.0
    """How long the person waits with that though nobody was asked: a machine that is off comes back by
    itself. 0: until recoverd has ended.
    """
    asks: frozenset[str] = frozenset()
    """Playbooks that the person approves. What else is asked is rejected."""
    hands_off: bool = False
    """A person is at work: recoverd may do nothing unasked."""
    may_escalate: bool = False
    weight: int = 2
    power: bool = False
    """The machine itself is switched off for `seconds`; `strike` and `mend` are not used."""
    planes: tuple[int, ...] = (1, 3)
    """Numbers of control planes on which it can be tried."""
    cordoned: bool = False
    """The person cordons the machine first, and uncordons it in the end."""
    paused: bool = False
    """The person pauses recoverd first, and resumes it in the end."""
    phantom: bool = False
    """A voter that never starts is added to etcd, from the bastion; `strike` and `mend` are not used."""


def _manifest(name: str, strike: str, of: str, **more: object) -> Trouble:
    return Trouble(name, "plane", f"{KEEP}; {strike.format(file=f'{MANIFESTS}/{of}.yaml')}", PUT_BACK, **more)  # type: ignore[arg-type]


KINDS = (
    _manifest("etcd's manifest deleted", "rm {file}", "etcd"),
    _manifest("the API server's manifest deleted", "rm {file}", "kube-apiserver"),
    _manifest(
        "the API server's manifest mistyped", "sed -i 's/--etcd-servers=/--etcd-severs=/' {file}", "kube-apiserver"
    ),
    _manifest("the API server's manifest truncated", "truncate -s 900 {file}", "kube-apiserver"),
    _manifest("the scheduler's manifest deleted", "rm {file}", "kube-scheduler"),
    Trouble("etcd killed", "plane", "pkill -KILL -x etcd"),
    Trouble("the API server killed", "plane", "pkill -KILL -x kube-apiserver"),
    Trouble("kubelet stopped", "node", "systemctl stop kubelet", "systemctl start kubelet", weight=3),
    Trouble(
        "containerd stopped", "node", "systemctl stop containerd", "systemctl start containerd; systemctl start kubelet"
    ),
    Trouble(
        "a voter that never starts",
        "plane",
        "",
        asks=frozenset({"force-new-cluster"}),
        planes=(1,),
        weight=3,
        phantom=True,
    ),
    Trouble("forwarding off", "worker", "sysctl -qw net.ipv4.ip_forward=0", "sysctl -qw net.ipv4.ip_forward=1"),
    Trouble("the bridge deleted", "worker", "ip link del cni0", "ip link show cni0 >/dev/null || systemctl reboot"),
    Trouble(
        "a route deleted",
        "worker",
        "ip route del $(ip route | grep -m1 ' via 10.99.' | cut -d' ' -f1)",
        "sh /etc/lab-routes",
    ),
    Trouble("kube-proxy stopped", "worker", "pkill -STOP -x kube-proxy", "pkill -CONT -x kube-proxy || true"),
    Trouble("the service rules flushed", "node", "iptables -t nat -F", "pkill -x kube-proxy || true"),
    Trouble("a worker rebooted by hand", "worker", "systemctl reboot", seconds=45),
    Trouble("a worker off for half a minute", "worker", "", seconds=30, power=True, may_escalate=True),
    Trouble("a control plane off for half a minute", "plane", "", seconds=30, power=True, may_escalate=True, weight=1),
    # nodes that are not Ready, and why
    Trouble("kubelet hangs", "node", "pkill -STOP -x kubelet", "pkill -CONT -x kubelet; true"),
    Trouble("containerd hangs", "worker", "pkill -STOP -x containerd", "pkill -CONT -x containerd; true"),
    Trouble(
        "the name of the API's address lost",
        "worker",
        "cp /etc/hosts /root/hosts; sed '/k8s-api/d' /root/hosts >/etc/hosts; systemctl restart kubelet",
        "grep -q k8s-api /etc/hosts || cat /root/hosts >/etc/hosts",
    ),
    Trouble(
        "the CNI's configuration gone",
        "worker",
        f"mv /etc/cni/net.d/{CNI} /root/; systemctl restart containerd",
        f"[ -e /etc/cni/net.d/{CNI} ] || cp /root/{CNI} /etc/cni/net.d/",
    ),
    Trouble(
        "a flag of kubelet mistyped",
        "worker",
        f"""cp {FLAGS} /root/; sed -i 's/^KUBELET_KUBEADM_ARGS="/&--network-plugin-gone=cni /' {FLAGS}; """
        "systemctl restart kubelet",
        f"cp /root/{FLAGS.rpartition('/')[2]} {FLAGS}; systemctl restart kubelet",
        asks=frozenset({"restore-node-files"}),
    ),
    Trouble(
        "bridge netfilter off",
        "worker",
        "sysctl -qw net.bridge.bridge-nf-call-iptables=0",
        "sysctl -qw net.bridge.bridge-nf-call-iptables=1",
    ),
    Trouble(
        "FORWARD dropped by its policy",
        "worker",
        "iptables -P FORWARD DROP",
        "iptables -P FORWARD ACCEPT",
        asks=frozenset({"restore-node-network"}),
    ),
    Trouble(
        "the Node of a worker deleted",
        "plane",
        "kubectl delete $(kubectl get nodes -o name | grep -m1 /w) --wait=false",
        asks=frozenset({"restart-node-agents"}),
        weight=1,
    ),
    # control planes
    Trouble(
        "a file of the API server deleted",
        "plane",
        f"cp -p {SA} /root/; rm {SA}; pkill -x kube-apiserver",
        f"[ -e {SA} ] || cp -p /root/sa.pub {SA}",
    ),
    Trouble(
        "a member cut off from its peers",
        "plane",
        PEERS.format(verb="-A"),
        PEERS.format(verb="-D"),
        seconds=40,
        may_escalate=True,
        planes=(3,),
    ),
    # people
    Trouble(
        "the API server's manifest moved away by a script",
        "plane",
        f"mv {MANIFESTS}/kube-apiserver.yaml /root/",
        f"mv /root/kube-apiserver.yaml {MANIFESTS}/",
        seconds=50,
        hands_off=True,
        may_escalate=True,
    ),
    Trouble(
        "a worker's kubelet stopped below a hands-off file",
        "worker",
        "mkdir -p /run/recoverd; touch /run/recoverd/hands-off; sleep 12; systemctl stop kubelet",
        "systemctl start kubelet; rm -f /run/recoverd/hands-off",
        seconds=60,
        hands_off=True,
        may_escalate=True,
    ),
    Trouble("kubelet restarted by hand", "node", "systemctl restart kubelet", seconds=10),
    Trouble(
        "a cordoned worker's kubelet stopped by hand",
        "worker",
        "systemctl stop kubelet",
        "systemctl start kubelet",
        seconds=60,
        hands_off=True,
        may_escalate=True,
        cordoned=True,
    ),
    Trouble(
        "etcd and the API server set aside by hand",
        "plane",
        f"{KEEP}; {HALVES}",
        PUT_BACK,
        seconds=50,
        hands_off=True,
        may_escalate=True,
    ),
    Trouble(
        "a manifest edited by hand to the same effect",
        "plane",
        f"{KEEP}; sed -i '1i # by hand' {MANIFESTS}/kube-scheduler.yaml",
        PUT_BACK,
        seconds=30,
    ),
    Trouble(
        "paused, the API server's manifest moved away",
        "plane",
        f"{KEEP}; rm {MANIFESTS}/kube-apiserver.yaml",
        PUT_BACK,
        seconds=40,
        hands_off=True,
        paused=True,
    ),
)
DAEMON = ("lives", "lives", "lives", "killed", "killed twice", "stopped for 15 s", "killed and late")
"""What becomes of recoverd meanwhile. Late is a minute."""


@dataclass(frozen=True)
class Episode:
    """What happens in one turn."""

    number: int
    troubles: tuple[tuple[Trouble, str], ...]
    """Each with its machine; the second comes `apart` seconds after the first."""
    apart: float
    daemon: str
    after: float
    """Seconds from the first trouble to what becomes of recoverd."""
    thinks: float
    """Seconds that the person takes to approve."""

    def __str__(self) -> str:
        what = f", {self.apart:.0f} s later ".join(f"{t.name} ({machine})" for t, machine in self.troubles)
        return f"{what}; recoverd {self.daemon}{'' if self.daemon == 'lives' else f' after {self.after:.0f} s'}"


def drawn(seed: int, number: int, planes: list[str], workers: list[str]) -> Episode:
    """Episode `number` of a seed: one trouble, or two on different machines, on a cluster of this shape."""
    rng = random.Random(f"{seed}/{number}")
    kinds = [k for k in KINDS if len(planes) in k.planes]
    machines = {"plane": planes, "worker": workers, "node": [*planes, *workers]}
    troubles: list[tuple[Trouble, str]] = []
    for _ in range(2 if rng.random() < 0.25 else 1):
        kind = rng.choices(kinds, [k.weight for k in kinds])[0]
        free = [m for m in machines[kind.on] if m not in {used for _, used in troubles}]
        if free and not (troubles and (kind.hands_off or troubles[0][0].hands_off)):
            troubles.append((kind, rng.choice(free)))
    return Episode(
        number,
        tuple(troubles),
        rng.choice((0.0, 2.0, 6.0, 15.0)),
        rng.choice(DAEMON),
        rng.uniform(0, 25),
        rng.uniform(0, 12),
    )
