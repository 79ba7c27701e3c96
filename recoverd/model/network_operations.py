"""What recoverd can put back of a node's network, as it was recorded while the cluster was healthy. Host operations, as in `operations`.

None of it is made to last over a reboot: it puts back what runs, and the machine's own configuration stays what it is.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Literal

_LOOSE = "ip -o link show type veth | grep -v ' master ' | cut -d: -f2 | cut -d@ -f1 | tr -d ' ' | grep '^veth' || true"
"""A shell command that names the pods' cables that hang on no bridge; by `ip`, since /sys/class/net may be another network namespace's."""


@dataclass(frozen=True, slots=True)
class Sysctl:
    """Set a kernel parameter."""

    key: str
    value: str
    kind: Literal["sysctl"] = "sysctl"
    repeatable = True

    @property
    def title(self) -> str:
        return f"setting {self.key} to {self.value}"

    @property
    def path(self) -> str:
        return f"/proc/sys/{self.key.replace('.', '/')}"

    def command(self) -> str:
        return f"echo {shlex.quote(self.value)} > {shlex.quote(self.path)}"

    def check(self) -> str:
        return f'test "$(cat {shlex.quote(self.path)})" = {shlex.quote(self.value)}'


TYPES = frozenset({"unicast", "local", "broadcast", "multicast", "throw", "unreachable", "prohibit", "blackhole", "nat"})
"""What a line of `ip route` may begin with before the destination (ip-route(8))."""


def destination(route: str) -> str:
    """Where a route leads, of a line as `ip route` prints it: an address, a network, or `default`."""
    first, second, *_ = [*route.split(), ""]
    return second if first in TYPES else first


@dataclass(frozen=True, slots=True)
class PutRoute:
    """Add one IPv4 route, as `ip route` printed it, where none leads to its destination: one that is there by now is somebody's, and newer."""

    route: str
    kind: Literal["put-route"] = "put-route"
    repeatable = True

    @property
    def title(self) -> str:
        return f"putting back the route {self.route}"

    def command(self) -> str:
        to = shlex.quote(destination(self.route))
        return (
            f"if ip -4 route show exact {to} | grep -q .; then\n"
            f"  echo there is another route to {to} by now: >&2; ip -4 route show exact {to} >&2; exit 3\nfi\n"
            f"ip -4 route add {' '.join(map(shlex.quote, self.route.split()))}"
        )

    def check(self) -> str:
        return f"ip -4 route show | sed 's/ *$//' | grep -qxF -- {shlex.quote(' '.join(self.route.split()))}"


@dataclass(frozen=True, slots=True)
class PutBridge:
    """Make the pod bridge again with its addresses, and plug into it the pods' cables (veth) that hang loose since it is gone.

    The bridge plugin of the CNI makes a missing bridge only for the next new pod, and never plugs older pods in again.
    """

    name: str
    addresses: tuple[str, ...]
    kind: Literal["put-bridge"] = "put-bridge"
    repeatable = True

    @property
    def title(self) -> str:
        return f"making the bridge {self.name} again"

    def command(self) -> str:
        name = shlex.quote(self.name)
        addresses = "\n".join(f"ip addr replace {shlex.quote(a)} brd + dev {name}" for a in self.addresses)
        return (
            f"set -eu\nip link show dev {name} >/dev/null 2>&1 || ip link add name {name} type bridge\n{addresses}\nip link set dev {name} up\n"
            "hairpin=0; ! grep -qsE '\"hairpinMode\": *true' /etc/cni/net.d/* || hairpin=1\n"
            f'for v in $({_LOOSE}); do\n  ip link set dev "$v" master {name}\n  ip link set dev "$v" up\n'
            '  [ $hairpin = 0 ] || ip link set dev "$v" type bridge_slave hairpin on\ndone'
        )

    def check(self) -> str:
        name = shlex.quote(self.name)
        addresses = " && ".join(f"ip -4 addr show dev {name} | grep -qF {shlex.quote(f'inet {a} ')}" for a in self.addresses) or "true"
        return f'{{ ip link show dev {name} up 2>/dev/null | grep -q . && {addresses} && test -z "$({_LOOSE})"; }}'


@dataclass(frozen=True, slots=True)
class LinkUp:
    """Switch a network device on that is there and down."""

    name: str
    kind: Literal["link-up"] = "link-up"
    repeatable = True

    @property
    def title(self) -> str:
        return f"switching {self.name} on"

    def command(self) -> str:
        return f"ip link set dev {shlex.quote(self.name)} up"

    def check(self) -> str:
        return f"ip link show dev {shlex.quote(self.name)} up 2>/dev/null | grep -q ."


NetworkOperation = Sysctl | PutRoute | PutBridge | LinkUp
