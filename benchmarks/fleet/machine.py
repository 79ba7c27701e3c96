"""What a made-up machine answers to the scripts that recoverd sends it: the sections that `look.sh`, `network.sh`,
`keys.sh`, `lease.sh` and `pod_files.sh` print on a real one where all is well.

All that stays the same is made once, with a byte in the place of the marker; an answer costs a few replacements.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Iterable

from benchmarks.fleet.layout import BOOTED, Layout, Machine, Service
from benchmarks.fleet.papers import K, L, Papers
from recoverd.simulate.texts import COMPONENTS, manifest

M = "\0"
"""Where the marker belongs."""
LOOK = re.compile(r"\{\nM='(@@\w+)' D=(\S+) V=(\S+) I=\S+ J=(?:'[^']*'|\S*) F=\S* C=(\S*) N=(\S*)\n")
NETWORK = re.compile(r"\{\nM='(@@\w+)'\nP='([^']*)'\nV='([^']*)'\n")
KNOWN = re.compile(r"^R='([0-9a-f]+)'$", re.MULTILINE)
"""In what stands before `network.sh`: the digest of the routes that need not be sent."""
LEASE = re.compile(r"^R='(\S+) (\S+) (\d+) (\d+) (\d) (\S+)'$", re.MULTILINE)
FILES = re.compile(r"^P=(?:'([^']*)'|(\S*)) E=", re.MULTILINE)
PRINT = re.compile(r"print_files '(.*?)' (.*)")
KEPT = re.compile(r"^(keep_pki|is_directory) /var/lib/recoverd/pki/", re.MULTILINE)
"""A chore: a copy of the certificates is made on the machine itself."""
HEAD = 2000
"""Characters in which that stands."""
ZEROS = "0 " * 17
CONFIGURATION = f"""apiVersion: kubelet.config.k8s.io/v1beta1
authentication:
  anonymous: {{enabled: false}}
  webhook: {{cacheTTL: 0s, enabled: true}}
  x509: {{clientCAFile: {K}/pki/ca.crt}}
authorization: {{mode: Webhook, webhook: {{cacheAuthorizedTTL: 0s, cacheUnauthorizedTTL: 0s}}}}
cgroupDriver: systemd
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
healthzBindAddress: 127.0.0.1
healthzPort: 10248
kind: KubeletConfiguration
rotateCertificates: true
staticPodPath: {K}/manifests
"""
FLANNEL = """{"name": "cbr0", "cniVersion": "0.3.1", "plugins": [
  {"type": "flannel", "delegate": {"hairpinMode": true, "isDefaultGateway": true}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
"""


def _process(component: str) -> str:
    """As `look.sh` prints a component's process."""
    number = COMPONENTS.index(component)
    return f"stat {1000 + number} ({component[:15]}) S {ZEROS}0 {6000 + number} 0\n"


class Network:
    """What all machines of a cluster have in common in the look at their network."""

    def __init__(self, layout: Layout) -> None:
        self.routes = [f"{m.subnet}.0/24 via {m.subnet}.0 dev flannel.1 onlink " for m in layout.machines]
        self.services: dict[str, Service] = {s.address: s for s in layout.services}
        self.pods = {name: "\n".join(p.uid for p in pods) for name, pods in layout.pods.items()}
        self._all = "\n".join(self.routes)
        self._digests: dict[str, str] = {}

    def routes_of(self, machine: Machine) -> str:
        own = f"{machine.subnet}.0/24 dev cni0 proto kernel scope link src {machine.subnet}.1 "
        gate = machine.address.rpartition(".")[0]
        first = f"default via {gate}.1 dev eth0 \n{gate}.0/24 dev eth0 proto kernel scope link src {machine.address} "
        return f"{first}\n{self._all.replace(self.routes[machine.number], own, 1)}"

    def digest_of(self, machine: Machine) -> str:
        """As `sha256sum` gives it."""
        if machine.name not in self._digests:
            self._digests[machine.name] = hashlib.sha256(f"{self.routes_of(machine)}\n".encode()).hexdigest()
        return self._digests[machine.name]


class Answers:
    """One machine. `reply` takes a script as it came and gives what it prints and its exit status."""

    def __init__(self, layout: Layout, machine: Machine, papers: Papers, network: Network) -> None:
        self.machine, self.papers, self._network = machine, papers, network
        self.manifests = {
            c: manifest(c, machine.name, machine.address, {machine.name: machine.address}, "new") for c in COMPONENTS
        }
        self.lost = False
        """The API server is down and etcd has no leader."""
        self._since = int(time.time()) - BOOTED
        self._server = layout.vip
        self._keys = "".join(f"{digest} {path}\n" for path, digest in papers.keys(machine).items())
        self._lease: tuple[str, int] = ("-", 0)
        self._parts = [self._machine(), self._static_pods(), self._papers()]

    def reply(self, script: str) -> tuple[str, int, str]:
        """stdout, exit status, and the kind of script."""
        if look := LOOK.match(script):
            return self._look(script, *look.groups()), 0, "looks"
        if asked := NETWORK.match(script):
            marker, probes, wanted = asked.groups()
            known = KNOWN.search(script, asked.end(), asked.end() + HEAD)
            return self._look_at_network(marker, probes, wanted, known[1] if known else ""), 0, "networks"
        if script.startswith(f"{{\nK={K} L={L}\n"):
            return self._keys, 0, "others"
        if printed := PRINT.search(script):
            return self._files(*printed.groups()), 0, "others"
        if KEPT.search(script):
            return "", 0, "others"
        return "", 1, "unknown"

    def _files(self, separator: str, paths: str) -> str:
        texts = {"ca.crt": self.papers.etcd_ca, "client.crt": self.papers.health, "client.key": self.papers.key}
        named = (next(text for end, text in texts.items() if path.endswith(end)) for path in paths.split())
        return f"{separator}\n".join(named)

    # --- look.sh ---

    def _look(self, script: str, marker: str, data: str, version: str, clock: str, node: str) -> str:
        now = time.time()
        ticks = int((now - self._since) * 100)
        boot = f"{M} boot\n{self.machine.boot_id}\n\n{M} clock\n{now:.9f}\n\n"
        boot += f"{M} uptime\n77 (cat) R {ZEROS}0 {ticks} 0\n1 (systemd) S {ZEROS}0 10 0\n\n"
        lease = LEASE.search(script)
        first, pods, papers = self._parts
        if self.lost:
            pods = pods.replace(_process("kube-apiserver"), "")
        parts = [boot, first, self._leased(*lease.groups()) if lease else ""]
        parts += [f"{M} people\n{int(now)}\nscanned\n\n", pods, papers]
        if self.machine.plane:
            parts.append(f"{M} etcd-data /var/lib/etcd\nyes\nyes\nyes\n131072 512 10302:77\n\n")
        else:
            parts.append(f"{M} etcd-data /var/lib/etcd\nno\nno\nno\n\n")
        if clock == "1":
            parts.append(f"{M} synchronised\nNTPSynchronized=yes\n\n")
        if found := FILES.search(script):
            parts.append(self._pod_files((found[1] or found[2] or "").split()))
        if node == "1":
            parts.append(self._node())
        if version not in ("''", '""'):
            parts.append(f"{M} etcd-tool\n\n")
        parts.append(f"{M} end\n")
        return "\n".join(parts).replace(M, marker)

    def _machine(self) -> str:
        units = "".join(
            f"Id={unit}.service\nLoadState=loaded\nActiveState=active\nSubState=running\nResult=success\n"
            "StateChangeTimestampMonotonic=20000000\nNRestarts=0\n\n"
            for unit in ("kubelet", "containerd")
        )
        units += "".join(
            f"Id={unit}.service\nLoadState=not-found\nActiveState=inactive\nSubState=dead\nResult=success\n"
            "StateChangeTimestampMonotonic=0\nNRestarts=0\n\n"
            for unit in ("docker", "crio")
        )
        disks = "Filesystem 1024-blocks Used Available Capacity Mounted on\n"
        disks += "/dev/sda1 102400000 40000000 62400000 40% /\n"
        return (
            f"{M} joined\nyes\n\n{M} units\n{units}\n{M} endpoint\n"
            "container-runtime-endpoint=unix:///run/containerd/containerd.sock\n\n"
            f"{M} disks\n{disks}\n{M} read-only\n\n"
        )

    def _static_pods(self) -> str:
        parts = [f"{M} manifests\nyes\n"]
        if not self.machine.plane:
            return parts[0]
        for component, text in self.manifests.items():
            coded = base64.encodebytes(text.encode()).decode()
            parts.append(f"{M} manifest {K}/manifests/{component}.yaml\n{len(text)} {self._since}\n{coded}")
        for number, component in enumerate(COMPONENTS):
            log = f"/var/log/pods/kube-system_{component}-{self.machine.name}_{number:032x}/{component}/0.log"
            line = "2026-01-01T00:00:00.000000000Z stderr F I0101 00:00:00.000000 1 all is well"
            parts.append(
                f"{M} container {component}\n{_process(component)}scanned\nlog {log}\nfirst {line[:40]}\n"
                + f"{line}\n" * 10
            )
        parts.append(f"{M} peers\n")
        return "\n".join(parts)

    def _papers(self) -> str:
        certificates, kubeconfigs = self.papers.files(self.machine), self.papers.kubeconfigs(self.machine)
        listed = [p for p in (*certificates, *kubeconfigs) if p.startswith(K)]
        parts = [f"{M} pki-files\nyes\n" + "".join(f"{p}\n" for p in listed)]
        parts += [f"{M} cert {path}\n{pem}" for path, pem in certificates.items()]
        ca = base64.b64encode(self.papers.ca.encode()).decode()
        for path, inside in kubeconfigs.items():
            parts.append(f"{M} kubeconfig {path}\n{inside}\n\n{M} kubeconfig-ca {path}\n{ca}\n")
        stamps = "".join(f"{p} {self._since} {self._since} 77 1679\n" for p in self.papers.keys(self.machine))
        return "\n".join((*parts, f"{M} keys\n{stamps}"))

    def _leased(self, id: str, name: str, lasts: str, fence: str, want: str, process: str) -> str:
        """Whoever asks for it has it: nobody else does."""
        if self._lease[0] != id:
            self._lease = (id, int(time.time()))
        return f"{M} lease\nmine\nholder {id} {self._lease[1]} {lasts} {name}\n\n"

    def _pod_files(self, paths: Iterable[str]) -> str:
        digest = hashlib.sha256(b"a file").hexdigest()
        rows = "".join(f"file 6 600 0:0 {self._since} {self._since} {p}\nsha256 {digest} {p}\n" for p in paths)
        return f"{M} pod-files\n{rows}\n"

    def _node(self) -> str:
        said = (
            f"server {self._server} 6443\naddress {self._server}\nasked name\nreach connected\nkubelet connected\n"
            "kubelet said HTTP/1.0 200 OK\nruntime answered\ncni 10-flannel.conflist\nasked cni\n"
            "pool 28 0 /var/lib/cni/networks/cbr0\n"
        )
        files = {f"{L}/config.yaml": CONFIGURATION, "/etc/cni/net.d/10-flannel.conflist": FLANNEL}
        files[f"{L}/kubeadm-flags.env"] = (
            'KUBELET_KUBEADM_ARGS="--pod-infra-container-image=registry.k8s.io/pause:3.9"\n'
        )
        parts = [
            f"{M} node-file {path}\n{len(text)} {self._since}\n{base64.encodebytes(text.encode()).decode()}"
            for path, text in files.items()
        ]
        return "\n".join((f"{M} node\n{said}", *parts))

    # --- network.sh ---

    def _look_at_network(self, marker: str, probes: str, wanted: str, known: str) -> str:
        machine, network = self.machine, self._network
        ticks = int((time.time() - self._since) * 100)
        net, name = machine.subnet, machine.name
        links = (
            "2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc mq state UP mode DEFAULT group default \n"
            "4: flannel.1: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc noqueue state UNKNOWN vxlan id 1 \n"
            "5: cni0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc noqueue state UP bridge \n"
        )
        addresses = (
            f"2: eth0    inet {machine.address}/24 brd + scope global eth0\n"
            f"4: flannel.1    inet {net}.0/32 scope global flannel.1\n"
            f"5: cni0    inet {net}.1/24 brd + scope global cni0\n"
        )
        processes = "".join(
            f"{n} {900 + i} ({n}) S {ZEROS}0 {6000 + i} 0\n" for i, n in enumerate(("kube-proxy", "flanneld"))
        )
        count = 0 if machine.plane else len(network.pods[name].split("\n")) - 2
        rules = ["chain"]
        for address in wanted.split():
            if service := network.services.get(address):
                chain = f"KUBE-SVC-{service.name.upper()}"
                rules.append(f"svc {address} {chain}")
                rules += [f"ep {chain} {ip}:{service.target}" for ip, *_ in service.endpoints]
        answers = "".join(f"{M} probe {line.split(' ', 1)[0]} ok\n" for line in probes.split("\n") if line)
        same = known == network.digest_of(machine)
        routes = (
            f"routes-same {known}" if same else f"routes {network.digest_of(machine)}\n{network.routes_of(machine)}"
        )
        parts = (
            f"{M} forwarding\n1\n{M} bridge-nf\n1\n{M} dropping\n{M} clock\n{ticks / 100:.2f} {ticks / 50:.2f}\n"
            f"{M} links\n{links}{M} addresses\n{addresses}{M} veths\n{count} {count}\n",
            f"{M} {routes}\n{M} processes\n{processes}{M} pods\n{network.pods[name]}\n",
            f"{M} told iptables\n{M} unread \n{M} rules iptables\n",
            "\n".join(rules),
            f"\n{M} tool bash\n{answers}{M} end\n",
        )
        return "".join(parts).replace(M, marker)
