"""Asking the machines, before a control plane joins: what each says of itself, and whether each reaches each
other on the ports that count.

Where nothing listens yet on the new machine, a short-lived listener does, for LISTEN_SECONDS at most.
Nothing else is changed anywhere.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files

import yaml
from cryptography import x509

from recoverd.clients.hosts import HostPool, HostUnseen
from recoverd.model.call import Call
from recoverd.model.joining import ETCD_PORTS, JoinFacts, JoinRequest, MachineFacts, Probe, Reached
from recoverd.model.observation import Unseen

LOOK = files("recoverd.observe").joinpath("joining.sh").read_text(encoding="utf-8")
LOOK_SECONDS = 25.0
CONNECT_SECONDS = 4
"""A connection that is not made in so many seconds, twice, is filtered: a lost packet is sent again after one
second, and then after two more.
"""
LISTEN_SECONDS = 30

PYTHON = """
import selectors, socket, sys, time
end, chosen = time.monotonic() + float(sys.argv[1]), selectors.DefaultSelector()
for port in sys.argv[3:]:
    family = socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET
    s = socket.socket(family); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((sys.argv[2], int(port))); s.listen(16)
    chosen.register(s, selectors.EVENT_READ)
print("listening", flush=True)
while time.monotonic() < end:
    for key, _ in chosen.select(end - time.monotonic()): key.fileobj.accept()[0].close()
"""
CONNECT = """
import socket, sys
try: socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])).close()
except OSError as e: sys.exit(str(e))
"""
PERL = """
use IO::Socket::INET; use IO::Select; $| = 1;
my ($seconds, $address, @ports) = @ARGV; my $set = IO::Select->new(); my $end = time + $seconds;
for (@ports) {
  my $s = IO::Socket::INET->new(LocalAddr => $address, LocalPort => $_, Proto => "tcp", Listen => 16, ReuseAddr => 1)
    or die "port $_: $!";
  $set->add($s);
}
print "listening\\n";
while (time < $end) { for ($set->can_read($end - time)) { my $c = $_->accept() and close $c } }
"""


async def look(
    hosts: HostPool,
    planes: Sequence[str],
    request: JoinRequest,
    source: str,
    addresses: Mapping[str, str],
    minded: Callable[[str], bool] = bool,
    *,
    api_port: int,
) -> JoinFacts:
    """Ask every machine. `planes` are the control planes that are members now, `source` one of them;
    `addresses` are those of all, by name; `minded` tells which leftovers on the new machine are in the way;
    `api_port` is that of the source's own API server.
    """
    configuration, trouble = await _configuration(hosts, source)
    endpoint = str(configuration.get("controlPlaneEndpoint") or "")
    host, _, port = endpoint.rpartition(":") if ":" in endpoint else (endpoint, "", "6443")
    host = host.strip("[]")
    wanted = [host] if host else []
    names = [*planes, request.name]
    told = await asyncio.gather(*(machine(hosts, name, wanted) for name in names))
    machines = dict(zip(names, told, strict=True))
    probes: tuple[Probe, ...] = ()
    listening, at_endpoint = "", None
    new = machines[request.name]
    if isinstance(new, MachineFacts):
        machines[request.name] = new = replace(new, leftovers=tuple(filter(minded, new.leftovers)))
    if isinstance(new, MachineFacts) and not new.leftovers:
        probes, listening = await reach(
            hosts,
            request.name,
            {n: addresses[n] for n in names if isinstance(machines[n], MachineFacts)},
            (*ETCD_PORTS, api_port),
        )
        if host and port.isdigit():
            [at_endpoint] = await _probe(hosts, request.name, [("endpoint", host)], (int(port),))
    version = str(configuration.get("kubernetesVersion") or "")
    flags = None if trouble else _flags(configuration)
    return JoinFacts(source, machines, probes, listening, version, endpoint, at_endpoint, trouble, flags, api_port)


def _flags(configuration: Mapping[str, object]) -> frozenset[str]:
    """Of the API server: a mapping up to v1beta3, and a list of names and values from v1beta4 on."""
    server = configuration.get("apiServer")
    given = server.get("extraArgs") if isinstance(server, dict) else None
    if isinstance(given, list):
        return frozenset(str(arg.get("name")) for arg in given if isinstance(arg, dict))
    return frozenset(map(str, given)) if isinstance(given, dict) else frozenset()


async def machine(hosts: HostPool, name: str, wanted: Sequence[str]) -> MachineFacts | Unseen:
    """One machine's own words. `wanted` are names to resolve there."""
    try:
        result = await hosts.run(name, f"NAMES={shlex.quote(' '.join(wanted))}\n{LOOK}", timeout=LOOK_SECONDS)
        # a question of its own, on a connection that stands, so that the way there and back takes little
        sent, began = time.time(), time.monotonic()
        clock = await hosts.run(name, "date +%s.%N", timeout=LOOK_SECONDS)
        took = time.monotonic() - began
    except HostUnseen as unseen:
        return unseen.unseen
    return parsed(result.stdout, _offset(clock.stdout, sent, took), took / 2)


def _offset(said: str, sent: float, took: float) -> float:
    """Seconds that a machine's clock is ahead; infinite where it cannot be told."""
    try:
        return float(said.strip().removesuffix("%N").removesuffix(".N")) - sent - took / 2  # busybox knows no %N
    except ValueError:
        return math.inf


def parsed(text: str, offset: float, error: float) -> MachineFacts:
    """What `joining.sh` printed, with its clock's offset and how wrong that may be, in seconds."""
    rows = [line.split(" ", 1) for line in text.splitlines() if " " in line]
    many: dict[str, list[str]] = {}
    for key, value in rows:
        if value.strip():
            many.setdefault(key, []).append(value.strip())

    def one(key: str) -> str:
        return many.get(key, [""])[0]

    resolves: dict[str, tuple[str, ...]] = {}
    for name, address in (row.split(" ", 1) for row in many.get("resolves", [])):
        resolves[name] = (*resolves.get(name, ()), address)
    free = {path: int(kib) * 1024 for path, kib in (row.split(" ", 1) for row in many.get("free", [])) if kib.isdigit()}
    return MachineFacts(
        hostname=one("hostname"),
        addresses=tuple(dict.fromkeys(many.get("address", []))),
        clock_offset=offset,
        clock_error=error,
        kubeadm=one("kubeadm"),
        kubelet=one("kubelet"),
        runtime=one("runtime"),
        crictl=one("crictl") == "yes",
        kubelet_unit=one("kubelet-unit") == "yes",
        leftovers=tuple(many.get("left", [])),
        free=free,
        resolves=resolves,
        missing_keys=tuple(many.get("lacks", [])),
        authorities=dict(_authorities(many.get("authority", []))),
    )


def _authorities(rows: Sequence[str]) -> list[tuple[str, datetime]]:
    found = []
    for row in rows:
        path, _, data = row.partition(" ")
        with suppress(ValueError, binascii.Error):
            found.append(
                (path, x509.load_der_x509_certificate(base64.b64decode(data)).not_valid_after_utc.astimezone(UTC))
            )
    return found


async def _configuration(hosts: HostPool, source: str) -> tuple[Mapping[str, object], str]:
    """kubeadm's ClusterConfiguration, or why it is not known."""
    try:
        result = await hosts.ask(source, Call.of("join_configuration"), timeout=LOOK_SECONDS)
        read = yaml.safe_load(result.stdout) if result.exit_status == 0 else None
    except HostUnseen as unseen:
        return {}, f"the cluster's kubeadm-config could not be read: {unseen}"
    except yaml.YAMLError as error:
        return {}, f"the cluster's kubeadm-config on {source} is no YAML: {' '.join(str(error).split())[:200]}"
    if not isinstance(read, dict):
        said = " ".join(result.stderr.split())[:200] or "it is empty"
        return (
            {},
            f"the cluster's kubeadm-config could not be read on {source} (kubectl get "
            f"configmap kubeadm-config): {said}",
        )
    return read, ""


# --- ports ---


async def reach(
    hosts: HostPool, new: str, addresses: Mapping[str, str], ports: Sequence[int]
) -> tuple[tuple[Probe, ...], str]:
    """Connections between every two machines, each way; and why nothing could listen on the new one."""
    listening = await _listen(hosts, new, addresses[new], ports)
    try:
        others = {
            n: [(t, a) for t, a in addresses.items() if t != n and not (listening and t == new)] for n in addresses
        }
        found = await asyncio.gather(*(_probe(hosts, n, targets, ports) for n, targets in others.items()))
    finally:
        await asyncio.shield(_silence(hosts, new))
    return tuple(p for row in found for p in row), listening


async def _listen(hosts: HostPool, host: str, address: str, ports: Sequence[int]) -> str:
    """Let something listen there, and come back when it does; else why it does not."""
    try:
        result = await hosts.ask(
            host, Call.of("join_listen", LISTEN_SECONDS, address, PYTHON, PERL, *ports), timeout=LOOK_SECONDS
        )
    except HostUnseen as unseen:
        return f"nothing could listen on {host}: {unseen}"
    return (
        ""
        if result.exit_status == 0
        else f"nothing could listen on {host} at {address}: {result.stderr.strip()[-200:] or result.exit_status}"
    )


async def _silence(hosts: HostPool, host: str) -> None:
    """End the listener; it ends by itself, too."""
    with suppress(HostUnseen):
        await hosts.ask(host, Call.of("join_listen_end"), timeout=10.0)


async def _probe(hosts: HostPool, source: str, targets: Sequence[tuple[str, str]], ports: Sequence[int]) -> list[Probe]:
    """Connections from one machine, all at the same time: bash where it is (it is on Debian and RHEL), else python3."""
    pairs = [(target, address, port) for target, address in targets for port in ports]
    if not pairs:
        return []
    words = [word for target, address, port in pairs for word in (target, address, port)]
    try:
        result = await hosts.ask(source, Call.of("join_reach", CONNECT_SECONDS, CONNECT, *words), timeout=LOOK_SECONDS)
    except HostUnseen as unseen:
        return [Probe(source, t, p, Reached.UNTOLD, str(unseen)) for t, _, p in pairs]
    told = {
        (row[0], row[1]): row[2:]
        for row in (line.split(" ", 3) for line in result.stdout.splitlines())
        if len(row) >= 3
    }
    return [Probe(source, t, p, *_reached(told.get((t, str(p))))) for t, _, p in pairs]


def _reached(said: list[str] | None) -> tuple[Reached, str]:
    """What one attempt printed: its exit status, and the words of the error."""
    if said is None:
        return Reached.UNTOLD, "it said nothing"
    words = said[1].strip()[-160:] if len(said) > 1 else ""
    if said[0] == "0":
        return Reached.OPEN, ""
    if said[0] == "124" or "timed out" in words:
        return Reached.FILTERED, words
    if "refused" in words:
        return Reached.REFUSED, words
    if "No route" in words or "unreachable" in words or "not permitted" in words or "prohibited" in words:
        return Reached.UNREACHABLE, words
    return Reached.UNTOLD, words or f"exit status {said[0]}"
