"""A machine for the real look scripts: its directories below a root of its own, and programs that stand in for those
that it has. Nothing of the machine that runs the tests is read but what `USUAL` names.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import stat
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from recoverd.clients.dial import HostUnseen
from recoverd.clients.hosts import PROGRAMS, CommandResult, HostPool, own
from recoverd.config import SshSettings
from recoverd.model.observation import UnseenKind
from recoverd.model.settings import HostSettings

USUAL = (
    "awk", "base64", "cat", "chmod", "cut", "date", "find", "grep", "head", "ls", "mkdir", "mktemp", "mv", "rm", "sed",
    "sha256sum", "sort", "stat", "tail", "timeout", "touch", "tr", "wc",
)  # fmt: skip
MOVED = re.compile(r"(?<![\w.])(/(?:etc|var|run|srv)(?=/)|/proc/(?=\[0-9\]|sys/|net/|mounts)|/dev/pts)")
MARKER = re.compile("@@[0-9a-f]{16}")
DEADLINE = re.compile(r"(?<=timeout -s KILL )\d+")
TIME = re.compile(r"^\d{10}\.\d{9}$", re.MULTILINE)
"""A line of `date +%s.%N`."""
NAMED = "d=${d:-${D:-"
"""Where the look has read from etcd's manifest where its data and its log are."""
SYSTEMCTL = """cd {root}/units || exit 1
case $1 in show) for u in kubelet containerd docker crio; do
  load=not-found active=inactive result=success
  [ ! -e $u ] || {{ load=loaded; read -r active result <$u; }}
  printf '%s\\n' Id=$u.service LoadState=$load ActiveState=$active SubState=$active Result=$result {since} ''
done ;; esac
"""
DF = """echo 'Filesystem 1024-blocks Used Available Capacity Mounted on'
echo '/dev/vda1 41152736 9152736 32000000 23% /'
"""
IP = """case "$*" in
  *'link show type veth'*) exec cat {root}/net/veths ;;
  *kube-ipvs0*) [ -e {root}/proc/net/ip_vs ] ;;
  *'link show'*) exec cat {root}/net/links ;;
  *'-6 addr show'*) exec cat {root}/net/addresses6 ;;
  *'-6 route show'*) exec cat {root}/net/routes6 ;;
  *'addr show'*) exec cat {root}/net/addresses ;;
  *'route show'*) exec cat {root}/net/routes ;;
esac
"""
JOURNALCTL = """for unit; do [ ! -e {root}/journals/$unit ] || cat {root}/journals/$unit; done
"""
NO_DETAILS = """case " $* " in *' -d '*) echo "ip: invalid argument '-d' to 'ip'" >&2; exit 1 ;; esac
"""
CURL = """case "$*" in
  *:10249/proxyMode*) printf {mode} ;;
  *:10248/*) [ ! -e {root}/kubelet-hangs ] || {{ printf 'connects=1 said=000\\n'
       echo 'curl: (28) Operation timed out after 2001 milliseconds with 0 bytes received' >&2; exit 28; }}
     printf 'connects=1 said=200\\n' ;;
  *said=*) for url; do :; done; name=${{url#*//}}; name=${{name%%[:/]*}}
     case $name in *[!0-9.]*) grep -qs " $name" {root}/etc/hosts || {{
       echo "curl: (6) Could not resolve host: $name" >&2; printf 'connects=0 said=000\\n'; exit 6; }} ;; esac
     printf 'connects=1 said=200\\n' ;;
  *'//['*) [ ! -e {root}/silent6 ] || {{ echo 'curl: (28) Connection timed out after 1001 milliseconds'; exit 28; }}
     printf ' connects=1' ;;
  *) for url; do :; done
     [ ! -e {root}/silent ] || {{ [ -s {root}/silent ] && ! grep -qF "${{url#http}}" {root}/silent; }} || {{
       echo 'curl: (28) Connection timed out after 1001 milliseconds'; exit 28; }}
     printf ' connects=1' ;;
esac
"""
BURSTABLE = "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{pod}.slice"
CGROUPS = {  # of a static pod's container, as each runtime and cgroup driver writes it
    "containerd": BURSTABLE + "/cri-containerd-{id}.scope",
    "containerd, cgroups v1": "9:memory:/kubepods/burstable/pod{pod}/{id}",
    "containerd, cgroupfs": "0::/kubepods/burstable/pod{pod}/{id}",
    "docker": "11:cpu,cpuacct:/kubepods/burstable/pod{pod}/{id}",
    "crio": BURSTABLE + "/crio-{id}.scope",
}


CONNTRACK = """entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop
{0:08x}  00000000 00000003 00000000 0000011f 0000ab52 00000000 00000000 00000000 00000000 {1:08x} 00000000
{0:08x}  00000000 00000001 00000000 00000093 00004a02 00000000 00000000 00000000 00000000 {1:08x} 00000000
"""
ARP = """entries  allocs   destroys hash_grows lookups  hits     res_failed periodic_gc_runs forced_gc_runs table_fulls
{0:08x} 000009ce 0000077c 00000003   000040e5 00002b80 00000358   00000000         00000000       {1:08x}
{0:08x} 00000904 00000b25 00000002   00003c23 00002826 00000318   00000401         00000000       00000000
"""
NETSTAT = """TcpExt: SyncookiesSent SyncookiesRecv IPReversePathFilter TCPTimeouts
TcpExt: 0 0 {} 87
IpExt: InNoRoutes InTruncatedPkts IPReversePathFilter
IpExt: 0 0 99999
"""


def stamp() -> str:
    """The time of a line of now in a container's log."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"


class Machine:
    """`proxy_mode` is what kube-proxy says; "" where there is none."""

    def __init__(
        self,
        root: Path,
        *,
        proxy_mode: str = "iptables",
        userland: str = "",
        ip: str = "iproute2",
        systemd: int = 252,
    ) -> None:
        self.root = root
        self.greeting = ""
        self.ahead = 0.0
        """Seconds by which its clock is ahead of the bastion's."""
        self.printed: dict[str, tuple[object, str, subprocess.CompletedProcess[str] | None]] = {}
        """By script: what there was when it was run, the marker that it had, and what came of it."""
        self.applets = bool(userland)
        """Its shell takes a tool of its own before one in PATH, as busybox's does (FEATURE_SH_STANDALONE)."""
        self.tools: list[str] = []
        for folder in (
            "units", "net", "proc/sys/kernel/random", "proc/sys/net/ipv4", "proc/net", "dev/pts", "usr/bin", "run",
            "etc/cni/net.d", "etc/kubernetes", "var/lib/kubelet/pods", "var/lib/recoverd", "var/log/pods",
        ):  # fmt: skip
            (root / folder).mkdir(parents=True)
        for name in USUAL:
            (root / "usr/bin" / name).symlink_to(str(shutil.which(userland or name)))
        (root / "usr/bin/sh").symlink_to(str(shutil.which(userland or "dash") or shutil.which("sh")))
        boot = hashlib.md5(str(root).encode()).hexdigest()
        self.boot_id = "-".join((boot[:8], boot[8:12], boot[12:16], boot[16:20], boot[20:]))
        self.write("proc/sys/kernel/random/boot_id", self.boot_id + "\n")
        self.write("proc/sys/net/ipv4/ip_forward", "1\n")
        self.write("proc/sys/net/bridge/bridge-nf-call-iptables", "1\n")
        self.write("proc/sys/net/netfilter/nf_conntrack_max", "65536\n")
        self.write("proc/sys/net/ipv4/neigh/default/gc_thresh3", "1024\n")
        for device, strict in (("all", "1"), ("default", "1"), ("lo", "1"), ("cali0123456789a", "1"), ("eth0", "0")):
            self.write(f"proc/sys/net/ipv4/conf/{device}/rp_filter", f"{strict}\n")
            self.write(f"proc/sys/net/ipv4/conf/{device}/forwarding", "1\n")
        self.tables()
        self.write("proc/mounts", "/dev/vda1 / ext4 rw,relatime 0 0\n")
        for name in ("veths", "links", "addresses", "routes", "addresses6", "routes6"):
            self.write(f"net/{name}", "")
        since = "StateChangeTimestampMonotonic=1 NRestarts=0" if systemd > 219 else "ActiveEnterTimestampMonotonic=1"
        self.tool("systemctl", SYSTEMCTL.replace("{since}", since))
        self.tool("df", DF)
        self.tool("journalctl", JOURNALCTL)
        self.tool("ip", (NO_DETAILS if ip == "busybox" else "") + IP)
        self.tool("curl", CURL.replace("{mode}", proxy_mode or "''"))

    def tool(self, name: str, text: str, folder: str = "/usr/bin") -> None:
        self.write(
            folder.lstrip("/") + "/" + name,
            "#!/bin/sh\n" + text.replace("{root}", str(self.root)).replace("{{", "{").replace("}}", "}"),
        )
        (self.root / folder.lstrip("/") / name).chmod(0o755)
        self.tools.append(f"{folder}/{name}")

    def write(self, path: str, text: str, *, age: float = 3600.0) -> None:
        """A file that has been there for `age` seconds."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        os.utime(file, (time.time() - age,) * 2)

    def socket(self, path: str) -> None:
        """One that a program would listen on."""
        os.mknod(self.root / path, stat.S_IFSOCK | 0o600)

    def tables(
        self, *, connections: int = 700, dropped: int = 0, neighbours: int = 40, full: int = 0, astray: int = 0
    ) -> None:
        """What the kernel counts, as Linux 5.10 prints it of two processors."""
        self.write("proc/sys/net/netfilter/nf_conntrack_count", f"{connections}\n")
        self.write("proc/net/stat/nf_conntrack", CONNTRACK.format(connections, dropped))
        self.write("proc/net/stat/arp_cache", ARP.format(neighbours, full))
        self.write("proc/net/netstat", NETSTAT.format(astray))

    def unit(self, name: str, active: str = "active", result: str = "success") -> None:
        self.write(f"units/{name}", f"{active} {result}\n")

    def process(
        self, number: int, name: str, cgroup: str = "0::/system.slice/x.service", *, arguments: str = ""
    ) -> None:
        self.write(f"proc/{number}/comm", name[:15] + "\n")
        self.write(f"proc/{number}/stat", f"{number} ({name[:15]}) S 1 {'0 ' * 17}4242 0\n")
        self.write(f"proc/{number}/cgroup", cgroup + "\n")
        self.write(f"proc/{number}/cmdline", "\0".join((name, *arguments.split())) + "\0")
        (self.root / f"proc/{number}/root").symlink_to("/")

    def static_pod(self, number: int, name: str, runtime: str, namespace: str = "kube-system") -> None:
        """One of kubelet's, of a manifest: its process, and its log where the runtime has one for it."""
        pod = hashlib.md5(name.encode()).hexdigest()
        self.process(number, name, CGROUPS[runtime].format(pod=pod, id=pod * 2))
        line = (
            '{"log":"ready\\n","stream":"stderr","time":"2026-03-05T19:00:00.0Z"}'
            if runtime == "docker"
            else ("2026-03-05T19:00:00.000000000Z stderr F ready")
        )
        self.write(f"var/log/pods/{namespace}_{name}-x_{pod}/{name}/0.log", line + "\n")

    def ends(self, name: str) -> None:
        for comm in (self.root / "proc").glob("[0-9]*/comm"):
            if comm.read_text().strip() == name[:15]:
                shutil.rmtree(comm.parent)

    def sudo(self, path: str) -> None:
        """With this `secure_path`."""
        path = ":".join(f"{self.root}{folder}" for folder in path.split(":"))
        self.tool("sudo", f'shift; PATH={path}; export PATH; exec "$@"\n')

    def is_beside_the_node(self) -> None:
        """A container there: no systemd, and nothing of kubelet's."""
        (self.root / "usr/bin/systemctl").unlink()
        for folder in ("etc/kubernetes", "var/lib/kubelet", "units", "proc/90", "proc/91"):
            shutil.rmtree(self.root / folder)

    def falls(self, name: str, line: str, times: int = 3) -> None:
        """A static pod ends, with these words, each time that it is started."""
        self.ends(name)
        for log in (self.root / "var/log/pods").glob(f"*_{name}-*/{name}/0.log"):
            log.with_name(f"{times}.log").write_text(f"{stamp()} stderr F {line}\n")

    def says(self, unit: str, line: str) -> None:
        """A line in the journal of a unit, as `journalctl -o short-unix` shows it, of now."""
        file = self.root / f"journals/{unit}.service"
        before = file.read_text() if file.exists() else ""
        self.write(f"journals/{unit}.service", f"{before}{time.time():.6f} machine {unit}[90]: {line}\n")

    def runs(self, name: str) -> bool:
        return any(c.read_text().strip() == name[:15] for c in (self.root / "proc").glob("[0-9]*/comm"))

    def moved(self, text: str) -> str:
        moved = MOVED.sub(lambda m: f"{self.root}{m[1]}", text)
        return moved.replace(NAMED, f"d=${{d:+{self.root}$d}} w=${{w:+{self.root}$w}}\n{NAMED}")

    def files(self) -> tuple[tuple[str, int, int, int], ...]:
        """Every path that a script may see, and what is another when one was changed."""
        found = ((str(p), p.lstat()) for p in sorted(self.root.rglob("*")))
        return tuple((path, s.st_mtime_ns, s.st_size, s.st_ino) for path, s in found)

    def run(self, command: str, script: str, seconds: float) -> subprocess.CompletedProcess[str]:
        """What a script prints here. One that nothing has changed for since it was run is not run again, since that
        is most of what a row costs: it has printed the same, but for its marker and the time.
        """
        marker = found[0] if (found := MARKER.search(script)) else ""
        asked = DEADLINE.sub("", command) + (script.replace(marker, "") if marker else script)
        files = self.files()
        seen, before, done = self.printed.get(asked, ((), "", None))
        if done is None or seen != files:
            done = self.anew(command, script, seconds)
            self.printed[asked] = files, marker, done
            return done
        text = TIME.sub(self.clock(), done.stdout.replace(before, marker) if before else done.stdout)
        return subprocess.CompletedProcess(done.args, done.returncode, text, done.stderr)

    def clock(self) -> str:
        """As `date +%s.%N` prints it there."""
        return f"{time.time() + self.ahead:.9f}"

    def anew(self, command: str, script: str, seconds: float) -> subprocess.CompletedProcess[str]:
        for folder in PROGRAMS.split(":"):
            command = command.replace(folder, f"{self.root}{folder}")
        script = script.replace("PATH=$PATH:/usr/sbin:/sbin:/usr/local/sbin", "")
        if self.applets:  # a function comes before an applet: `df` would tell of the disks of who runs the tests
            stands_in = (f'{n}() {{ {self.root}{t} "$@"; }}' for t in self.tools if (n := Path(t).name).isidentifier())
            script = "\n".join((*stands_in, script))
        done = subprocess.run(
            [f"{self.root}/usr/bin/sh", "-c", command], input=self.moved(script), env={"PATH": f"{self.root}/usr/bin"},
            capture_output=True, text=True, timeout=seconds + 20, check=False,
        )  # fmt: skip
        done.stdout = self.greeting + TIME.sub(self.clock(), done.stdout.replace(str(self.root), ""))
        return done


class Machines(HostPool):
    """The machines of a cluster, asked in their own shell instead of over SSH; `behind` says which port of the bastion
    leads to what listens on one (machine, address there, port there).
    """

    def __init__(self, ssh: SshSettings, hosts: tuple[HostSettings, ...], machines: Mapping[str, Machine]) -> None:
        super().__init__(ssh, hosts)
        self.machines = machines
        self.behind: dict[tuple[str, str, int], tuple[str, int]] = {}
        """To the process that listens, "" where it is another machine's, and its port here."""

    async def run(self, host: str, script: str, *, timeout: float, max_output: int = 1 << 20) -> CommandResult:  # noqa: ASYNC109
        done = await asyncio.to_thread(self.machines[host].run, self._shell(timeout), script, timeout)
        return CommandResult(done.returncode, own(done.stdout), done.stderr, truncated=False)

    @asynccontextmanager
    async def tunnel(self, host: str, port: int, *, to: str = "127.0.0.1", timeout: float) -> AsyncIterator[int]:  # noqa: ASYNC109
        process, here = self.behind.get((host, to, port), ("", 0))
        if not here or (process and not self.machines[host].runs(process)):
            raise HostUnseen(UnseenKind.REFUSED, f"nothing listens on {to}:{port} of {host}")
        yield here
