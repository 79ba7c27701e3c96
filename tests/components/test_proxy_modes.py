"""`network.sh` on machines that are not the lab's: kube-proxy's mode by its own word, and tools that are missing, fail
or are too old. The real script under each shell, with a PATH of nothing but the usual tools and what stands in
for the others: the messages are those of the programs named in each case.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from recoverd.model.memory import Memory
from recoverd.model.network import ProcessView
from recoverd.observe.netlook import HostLook, Rules, parse_look, script
from recoverd.observe.rulewatch import RuleWatch
from recoverd.observe.services import Endpoint, ServicePort
from tests.components.test_network_look import IP_VS, NFTABLES, SCRIPT
from tests.shells import SHELLS, command
from tests.unit.pod_network import PodNetwork

USUAL = ("cat", "grep", "awk", "sed", "head", "tail", "tr", "cut", "ls", "timeout")
WEB = ServicePort(
    "d/web:80",
    "d",
    "web",
    "10.96.0.80:80",
    comparable=True,
    dns=False,
    endpoints=(Endpoint("10.203.21.2:8080", True), Endpoint("10.203.22.2:8080", True)),
)
PROGRAMMED = {WEB.address: frozenset(e.address for e in WEB.endpoints)}
CHAINS = """cat <<'EOF'
*nat
:KUBE-SERVICES - [0:0]
:KUBE-SVC-WEB - [0:0]
-A KUBE-SERVICES -d 10.96.0.80/32 -p tcp -m comment --comment "d/web cluster IP" -m tcp --dport 80 -j KUBE-SVC-WEB
-A KUBE-SVC-WEB -m statistic --mode random --probability 0.5 -j KUBE-SEP-A
-A KUBE-SVC-WEB -j KUBE-SEP-B
-A KUBE-SEP-A -p tcp -m tcp -j DNAT --to-destination 10.203.21.2:8080
-A KUBE-SEP-B -p tcp -m tcp -j DNAT --to-destination 10.203.22.2:8080
COMMIT
EOF
"""
NO_CHAINS = "printf '*nat\\n:PREROUTING ACCEPT [0:0]\\nCOMMIT\\n'\n"
INCOMPATIBLE = "echo \"# Table \\`nat' is incompatible, use 'nft' tool.\"\n"
"""Of an iptables-nft-save that is older than kube-proxy's (kubernetes/kubernetes#112477); it ends with 0."""
NFT = f"""case "$*" in
  'list tables') echo 'table ip kube-proxy' ;;
  'list map '*) cat <<'EOF'
{NFTABLES}
EOF
    ;;
  *service-ULMVA6XW*) echo 'numgen random mod 2 vmap {{ 0 : goto endpoint-5OJB2KTY-d/web/tcp/__10.203.21.2/8080, 1 : goto endpoint-SGOXE6O3-d/web/tcp/__10.203.22.2/8080 }}' ;;
  *) exit 1 ;;
esac
"""  # noqa: E501
NO_IPVS = "case \"$*\" in *kube-ipvs0*) echo 'Device does not exist' >&2; exit 1 ;; esac\n"


@dataclass
class Machine:
    """What stands in for a machine: its tools by name, whether a kube-proxy runs there, and what that says."""

    tools: dict[str, str] = field(default_factory=dict)
    says: str = ""
    """kube-proxy's answer to /proxyMode; "" where nobody there can ask it."""
    runs: bool = True
    ip_vs: str = ""

    def look(self, shell: str, at: Path) -> HostLook:
        tools, proc = at / "bin", at / "proc"
        tools.mkdir()
        (proc / "net").mkdir(parents=True)
        if self.ip_vs:
            (proc / "net/ip_vs").write_text(self.ip_vs)
        if self.runs:
            (proc / "77").mkdir()
            (proc / "77/comm").write_text("kube-proxy\n")
            (proc / "77/stat").write_text("77 (kube-proxy) S 1 " + "0 " * 17 + "4242 0\n")
        for name in (*USUAL, *(["bash"] if shell == "bash" else [])):
            (tools / name).symlink_to(str(shutil.which(name)))
        given = {"ip": NO_IPVS, **self.tools}
        if self.says:
            given["curl"] = f'case "$*" in *127.0.0.1:10249/proxyMode*) printf {self.says} ;; *) exit 7 ;; esac\n'
        for name, text in given.items():
            (tools / name).write_text(f"#!/bin/sh\n{text}")
            (tools / name).chmod(0o755)
        body = SCRIPT.replace("PATH=$PATH:/usr/sbin:/sbin:/usr/local/sbin", "").replace("/proc/[0-9]", f"{proc}/[0-9]")
        text = script(body.replace("/proc/net", f"{proc}/net"), "@@m", {}, (WEB.address,), 1)
        done = subprocess.run(
            [str(shutil.which(command(shell)[0])), *command(shell)[1:], "-s"],
            input=text,
            env={**os.environ, "PATH": str(tools)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        return parse_look(done.stdout, "@@m", {}, middle=datetime.now(UTC))


READ = {
    "iptables": Machine({"iptables-save": CHAINS}, "iptables"),
    "iptables, and kube-proxy cannot be asked": Machine({"iptables-save": CHAINS}),
    "nftables": Machine({"iptables-save": NO_CHAINS, "nft": NFT}, "nftables"),
    "iptables, and IPVS of kube-vip or keepalived": Machine(
        {"iptables-save": CHAINS}, ip_vs=IP_VS.replace("0A600050", "0A010000")
    ),
    "iptables, with a table of nftables left behind": Machine({"iptables-save": CHAINS, "nft": NFT}, "iptables"),
}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("machine", READ.values(), ids=READ.keys())
def test_the_rules_are_read_in_the_mode_that_is_kube_proxys(machine: Machine, shell: str, tmp_path: Path) -> None:
    rules = machine.look(shell, tmp_path).rules
    assert (rules.mode, rules.programmed) == (machine.says or "iptables", PROGRAMMED)


UNREADABLE = {
    "nftables without nft": Machine({"iptables-save": NO_CHAINS}, "nftables"),
    "nftables, and nft fails": Machine({"iptables-save": NO_CHAINS, "nft": "exit 1\n"}, "nftables"),
    "nftables, and nft is too old for its map": Machine(
        {"nft": "case \"$*\" in 'list tables') echo 'table ip kube-proxy' ;; *) echo 'map service-ips { }' ;; esac\n"},
        "nftables",
    ),
    "an iptables that is older than kube-proxy's": Machine({"iptables-save": INCOMPATIBLE}, "iptables"),
    "the same, and kube-proxy cannot be asked": Machine({"iptables-nft-save": INCOMPATIBLE}),
    "iptables-save fails": Machine({"iptables-save": "exit 1\n"}, "iptables"),
    "no tool at all": Machine(),
}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("machine", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_rules_that_no_tool_here_can_read_are_unseen_and_not_gone(machine: Machine, shell: str, tmp_path: Path) -> None:
    rules = machine.look(shell, tmp_path).rules
    assert rules.unseen and found(rules, Memory()) == found(rules, None) == []


def found(rules: Rules, memory: Memory | None, *, runs: bool = True) -> list[str]:
    """Faults of a node with these rules; `memory` None: as while it was healthy with iptables."""
    network = PodNetwork()
    started = network.now - timedelta(days=3)
    network.host(
        "w1",
        rules=RuleWatch().compare("w1", rules, [WEB], 0.0),
        processes={"kube-proxy": ProcessView("kube-proxy", "S", started)} if runs else {},
    )
    return [f.code for f in network.seen(memory).faults]


@pytest.mark.parametrize("shell", SHELLS)
def test_rules_that_are_gone_are_missed_where_their_tool_is_there(shell: str, tmp_path: Path) -> None:
    rules = Machine({"iptables-save": NO_CHAINS}, "iptables").look(shell, tmp_path).rules
    assert (rules.mode, rules.unseen) == ("", "")
    assert found(rules, Memory()) == found(rules, None) == ["service-rules-stale"]


@pytest.mark.parametrize("shell", SHELLS)
def test_without_kube_proxys_word_only_what_was_seen_before_is_missed(shell: str, tmp_path: Path) -> None:
    """It may use nftables, which nobody here can read."""
    rules = Machine({"iptables-save": NO_CHAINS}).look(shell, tmp_path).rules
    assert found(rules, Memory()) == [] and found(rules, None) == ["service-rules-stale"]
