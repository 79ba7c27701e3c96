"""What kube-proxy has written of the only service, as each mode's tool shows it."""

from __future__ import annotations

from tests.field.machines import Machine

CHAINS = """printf '%s\\n' '*nat' ':KUBE-SERVICES - [0:0]' \\
  '-A KUBE-SERVICES -d 10.96.0.80/32 -p tcp -m comment --comment "d/web" -m tcp --dport 80 -j KUBE-SVC-WEB' \\
  '-A KUBE-SVC-WEB -j KUBE-SEP-A' '-A KUBE-SEP-A -p tcp -m tcp -j DNAT --to-destination 10.244.1.5:8080' COMMIT
"""
NO_CHAINS = "printf '*nat\\n:PREROUTING ACCEPT [0:0]\\nCOMMIT\\n'\n"
NFT = """case "$*" in
  'list tables') echo 'table ip kube-proxy' ;;
  'list map '*) echo 'map service-ips {'; echo 'type ipv4_addr . inet_proto . inet_service : verdict'
    echo 'elements = { 10.96.0.80 . tcp . 80 : goto service-A-d/web/tcp/ }' ;;
  'list chain '*service-A*) echo 'numgen random mod 1 vmap { 0 : goto endpoint-B-d/web/tcp/__10.244.1.5/8080 }' ;;
  'list chains') ;;
  *) exit 1 ;;
esac
"""
FIREWALLD = NFT.replace(
    "  'list chains') ;;",
    """  'list chains') printf '%s\\n' 'table inet firewalld {' '  chain filter_FORWARD {' \\
    '    type filter hook forward priority filter + 10; policy accept;' '  }' '}' ;;
  'list chain inet firewalld filter_FORWARD') printf '    %s\\n' 'ct state { established, related } accept' \\
    'ct status dnat accept' 'jump filter_FORWARD_ZONES' 'reject with icmpx admin-prohibited' ;;""",
)
"""The same where firewalld was started: its policy is ACCEPT, and its last rule is not."""
DOCKER = NFT.replace(
    "  'list chains') ;;",
    """  'list chains') printf '%s\\n' 'table ip filter {' '  chain FORWARD {' \\
    '    type filter hook forward priority filter; policy drop;' '  }' '}' ;;""",
)
"""The same where docker was installed."""
HARDENED = NFT.replace(
    "  'list chains') ;;",
    """  'list chains') printf '%s\\n' 'table ip filter {' '  chain INPUT {' \\
    '    type filter hook input priority filter; policy accept;' '  }' '  chain hardening {' '  }' '}' ;;
  'list chain ip filter INPUT') printf '    %s\\n' 'counter packets 9 bytes 99 jump KUBE-FIREWALL' \\
    'counter packets 9 bytes 99 jump hardening' ;;
  'list chain ip filter hardening') echo '    udp dport { 4789, 8472 } counter packets 9 bytes 99 drop' ;;""",
)
"""The same where somebody has hardened the machine, by a chain of its own."""
IPTABLES = """case "$*" in
  '-S FORWARD') echo '-P FORWARD ACCEPT' ;;
  '-v -S INPUT') printf '%s\\n' '-P INPUT ACCEPT -c 90 999' '-A INPUT -c 90 999 -j KUBE-FIREWALL' \\
    '-A INPUT -p ipencap -c 9 99 -j DROP' ;;
  *) exit 1 ;;
esac
"""
"""The older iptables, with a rule against IP in IP."""
IP_VS = """IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A600050:0050 rr
  -> 0AF40105:1F90      Masq    1      0          0
"""


CHAINS6 = (
    CHAINS.replace("10.96.0.80/32", "fd00:96::80/128")
    .replace("10.244.1.5:8080", "[fd00:244::5]:8080")
    .replace("KUBE-SEP-A", "KUBE-SEP-B")
)


def program(machine: Machine, mode: str, *, v6: bool, dual: bool) -> None:
    """`mode` is kube-proxy's; "" where there is none. Rules of IPv6 alone are not in iptables."""
    if v6 or dual:
        machine.write("proc/net/ip6_tables_names", "nat\n")
        machine.tool("ip6tables-save", CHAINS6 if mode == "iptables" else NO_CHAINS)
    machine.tool("iptables-save", CHAINS if mode == "iptables" and not v6 else NO_CHAINS)
    if mode == "nftables":
        machine.tool("nft", NFT)
    if mode == "ipvs":
        machine.write("proc/net/ip_vs", IP_VS)
