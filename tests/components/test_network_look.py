"""`network.sh` against the real tools: sh, bash, nft, ip and a real listener, in a network namespace of its own."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import pytest

from recoverd.diagnose.inputs import against, refuses
from recoverd.model.network import Link, ProbeAnswer
from recoverd.model.network_operations import AcceptForwards, PutRoute, destination
from recoverd.observe.look import LookError
from recoverd.observe.netlook import UNKNOWN, HostLook, Routes, parse_look, script
from tests.shells import sent

SCRIPT = (files("recoverd.observe") / "network.sh").read_text()
NAMESPACE = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
SHELLS = [s for s in ("bash", "dash", "busybox") if shutil.which(s)]

NFTABLES = """
table ip kube-proxy {
  chain endpoint-5OJB2KTY-d/web/tcp/__10.203.21.2/8080 { meta l4proto tcp dnat to 10.203.21.2:8080; }
  chain endpoint-SGOXE6O3-d/web/tcp/__10.203.22.2/8080 { meta l4proto tcp dnat to 10.203.22.2:8080; }
  chain endpoint-AAAAAAAA-d/k8s/tcp/https__10.99.3.11/6443 { meta l4proto tcp dnat to 10.99.3.11:6443; }
  chain endpoint-BBBBBBBB-a-name-that-was-too-long... { meta l4proto tcp dnat to 10.203.22.7:7; }
  chain service-LONGLONG-d/long/tcp/ { numgen random mod 1 vmap { 0 : goto endpoint-BBBBBBBB-a-name-that-was-too-long... }; }
  chain service-ULMVA6XW-d/web/tcp/ {
    numgen random mod 2 vmap { 0 : goto endpoint-5OJB2KTY-d/web/tcp/__10.203.21.2/8080, 1 : goto endpoint-SGOXE6O3-d/web/tcp/__10.203.22.2/8080 }
  }
  chain service-2QRHZV4L-d/k8s/tcp/https { numgen random mod 1 vmap { 0 : goto endpoint-AAAAAAAA-d/k8s/tcp/https__10.99.3.11/6443 }; }
  map service-ips {
    type ipv4_addr . inet_proto . inet_service : verdict
    elements = { 10.96.0.7 . tcp . 7 : goto service-LONGLONG-d/long/tcp/,
      10.96.0.80 . tcp . 80 : goto service-ULMVA6XW-d/web/tcp/, 10.96.0.1 . tcp . 443 : goto service-2QRHZV4L-d/k8s/tcp/https }
  }
}
"""  # noqa: E501
IP_VS = """IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A600001:01BB rr
  -> 0A63030B:192B      Masq    1      2          0
UDP  0A60000A:0035 rr
  -> 0ACB1502:0035      Masq    1      0          0
TCP  0A600050:0050 rr
  -> 0ACB1502:1F90      Masq    1      0          0
  -> 0ACB1602:1F90      Masq    0      0          0
"""


def isolated() -> bool:
    return (
        shutil.which("unshare") is not None
        and subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode == 0
    )


needs_namespace = pytest.mark.skipif(not isolated(), reason="no network namespace of one's own may be made here")


def look(
    shell: str,
    before: str = "",
    body: str = SCRIPT,
    probes: dict[str, tuple[str, int]] | None = None,
    services: tuple[str, ...] = (),
    known: Routes = UNKNOWN,
) -> HostLook:
    text = f"{before}\n{script(body, '@@m', probes or {}, services, 2, known)}"
    command = ["busybox", "sh"] if shell == "busybox" else [shell]
    result = subprocess.run([*NAMESPACE, *command, "-s"], input=text, capture_output=True, text=True, timeout=60)
    return parse_look(result.stdout, "@@m", probes or {}, middle=datetime.now(UTC), known=known)


@needs_namespace
@pytest.mark.skipif(not shutil.which("nft"), reason="nft is not installed")
@pytest.mark.parametrize("shell", SHELLS)
def test_kube_proxys_nftables(shell: str, tmp_path: Path) -> None:
    (tmp_path / "rules.nft").write_text(NFTABLES)
    seen = look(
        shell,
        f"nft -f {tmp_path}/rules.nft",
        services=("10.96.0.80:80", "10.96.0.1:443", "10.96.0.7:7", "10.96.0.99:1"),
    )
    assert seen.rules.mode == "nftables" and not seen.rules.unseen
    assert seen.rules.programmed == {
        "10.96.0.7:7": None,
        "10.96.0.80:80": frozenset({"10.203.21.2:8080", "10.203.22.2:8080"}),
        "10.96.0.1:443": frozenset({"10.99.3.11:6443"}),
    }


@needs_namespace
@pytest.mark.parametrize("shell", SHELLS)
def test_ipvs_as_the_kernel_lists_it(shell: str, tmp_path: Path) -> None:
    """The kernel here may have no IPVS, so its file is one of our own."""
    (tmp_path / "ip_vs").write_text(IP_VS)
    seen = look(
        shell,
        "ip link add kube-ipvs0 type bridge",
        body=SCRIPT.replace("/proc/net/ip_vs", str(tmp_path / "ip_vs")),
        services=("10.96.0.80:80", "10.96.0.1:443"),
    )
    assert seen.rules.mode == "ipvs"
    assert seen.rules.programmed == {
        "10.96.0.80:80": frozenset({"10.203.21.2:8080"}),
        "10.96.0.1:443": frozenset({"10.99.3.11:6443"}),
    }


@needs_namespace
@pytest.mark.parametrize("shell", SHELLS)
def test_rules_that_are_not_there_are_no_rules_and_not_unseen(shell: str) -> None:
    seen = look(shell, services=("10.96.0.80:80",))
    assert (seen.rules.mode, seen.rules.unseen) == ("", "")


@needs_namespace
@pytest.mark.parametrize("shell", SHELLS)
def test_devices_and_forwarding(shell: str) -> None:
    made = "ip link add cni0 type bridge; ip addr add 10.203.21.1/24 dev cni0; ip link set cni0 up"
    made += "; ip link add flannel.1 type vxlan id 1 dstport 8472 dev lo"
    seen = look(
        shell, f"{made}; ip link add vethx type veth peer name vethy; ip link set vethx master cni0; ip link set lo up"
    )
    links = {link.name: link for link in seen.links or ()}
    plain = shell == "busybox"  # its own ip tells no kind
    assert (links["cni0"].kind, links["cni0"].up, links["cni0"].addresses) == (
        "" if plain else "bridge",
        True,
        ("10.203.21.1/24",),
    )
    assert (links["flannel.1"].kind, links["flannel.1"].up) == ("" if plain else "vxlan", False)
    assert seen.veths == ((0, 0) if plain else (2, 1))
    assert any(r.startswith("10.203.21.0/24 dev cni0") and "linkdown" not in r for r in seen.routes)
    assert seen.forwarding is not None


@needs_namespace
@pytest.mark.parametrize("shell", SHELLS)
def test_a_device_behind_many_others_is_seen_with_its_address(shell: str, tmp_path: Path) -> None:
    """With 64 services in IPVS mode, or as many pods of a CNI that names their ends as it likes, the bridge lost its
    address or was not there; it was recorded so, and would have been made anew without an address.
    """
    made = ["link add kube-ipvs0 type bridge"]
    made += [f"addr add 10.96.{n // 250}.{n % 250 + 1}/32 dev kube-ipvs0" for n in range(520)]
    made += [f"link add web-{n}-1f3a5c type veth peer name p{n}" for n in range(35)]
    made += ["link add cni0 type bridge", "addr add 10.203.21.1/24 dev cni0", "link set cni0 up"]
    (tmp_path / "made").write_text("\n".join(made) + "\n")
    seen = look(shell, f"{shutil.which('ip')} -batch {tmp_path}/made || exit 9")
    links = {link.name: link for link in seen.links or ()}
    assert links["cni0"].addresses == ("10.203.21.1/24",) and links["kube-ipvs0"].addresses == ()
    assert len(links) >= 72 and not seen.problems


def test_of_more_devices_than_are_read_none_is_said_to_be_gone() -> None:
    def seen(devices: int, addresses: int = 0) -> HostLook:
        links = "".join(f"{n}: d{n}: <UP> mtu 1500 qdisc noop\n" for n in range(devices))
        own = "".join(f"1: eth0    inet 10.0.{n // 256}.{n % 256}/32 scope global eth0\n" for n in range(addresses))
        text = f"@@m forwarding\n1\n@@m links\n{links}@@m addresses\n{own}@@m end\n"
        return parse_look(text, "@@m", {}, middle=datetime.now(UTC))

    assert len(seen(512).links or ()) == 512 and not seen(512, 512).problems
    assert seen(513).links is None and "more than 512 network devices" in seen(513).problems[0]
    assert seen(3, 513).links is None and "more than 512 addresses" in seen(3, 513).problems[0]


@needs_namespace
@pytest.mark.parametrize("shell", SHELLS)
def test_the_kernels_tables(shell: str) -> None:
    """Those of ARP are one for all namespaces; a filter that was made strict is seen, and not that of a pod's end."""
    conf = "/proc/sys/net/ipv4/conf"
    strict = "; ".join(f"echo 1 >{conf}/{d}/rp_filter; echo 0 >{conf}/{d}/forwarding" for d in ("cni0", "vethx"))
    seen = look(shell, f"ip link add cni0 type bridge; ip link add vethx type veth peer name vethy; {strict}")
    assert seen.counts and "cni0" in seen.counts.strict and not {"vethx", "default"} & set(seen.counts.strict)
    assert "cni0" in seen.counts.still and "vethx" not in seen.counts.still
    assert seen.counts.reverse_path == 0
    limit = Path("/proc/sys/net/netfilter/nf_conntrack_max")
    assert seen.counts.conntrack is None or seen.counts.conntrack[1] == int(limit.read_text()), "read in one go"
    assert (seen.counts.conntrack is not None) is limit.exists()
    nothing = look(
        shell, body=SCRIPT.replace("/proc/net/stat/", "/nowhere/").replace("/proc/sys/net/netfilter/", "/no/")
    )
    assert nothing.counts and nothing.counts.conntrack is None, "no connection tracking is no table that is full"


@needs_namespace
@pytest.mark.parametrize("shell", SHELLS)
def test_a_count_of_each_processor(shell: str, tmp_path: Path) -> None:
    """As Linux 6.1 prints them, in hexadecimal; in the namespace of this test none of them grows."""
    values = ("netfilter/nf_conntrack_count:65530", "netfilter/nf_conntrack_max:65536")
    neighbours = ("ipv4/neigh/default/gc_thresh3:1024", "ipv6/neigh/default/gc_thresh3:512")
    lines = [f"/proc/sys/net/{value}\n" for value in (*values, *neighbours)]
    (tmp_path / "sysctls").write_text("".join(lines))
    (tmp_path / "nf_conntrack").write_text(
        "entries  found insert_failed drop early_drop\n" + "0000fffa  00000003 00000000 0000001f 00000001\n" * 4
    )
    (tmp_path / "arp_cache").write_text(
        "entries  res_failed forced_gc_runs unresolved_discards table_fulls\n"
        "000003ff 00000358   0000000a       00000000            000000ff\n"
        "000003ff 00000318   00000001       00000000            00000001\n"
    )
    (tmp_path / "ndisc_cache").write_text("entries  forced_gc_runs table_fulls\n" + "00000100 00000002 00000003\n" * 2)
    (tmp_path / "netstat").write_text(
        "TcpExt: SyncookiesSent IPReversePathFilter\nTcpExt: 0 12\nIpExt: InNoRoutes InMcastPkts\nIpExt: 0 99\n"
    )
    body = SCRIPT.replace("/proc/net/netstat", f"{tmp_path}/netstat")
    body = body.replace("/proc/net/stat/", f"{tmp_path}/").replace("grep -Hs '' $sysctls", f"cat {tmp_path}/sysctls")
    seen = look(shell, body=body)
    assert seen.counts and seen.counts.conntrack == (65530, 65536, 4 * 0x1F)
    assert seen.counts.neighbours == (0x3FF, 1024, 0x100, 0xB)
    assert seen.counts.neighbours6 == (0x100, 512, 6, 4)
    assert seen.counts.reverse_path == 12


LISTEN = (
    "ip link set lo up; python3 -m http.server 8099 --bind 127.0.0.1 >/dev/null 2>&1 & L=$!; until grep -q ':1FA3 ' "
    "/proc/net/tcp; do sleep 0.1; done"
)
PROBES = {"0": ("127.0.0.1", 8099), "1": ("127.0.0.1", 9), "2": ("10.250.0.1", 80), "u3": ("127.0.0.1", 53)}


def without(*tools: str) -> str:
    return SCRIPT.replace("have() {", f"have() {{ case $1 in {'|'.join(tools)}) return 1 ;; esac;")


@needs_namespace
@pytest.mark.parametrize("shell", SHELLS)
def test_probes_with_bash(shell: str) -> None:
    seen = look(shell, LISTEN, body=SCRIPT + "\nkill $L", probes=PROBES)
    assert seen.tool == "bash"
    assert seen.answers == {
        "0": ProbeAnswer.OK,
        "1": ProbeAnswer.REFUSED,
        "2": ProbeAnswer.UNREACHABLE,
        "u3": ProbeAnswer.TIMEOUT,
    }


@needs_namespace
def test_probes_with_curl_tell_the_same_and_nothing_of_udp() -> None:
    seen = look("dash" if "dash" in SHELLS else "bash", LISTEN, body=without("bash") + "\nkill $L", probes=PROBES)
    assert seen.tool == "curl"
    assert seen.answers == {
        "0": ProbeAnswer.OK,
        "1": ProbeAnswer.REFUSED,
        "2": ProbeAnswer.UNREACHABLE,
        "u3": None,
    }


@needs_namespace
def test_without_any_tool_the_probes_are_unseen() -> None:
    seen = look("bash", body=without("bash", "curl", "nc"), probes=PROBES)
    assert seen.tool == "" and set(seen.answers.values()) == {None}


HOST0 = """ip link add host0 type veth peer name host1 && ip addr add 10.99.1.21/24 dev host0 || exit 9
ip link set host0 up && ip link set host1 up || exit 9
while ip route show | grep -q linkdown; do :; done
"""
"""The route is without the word that the device has no carrier, which it has a moment later than it is up."""
TWO_WAYS = "10.244.80.0/26 proto bird nexthop via 10.99.1.1 dev host0 weight 1 nexthop via 10.99.1.2 dev host0 weight 1"


@needs_namespace
@pytest.mark.parametrize("shell", [s for s in SHELLS if s != "busybox"])
def test_a_route_with_two_next_hops_is_one_route(shell: str) -> None:
    """busybox's own `ip` has no next hops."""
    seen = look(shell, f"{HOST0}ip route add {TWO_WAYS}")
    assert TWO_WAYS in seen.routes and not any(r.startswith("nexthop") for r in seen.routes)


@needs_namespace
def test_pods_own_routes_are_not_read() -> None:
    made = "ip link add eni5c2 type veth peer name e1; ip link set eni5c2 up; ip route add 10.0.3.17 dev eni5c2"
    seen = look("dash" if "dash" in SHELLS else "bash", HOST0 + made)
    assert seen.routes and not any("10.0.3.17" in r for r in seen.routes)


@needs_namespace
@pytest.mark.parametrize("shell", SHELLS)
def test_routes_that_are_known_are_not_sent_again(shell: str) -> None:
    host = HOST0.replace("ip ", f"{shutil.which('ip')} ")  # busybox's own makes none
    first = look(shell, host)
    assert first.known.digest and first.routes == first.known.lines != ()
    again = look(shell, host, known=first.known)
    assert again.routes is first.known.lines and again.known is first.known
    more = look(shell, f"{host}ip route add 10.77.0.0/16 via 10.99.1.1", known=first.known)
    assert set(more.routes) - set(first.routes) == {"10.77.0.0/16 via 10.99.1.1 dev host0"}
    assert more.known.digest not in ("", first.known.digest)


@needs_namespace
@pytest.mark.parametrize("shell", SHELLS)
def test_where_no_digest_can_be_made_routes_are_sent_whole(shell: str) -> None:
    """And to whoever sends one that was made elsewhere."""
    host = HOST0.replace("ip ", f"{shutil.which('ip')} ")
    first = look(shell, host)
    without = look(shell, f"sha256sum() {{ return 127; }}\n{host}", known=first.known)
    assert without.routes == first.routes and without.known.digest == ""
    without = look(shell, f"sha256sum() {{ cat >/dev/null; echo 'no such algorithm'; }}\n{host}", known=first.known)
    assert without.routes == first.routes and without.known.digest == ""


def parsed(printed: str, known: Routes = UNKNOWN) -> HostLook:
    return parse_look(f"@@m forwarding\n1\n@@m {printed}", "@@m", {}, middle=datetime.now(UTC), known=known)


def test_routes_that_were_cut_short_are_not_taken_for_known() -> None:
    text = "10.1.0.0/16 via 10.99.1.1 dev host0\n10.2.0.0/16 via 10.99.1.1 dev host0\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    whole = parsed(f"routes {digest}\n{text}@@m end\n")
    assert whole.known == Routes(whole.routes, digest) and len(whole.routes) == 2
    assert parsed(f"routes {digest}\n{text[:40]}").known.digest == ""
    assert parsed(f"routes\n{text}@@m end\n").known.digest == ""
    assert parsed(f"routes-same {digest}\n@@m end\n", whole.known).routes == whole.routes
    for known in (UNKNOWN, Routes(("default via 10.99.1.1",), digest[::-1])):
        with pytest.raises(LookError, match="not asked for"):
            parsed(f"routes-same {digest}\n@@m end\n", known)


def test_more_routes_than_are_read_are_none_that_is_missing_and_are_sent_once() -> None:
    """As on a node with a full table of BGP, or of thousands on an overlay: what was recorded would seem to be gone.
    That is no trouble of the machine, for which it would be looked at in every sweep.
    """
    lines = "".join(f"10.{n // 256}.{n % 256}.0/24 via 10.99.1.1 dev host0\n" for n in range(2049))
    digest = hashlib.sha256(lines.encode()).hexdigest()
    seen = parsed(f"routes {digest}\n{lines}@@m end\n", UNKNOWN)
    assert seen.routes is None and not seen.problems
    again = parsed(f"routes-same {digest}\n@@m end\n", seen.known)
    assert again.routes is None and again.known is seen.known


FIREWALL = "nft add table inet fw; nft 'add chain inet fw f { type filter hook forward priority 10; policy drop; }'"


@needs_namespace
@pytest.mark.skipif(not shutil.which("nft"), reason="nft is not installed")
@pytest.mark.parametrize("shell", SHELLS)
def test_chains_that_drop_what_is_forwarded(shell: str) -> None:
    """As docker sets the policy, and as firewalld has a table of its own; what lets everything through is none."""
    own = "nft add table ip x; nft 'add chain ip x in { type filter hook input priority 0; policy drop; }'"
    seen = look(shell, f"{FIREWALL}; {own}; iptables -P FORWARD DROP")
    assert seen.dropping == ("inet fw f", "ip filter FORWARD")
    assert look(shell, "iptables -P FORWARD ACCEPT; nft add table inet fw").dropping == ()


FIREWALLD = """nft add table inet firewalld
nft 'add chain inet firewalld filter_FORWARD_ZONES'
nft 'add chain inet firewalld filter_FORWARD { type filter hook forward priority 10; policy accept; }'
nft 'add rule inet firewalld filter_FORWARD ct state established,related accept'
nft 'add rule inet firewalld filter_FORWARD ct status dnat accept'
nft 'add rule inet firewalld filter_FORWARD ct state invalid drop'
nft 'add rule inet firewalld filter_FORWARD ip6 daddr ::/96 reject with icmpv6 type addr-unreachable'
nft 'add rule inet firewalld filter_FORWARD jump filter_FORWARD_ZONES'
"""
"""As firewalld 1.3 makes them, without the last one."""


@needs_namespace
@pytest.mark.skipif(not shutil.which("nft"), reason="nft is not installed")
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("rules", "dropping"),
    [
        (FIREWALLD, ()),
        (
            f"{FIREWALLD}nft 'add rule inet firewalld filter_FORWARD reject with icmpx type admin-prohibited'",
            ("inet firewalld filter_FORWARD reject",),
        ),
        ("iptables -A FORWARD -s 10.1.0.0/16 -j DROP; iptables -A FORWARD -j KUBE 2>/dev/null || true", ()),
        ("iptables -A FORWARD -j REJECT --reject-with icmp-host-prohibited", ("ip filter FORWARD reject",)),
        ("iptables -I FORWARD -m comment --comment 'no way' -j DROP", ("ip filter FORWARD reject",)),
    ],
)
def test_a_chain_whose_policy_is_accept_may_reject_everything(
    shell: str, rules: str, dropping: tuple[str, ...]
) -> None:
    """As firewalld does, and the rules that come with the package iptables-services."""
    assert look(shell, rules).dropping == dropping
    if "iptables" in rules:
        without = SCRIPT.replace("have nft", "false").replace("have iptables-legacy", "false")
        assert look(shell, rules, without).dropping == dropping


IP = f'ip() {{ {shutil.which("ip")} "$@"; }}\n'
"""Not busybox's, which does not tell the kinds of devices."""
TUNNEL = f"{IP}ip link add flannel.1 type vxlan id 1 dstport 8472 dev lo\n"
HARDENED = """nft add table inet fw
nft 'add chain inet fw in { type filter hook input priority 0; policy drop; }'
nft 'add chain inet fw tunnels'
nft 'add chain inet fw nobody'
nft 'add rule inet fw in iifname "lo" accept'
nft 'add rule inet fw in tcp dport 22 drop'
nft 'add rule inet fw in udp dport 8472 accept'
nft 'add rule inet fw in jump tunnels'
nft 'add rule inet fw tunnels udp dport { 4789, 6000-6100 } counter packets 7 bytes 99 drop'
nft 'add rule inet fw tunnels goto in'
nft 'add rule inet fw nobody udp dport 51820 drop'
"""


@needs_namespace
@pytest.mark.skipif(not shutil.which("nft"), reason="nft is not installed")
@pytest.mark.parametrize("shell", SHELLS)
def test_rules_against_what_tunnels_bring(shell: str) -> None:
    """Of the chains for what comes in and those that they call, also in a circle; none that nobody calls."""
    seen = look(
        shell,
        f"{TUNNEL}{HARDENED}iptables -A INPUT -p 4 -c 7 99 -j REJECT; iptables -A FORWARD -p udp --dport 8472 -j DROP",
    )
    told = [rule.partition(": ") for rule in seen.refusing or ()]
    assert [chain for chain, _, rule in told if "accept" in rule] == ["inet fw in"] * 2, "as for what comes after it"
    found = {chain: rule for chain, _, rule in told if "accept" not in rule}
    assert set(found) == {"inet fw tunnels", "ip filter INPUT"}, seen.refusing
    vxlan, geneve, own = (
        Link("v", "vxlan", True),
        Link("g", "geneve", True, port=6081),
        Link("o", "vxlan", True, port=8472),
    )
    in_ip = Link("tunl0", "ipip", True)
    for rule, of in (("inet fw tunnels", {vxlan, geneve}), ("ip filter INPUT", {in_ip})):
        whole = f"{rule}: {found[rule]}"
        assert {link for link in (vxlan, geneve, own, in_ip) if refuses(whole, link)} == of, whole
    assert look(shell, f"{TUNNEL}nft add table inet fw").refusing == ()


@needs_namespace
@pytest.mark.skipif(not shutil.which("nft"), reason="nft is not installed")
@pytest.mark.parametrize("shell", SHELLS)
def test_rules_for_what_comes_in_are_read_where_a_tunnel_is_and_nowhere_else(shell: str) -> None:
    bridge = f"{IP}ip link add cni0 type bridge\n"
    assert look(shell, bridge + HARDENED).refusing == (), "nothing comes by a tunnel there"
    for tunnel in ("type vxlan id 1 dstport 8472 dev lo", "type geneve external", "type wireguard", "type ipip"):
        add = f"ip link add t0 {tunnel}"
        made = subprocess.run([*NAMESPACE, "sh", "-c", add], capture_output=True, check=False)
        if made.returncode == 0:  # not every kernel has all of them
            assert look(shell, f"{bridge}{add}\n{HARDENED}").refusing, tunnel
    untold = TUNNEL.replace("ip() {", "ip() { case \" $* \" in *' -d '*) return 1 ;; esac;")
    for before, body in ((untold, SCRIPT), (TUNNEL, SCRIPT.replace("have ip;", "false;"))):
        assert look(shell, before + HARDENED, body).refusing is None, "whether a tunnel is there is not told"


ALLOWED = (
    "iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
    "iptables -A INPUT -p tcp --dport 22 -j ACCEPT",
    "iptables -A INPUT -s 10.99.1.0/24 -p udp --dport 8472 -j ACCEPT",
    "iptables -A INPUT -p udp --dport 8472 -c 7 99 -j DROP",
)


@needs_namespace
@pytest.mark.skipif(not shutil.which("nft"), reason="nft is not installed")
@pytest.mark.skipif(not shutil.which("iptables"), reason="iptables is not installed")
@pytest.mark.parametrize("tools", ["nft", "iptables"])
def test_what_lets_the_other_nodes_in_stands_before_what_drops_the_rest(tools: str) -> None:
    body = SCRIPT if tools == "nft" else SCRIPT.replace("have nft", "false").replace("have iptables-legacy", "false")
    told = look("dash", TUNNEL + "; ".join(ALLOWED), body).refusing or ()
    vxlan = Link("flannel.1", "vxlan", True, port=8472, over="eth0")
    assert against(told, vxlan, ["10.99.1.21"]) == ""
    assert "8472" in against(told, vxlan, ["10.99.2.21"]), told
    assert against(told[::-1], vxlan, ["10.99.1.21"]), told
    assert not any("22" in rule for rule in told), "what is for TCP is no matter here"


@needs_namespace
@pytest.mark.skipif(not shutil.which("iptables"), reason="iptables is not installed")
@pytest.mark.parametrize("shell", SHELLS)
def test_without_nft_the_rules_against_tunnels_are_iptables_own_words(shell: str) -> None:
    body = SCRIPT.replace("have nft", "false").replace("have iptables-legacy", "false")
    rules = "iptables -N mine; iptables -A INPUT -j mine; iptables -A mine -p udp --dport 8472 -c 7 99 -j DROP"
    (rule,) = look(shell, TUNNEL + rules, body).refusing or ()
    assert rule == "ip filter mine: -A mine -p udp -m udp --dport 8472 -c 7 99 -j DROP"
    assert refuses(rule, Link("flannel.1", "vxlan", True, port=8472))
    assert look(shell, TUNNEL, body.replace("have iptables;", "false;")).refusing is None


@needs_namespace
@pytest.mark.skipif(not shutil.which("iptables-legacy"), reason="iptables-legacy is not installed")
@pytest.mark.parametrize("shell", SHELLS)
def test_the_policy_of_the_older_iptables_is_read_too(shell: str) -> None:
    seen = look(shell, "iptables-legacy -P FORWARD DROP || exit 0")
    assert seen.dropping == ("ip filter FORWARD",)


@needs_namespace
def test_without_nft_the_policy_is_iptables_own_word(tmp_path: Path) -> None:
    for name in ("nft", "iptables-legacy"):
        assert f"have {name}" in SCRIPT
    body = SCRIPT.replace("have nft", "false").replace("have iptables-legacy", "false")
    assert look("dash", "iptables -P FORWARD DROP", body).dropping == ("ip filter FORWARD",)
    assert look("dash", body=body.replace("have iptables;", "false;")).dropping is None


@needs_namespace
def test_the_policy_of_forward_is_put_back() -> None:
    put = AcceptForwards()
    script = f"""iptables -P FORWARD DROP && ! ({sent(put.check())}) || exit 9
({sent(put.call())}) && ({sent(put.check())}) || exit 8
iptables -S FORWARD | grep -qx -e '-P FORWARD ACCEPT'"""
    done = subprocess.run([*NAMESPACE, "sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)


@needs_namespace
@pytest.mark.parametrize("shell", SHELLS)
def test_whether_bridges_pass_iptables(shell: str, tmp_path: Path) -> None:
    (tmp_path / "bridge").mkdir()
    body = SCRIPT.replace("/proc/sys/net/bridge", f"{tmp_path}/bridge")
    assert look(shell, body=body).bridge_netfilter is None  # there, and not to be read
    for said, meant in (("1\n", True), ("0\n", False)):
        (tmp_path / "bridge/bridge-nf-call-iptables").write_text(said)
        assert look(shell, body=body).bridge_netfilter is meant
    assert look(shell, body=SCRIPT.replace("/proc/sys/net/bridge", f"{tmp_path}/gone")).bridge_netfilter is False


@needs_namespace
@pytest.mark.parametrize(
    "route",
    [
        "10.244.2.0/24 via 10.99.1.22 dev host0",
        "blackhole 10.244.2.0/24",
        "default via 10.99.1.1 dev host0",
        TWO_WAYS.replace("proto bird ", ""),
    ],
)
def test_a_route_is_added_once_and_never_over_another(route: str) -> None:
    """With the real `ip`: what leads there by now is somebody's, whatever a sweep saw."""
    put = PutRoute(route)
    other = f"{destination(route)} via 10.99.1.99 dev host0"
    script = f"""{HOST0}({sent(put.call())}) || exit 8
({sent(put.check())}) || exit 7
ip -4 route del {route} && ip -4 route add {other} || exit 6
({sent(put.call())}) 2>/dev/null && exit 5
ip -4 route show | grep -q 'via 10.99.1.99' || exit 4
! ({sent(put.check())}) || exit 3"""
    done = subprocess.run([*NAMESPACE, "sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)


@needs_namespace
@pytest.mark.parametrize("shell", SHELLS)
def test_what_kube_proxy_takes_for_the_range_of_pods(shell: str, tmp_path: Path) -> None:
    """By the file that its pod has mounted, through its own root; kubeadm writes "" where there is no podSubnet."""
    kept = tmp_path / "config.conf"
    shutil.copy(str(shutil.which("sleep")), tmp_path / "kube-proxy")
    body = SCRIPT.replace("${p%comm}root/var/lib/kube-proxy/config.conf", str(kept))
    assert str(kept) in body
    for line, cidr in (("clusterCIDR: 10.244.0.0/16", "10.244.0.0/16"), ('clusterCIDR: ""', ""), ("mode: ipvs", "")):
        kept.write_text(f"apiVersion: kubeproxy.config.k8s.io/v1alpha1\n{line}\nconfigSyncPeriod: 0s\n")
        assert look(shell, f"{tmp_path}/kube-proxy 20 >/dev/null 2>&1 &", body).cluster_cidr == cidr
    kept.unlink()
    assert look(shell, f"{tmp_path}/kube-proxy 20 >/dev/null 2>&1 &", body).cluster_cidr == ""
