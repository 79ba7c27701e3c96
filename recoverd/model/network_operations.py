"""What recoverd can put back of a node's network, as it was recorded while the cluster was healthy. Host
operations, as in `operations`.

None of it is made to last over a reboot: it puts back what runs, and the machine's own configuration stays what it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal

from recoverd.model.call import Call, HostCall

FORWARDING = "net.ipv4.ip_forward"
BRIDGED = "net.bridge.bridge-nf-call-iptables"
FORWARDING6, BRIDGED6 = "net.ipv6.conf.all.forwarding", "net.bridge.bridge-nf-call-ip6tables"
"""The same of IPv6."""


def forwarding_of(device: str) -> str:
    """A device's own, without which it forwards nothing that comes in there (kernel's ip-sysctl)."""
    return f"net/ipv4/conf/{device}/forwarding"


ROUTE_STATES = ("linkdown", "dead", "pervasive", "offload", "trap", "rt_offload", "rt_trap")
"""Words of `ip route` that say how a route or a next hop fares, and are none of it."""


@dataclass(frozen=True, slots=True)
class Sysctl(HostCall):
    """Set a kernel parameter."""

    key: str
    """As `sysctl` takes it: parted by dots, or by slashes where a part has dots itself, as a device of a VLAN."""
    value: str
    kind: Literal["sysctl"] = "sysctl"
    repeatable = True

    @property
    def title(self) -> str:
        return f"setting {self.key} to {self.value}"

    @property
    def path(self) -> str:
        return f"/proc/sys/{self.key if '/' in self.key else self.key.replace('.', '/')}"

    def call(self) -> Call:
        return Call.of("set_sysctl", self.path, self.value, does=f"sysctl -w {self.key}={self.value}")

    def check(self) -> Call:
        return Call.of("sysctl_is", self.path, self.value)


TYPES = frozenset(
    {"unicast", "local", "broadcast", "multicast", "throw", "unreachable", "prohibit", "blackhole", "nat"}
)
"""What a line of `ip route` may begin with before the destination (ip-route(8))."""


def destination(route: str) -> str:
    """Where a route leads, of a line as `ip route` prints it: an address, a network, or `default`."""
    first, second, *_ = [*route.split(), "", ""]
    return second if first in TYPES else first


OF_POD = ("veth", "cali", "lxc", "eni", "azv", "gke")
"""How a pod's own device is called on the host: by the bridge plugin, Calico, Cilium, AWS's and Azure's CNI, GKE."""


@lru_cache(maxsize=1 << 16)  # on an overlay all nodes have nearly the same routes, and every sweep asks of each
def of_nobody(route: str) -> bool:
    """Whether no program and not the kernel owns the route, so that it is recorded and may be put back.

    What a program adds with a protocol of its own (ip-route(8), `proto`) is its to add: the kernel's come with their
    device's address, and an old one of a routing daemon or a DHCP client would mislead them. What leads to a pod's own
    device is its CNI's, which gives the address to another pod when that one is gone (AWS's adds such a route without a
    word of whose it is). The number of a next hop (`nhid`) is another one tomorrow.
    """
    words = route.split()
    named = dict(pairwise(words))
    return (
        named.get("proto", "boot") in ("static", "boot")
        and "nhid" not in named
        and not named.get("dev", "").startswith(OF_POD)
    )


@dataclass(frozen=True, slots=True)
class PutRoute(HostCall):
    """Add one route, as `ip route` printed it, where none leads to its destination: one that is there
    by now is somebody's, and newer.
    """

    route: str
    kind: Literal["put-route"] = "put-route"
    repeatable = True

    @property
    def title(self) -> str:
        return f"putting back the route {self.route}"

    def call(self) -> Call:
        return Call.of("put_route", destination(self.route), *self.route.split(), does=f"ip route add {self.route}")

    def check(self) -> Call:
        return Call.of("route_is", "|".join(ROUTE_STATES), " ".join(self.route.split()))


@dataclass(frozen=True, slots=True)
class PutBridge(HostCall):
    """Make the pod bridge again with its addresses, and plug into it the pods' cables (veth)
    that hang loose since it is gone.

    The bridge plugin of the CNI makes a missing bridge only for the next new pod, and never plugs older pods in again.
    """

    name: str
    addresses: tuple[str, ...]
    kind: Literal["put-bridge"] = "put-bridge"
    repeatable = True

    @property
    def title(self) -> str:
        return f"making the bridge {self.name} again"

    def call(self) -> Call:
        return Call.of("put_bridge", self.name, *self.addresses, does=f"ip link add name {self.name} type bridge")

    def check(self) -> Call:
        return Call.of("bridge_is", self.name, *self.addresses)


@dataclass(frozen=True, slots=True)
class LinkUp(HostCall):
    """Switch a network device on that is there and down."""

    name: str
    kind: Literal["link-up"] = "link-up"
    repeatable = True

    @property
    def title(self) -> str:
        return f"switching {self.name} on"

    def call(self) -> Call:
        return Call.of("link_up", self.name, does=f"ip link set dev {self.name} up")

    def check(self) -> Call:
        return Call.of("link_is_up", self.name)


@dataclass(frozen=True, slots=True)
class AcceptForwards(HostCall):
    """Let the filter table's FORWARD chain accept what none of its rules is about (`iptables -P FORWARD ACCEPT`)."""

    kind: Literal["accept-forwards"] = "accept-forwards"
    repeatable = True

    @property
    def title(self) -> str:
        return "giving FORWARD the policy ACCEPT"

    def call(self) -> Call:
        return Call.of("accept_forwards", does="iptables -P FORWARD ACCEPT")

    def check(self) -> Call:
        return Call.of("forwards_are_accepted")


NetworkOperation = Sysctl | PutRoute | PutBridge | LinkUp | AcceptForwards
