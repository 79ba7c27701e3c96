"""What a machine has once more for IPv6, looked at and put back with the real tools, in a network namespace of its
own.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from recoverd.model.network import ProbeAnswer
from recoverd.model.network_operations import PutBridge, PutRoute, Sysctl
from recoverd.observe.netlook import script
from tests.components.test_network_look import HOST0, NAMESPACE, SCRIPT, SHELLS, look, needs_namespace, without
from tests.shells import sent

IP = str(shutil.which("ip"))
HOST6 = HOST0.replace("ip ", f"{IP} ") + f"{IP} -6 addr add fd00:99::21/64 dev host0 nodad || exit 9\n"
"""busybox's own makes none."""
RULES = """*nat
:KUBE-SERVICES - [0:0]
:KUBE-SVC-A - [0:0]
:KUBE-SEP-B - [0:0]
:KUBE-SEP-C - [0:0]
-A KUBE-SERVICES -d {service} -p tcp -m comment --comment "default/web cluster IP" -m tcp --dport 80 -j KUBE-SVC-A
-A KUBE-SVC-A -m statistic --mode random --probability 0.5 -j KUBE-SEP-B
-A KUBE-SVC-A -j KUBE-SEP-C
-A KUBE-SEP-B -p tcp -m tcp -j DNAT --to-destination {first}:8080
-A KUBE-SEP-C -p tcp -m tcp -j DNAT --to-destination {second}:8080
COMMIT
"""
IPV4 = RULES.format(service="10.96.0.80/32", first="10.244.1.2", second="10.244.2.2")
IPV6 = RULES.format(service="fd00:96::80/128", first="[fd00:10:1::2]", second="[fd00:10:2::2]")
SERVICES = ("10.96.0.80:80", "[fd00:96::80]:80", "[fd00:96::99]:80")
NFTABLES = """
table ip6 kube-proxy {
  chain service-ULMVA6XW-d/web/tcp/ { counter; }
  map service-ips {
    type ipv6_addr . inet_proto . inet_service : verdict
    elements = { fd00:96::80 . tcp . 80 : goto service-ULMVA6XW-d/web/tcp/ }
  }
}
"""


@needs_namespace
@pytest.mark.parametrize("shell", SHELLS)
def test_each_family_has_rules_of_its_own(shell: str, tmp_path: Path) -> None:
    """kube-proxy calls the chains of a service the same in both."""
    (tmp_path / "4").write_text(IPV4)
    (tmp_path / "6").write_text(IPV6)
    both = f"iptables-restore <{tmp_path}/4; ip6tables-restore <{tmp_path}/6"
    seen = look(shell, both, services=SERVICES)
    assert (seen.rules.mode, seen.rules6.mode) == ("iptables", "iptables")
    assert seen.rules.programmed == {"10.96.0.80:80": frozenset({"10.244.1.2:8080", "10.244.2.2:8080"})}
    assert seen.rules6.programmed == {"[fd00:96::80]:80": frozenset({"[fd00:10:1::2]:8080", "[fd00:10:2::2]:8080"})}
    gone = look(shell, f"{both}; ip6tables -t nat -F; ip6tables -t nat -X", services=SERVICES)
    assert (gone.rules.mode, gone.rules6.mode, gone.rules6.unseen) == ("iptables", "", "")
    alone = look(shell, f"ip6tables-restore <{tmp_path}/6", services=SERVICES)
    assert (alone.rules.mode, alone.rules6.mode) == ("", "iptables"), "as kube-proxy before 1.21 with IPv6 alone"


@needs_namespace
def test_rules_that_no_tool_reads_are_unseen_in_that_family_alone(tmp_path: Path) -> None:
    (tmp_path / "4").write_text(IPV4)
    body = without("ip6tables-nft-save", "ip6tables-save")
    before = f"iptables-restore <{tmp_path}/4"
    seen = look("dash", before, body, services=SERVICES)
    assert seen.rules.mode == "iptables" and not seen.rules.unseen and "no tool that can read" in seen.rules6.unseen
    unasked = look("dash", before, services=SERVICES[:1])
    assert unasked.rules.mode == "iptables" and "no service of IPv6" in unasked.rules6.unseen


@needs_namespace
@pytest.mark.skipif(not shutil.which("ip6tables-legacy"), reason="ip6tables-legacy is not installed")
def test_a_look_makes_no_table_of_the_older_ip6tables(tmp_path: Path) -> None:
    """Its module would be loaded on every node that has never had a rule of IPv6."""
    (tmp_path / "ip6tables-save").symlink_to(str(shutil.which("ip6tables-legacy-save")))
    body = without("ip6tables-nft-save") + "\ns names; cat /proc/net/ip6_tables_names; s end"
    names = f"""PATH={tmp_path}:$PATH; mount -t proc proc /proc 2>/dev/null
{script(body, "@@m", {}, SERVICES, 2)}"""
    ended = subprocess.run([*NAMESPACE, "--pid", "--fork", "dash", "-s"], input=names, capture_output=True, text=True)
    assert "@@m rules6 \n" in ended.stdout, ended.stdout
    assert ended.stdout.partition("@@m names\n")[2].split() == ["@@m", "end"], ended.stdout


@needs_namespace
@pytest.mark.parametrize("shell", SHELLS)
def test_of_nftables_a_service_is_seen_and_its_endpoints_are_not(shell: str, tmp_path: Path) -> None:
    (tmp_path / "rules.nft").write_text(NFTABLES)
    seen = look(shell, f"nft -f {tmp_path}/rules.nft", services=SERVICES)
    assert (seen.rules6.mode, seen.rules6.programmed) == ("nftables", {"[fd00:96::80]:80": None})


@needs_namespace
@pytest.mark.parametrize("shell", SHELLS)
def test_addresses_and_routes_of_both_families(shell: str) -> None:
    """What a device has of IPv6 by itself says nothing, and the default route is not that of IPv4."""
    made = f"{IP} link add cni0 type bridge; {IP} addr add 10.244.1.1/24 dev cni0; {IP} link set cni0 up\n"
    made += f"{IP} -6 addr add fd00:10:1::1/64 dev cni0 nodad\n"
    made += f"{IP} -6 addr add fd00:77::7/64 dev cni0 nodad valid_lft 900 preferred_lft 900\n"
    made += f"{IP} -6 route add fd00:10:2::/64 via fd00:99::22; {IP} -6 route add default via fd00:99::1\n"
    seen = look(shell, HOST6 + made)
    cni0 = next(link for link in seen.links or () if link.name == "cni0")
    assert cni0.addresses == ("10.244.1.1/24", "fd00:10:1::1/64"), "one that expires is no address to be missed"
    of6 = [r.removesuffix(" pref medium") for r in seen.routes if ":" in r.split()[0]]  # busybox's own says none
    assert "fd00:10:2::/64 via fd00:99::22 dev host0 metric 1024" in of6
    assert "::/0 via fd00:99::1 dev host0 metric 1024" in of6
    assert not any("fe80" in r or "ff00" in r for r in of6)
    assert any(r.startswith("10.244.1.0/24 dev cni0") for r in seen.routes)


@needs_namespace
@pytest.mark.parametrize("shell", SHELLS)
def test_kernel_parameters_of_ipv6(shell: str, tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    body = SCRIPT.replace("/proc/sys/net/ipv6/conf", str(tmp_path)).replace("/proc/sys/net/bridge", str(tmp_path))
    assert (look(shell, body=body).forwarding6, look(shell, body=body).bridge_netfilter6) == (None, None)
    for said, meant in (("1\n", True), ("0\n", False)):
        (tmp_path / "all/forwarding").write_text(said)
        (tmp_path / "bridge-nf-call-ip6tables").write_text(said)
        seen = look(shell, body=body)
        assert (seen.forwarding6, seen.bridge_netfilter6) == (meant, meant)


LISTEN = (
    "ip link set lo up; python3 -m http.server 8099 --bind ::1 >/dev/null 2>&1 & L=$!; until grep -q ':1FA3 ' "
    "/proc/net/tcp6; do sleep 0.1; done"
)
PROBES = {"0": ("::1", 8099), "1": ("::1", 9), "2": ("fd00:250::1", 80)}
ANSWERS = {"0": ProbeAnswer.OK, "1": ProbeAnswer.REFUSED, "2": ProbeAnswer.UNREACHABLE}


@needs_namespace
@pytest.mark.parametrize("lacking", [(), ("bash",)], ids=["bash", "curl"])
def test_probes(lacking: tuple[str, ...]) -> None:
    body = without(*lacking) if lacking else SCRIPT
    seen = look("dash", LISTEN, body + "\nkill $L", probes=PROBES)
    assert (seen.tool, seen.answers) == ("curl" if lacking else "bash", ANSWERS)


def done(script: str) -> None:
    ended = subprocess.run([*NAMESPACE, "sh", "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, (ended.returncode, ended.stdout, ended.stderr)


@needs_namespace
@pytest.mark.parametrize(
    "route",
    [
        "fd00:10:2::/64 via fd00:99::22 dev host0 metric 1024 pref medium",
        "::/0 via fd00:99::1 dev host0 metric 1024 pref medium",
        "blackhole fd00:10:2::/64 dev lo metric 1024 pref medium",
    ],
)
def test_a_route_is_added_once_and_never_over_another(route: str) -> None:
    put = PutRoute(route)
    to = "fd00:10:2::/64" if "10:2" in route else "default"
    done(f"""{HOST6}ip link set lo up; ip -4 route add default via 10.99.1.1
({sent(put.call())}) || exit 8
({sent(put.check())}) || exit 7
ip -6 route del {to} && ip -6 route add {to} via fd00:99::99 || exit 6
({sent(put.call())}) 2>/dev/null && exit 5
ip -6 route show | grep -q 'via fd00:99::99' || exit 4
! ({sent(put.check())}) || exit 3""")


@needs_namespace
def test_a_bridge_is_made_anew_with_its_addresses_of_both_families() -> None:
    put = PutBridge("cni0", ("10.244.1.1/24", "fd00:10:1::1/64"))
    done(f"""ip link add cni0 type bridge; ip addr add 10.244.1.1/24 dev cni0; ip link set cni0 up
({sent(put.check())}) && exit 9
({sent(put.call())}) && ({sent(put.check())}) || exit 8
ip link del cni0
({sent(put.call())}) && ({sent(put.check())}) || exit 7
ip -6 addr show dev cni0 | grep -q 'inet6 fd00:10:1::1/64 scope global' || exit 6
ip -4 addr show dev cni0 | grep -q 'inet 10.244.1.1/24 brd 10.244.1.255' || exit 5""")


@needs_namespace
def test_pods_are_told_where_the_bridge_that_was_made_anew_is() -> None:
    """They kept the MAC of the one of before as reachable, and everything that they sent over IPv6 was lost."""
    put = PutBridge("cni0", ("10.244.1.1/24", "fd00:10:1::1/64"))
    done(f"""unshare --net sleep 60 & pod=$!
until [ "$(readlink /proc/$pod/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
in_pod() {{ nsenter --net=/proc/$pod/ns/net "$@"; }}
ip link add vethx type veth peer name eth0 netns $pod || exit 9
in_pod ip addr add fd00:10:1::2/64 dev eth0 nodad && in_pod ip link set eth0 up || exit 8
in_pod ip -6 neigh replace fd00:10:1::1 lladdr 02:00:00:00:00:99 dev eth0 nud reachable || exit 7
({sent(put.call())}) || exit 6
mac=$(ip -o link show cni0 | grep -o 'link/ether [^ ]*' | cut -d' ' -f2)
for i in $(seq 100); do in_pod ip -6 neigh show fd00:10:1::1 dev eth0 | grep -q "$mac" && break; sleep 0.1; done
in_pod ip -6 neigh show fd00:10:1::1 dev eth0 | grep "$mac"; told=$?; kill $pod; exit $told""")


@needs_namespace
def test_forwarding_is_switched_on_for_every_device() -> None:
    put = Sysctl("net.ipv6.conf.all.forwarding", "1")
    done(f"""{HOST6}mount -t proc proc /proc 2>/dev/null; echo 0 >/proc/sys/net/ipv6/conf/all/forwarding || exit 9
({sent(put.check())}) && exit 8
({sent(put.call())}) && ({sent(put.check())}) || exit 7
[ "$(cat /proc/sys/net/ipv6/conf/host0/forwarding)" = 1 ] || exit 6""")
