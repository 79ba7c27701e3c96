"""What a failed test leaves behind: one archive with what its daemons and machines have to
say, as it was at the failure.

Files and journals of a machine are read from its disk, and its routes and rules in its network namespace, both from
outside: a machine that is off or whose SSH is cut tells as much as another. Each thing is collected beside the others
with a deadline, and what fails is told in its place.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab import etcd
from tests.lab.kubelab.host import CACHE

if TYPE_CHECKING:
    from tests.lab.bastion import Bastion
    from tests.lab.kubelab.cluster import Cluster
    from tests.lab.kubelab.node import Node

HOME = Path(os.environ.get("LAB_EVIDENCE", CACHE / "evidence"))
"""Where archives are kept, the newest `KEPT` runs of them."""
KEPT = 20
SECONDS = 20.0
"""For each thing that is collected."""
ASKING = 60.0
"""For each question to a daemon: recoverctl alone takes a second to start, and many seconds
where ten processes want each core.
"""
TOGETHER = 150.0
"""Seconds for all of them."""
MOST = 4 << 20
"""Bytes kept of the end of a file."""

Thing = tuple[str, Callable[[], bytes | str]]
"""A file's name in the archive, and what gives its content."""

ENCODED = rb"LS0tLS1CRUdJTi(?:B(?!DRVJUSUZJQ0FURS)|BSU0EgUFJJ|BFQyBQUklW|BPUEVOU1NI)[A-Za-z0-9+/]{40,}={0,2}"
SECRETS = [
    re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(ENCODED),
    re.compile(rb"(?<=client-key-data: )\S+"),
    re.compile(rb"(?<=--certificate-key )[0-9a-f]{64}"),
    re.compile(rb"\b[a-z0-9]{6}\.[a-z0-9]{16}\b(?=\s+--discovery)"),
]
"""Keys in PEM, such in base64 as kubeconfigs and Secrets have, and what a join is let in with."""


def archive(path: Path, clusters: Sequence[Cluster], bastions: Sequence[Bastion], failure: str) -> Path:
    """Write the archive `path`, a .tar.gz with one directory, of the clusters and daemons of a test that has
    failed with the words `failure`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="recoverd-evidence-", dir=path.parent) as made:
        things: list[Thing] = [("failure.txt", lambda: failure)]
        for place, each in enumerate(bastions, 1):
            things += ((f"recoverd-{place}/{name}", give) for name, give in _daemon(each))
        for cluster in clusters:
            things += ((f"cluster-{cluster.number}/{name}", give) for name, give in _cluster(cluster))
        _collect(Path(made), things)
        with tarfile.open(path, "w:gz", compresslevel=3) as tar:
            tar.add(made, arcname=path.name.removesuffix(".tar.gz"))
    path.chmod(0o600)
    return path


def prune(keep: int = KEPT) -> None:
    """Remove the archives of all runs but the newest."""
    runs = sorted((d for d in HOME.glob("*") if d.is_dir()), key=lambda d: d.stat().st_mtime, reverse=True)
    for old in runs[keep:]:
        shutil.rmtree(old, ignore_errors=True)


def without_secrets(content: bytes) -> bytes:
    """The content with `x` for each byte of what must stay secret, so that a database stays readable, too."""
    for pattern in SECRETS:
        content = pattern.sub(lambda found: b"x" * len(found.group()), content)
    return content


def _collect(directory: Path, things: Sequence[Thing]) -> None:
    def one(thing: Thing) -> None:
        name, give = thing
        try:
            content = give()
        except Exception as error:  # whatever it is, it is told in the place of what is missing
            content = f"not collected: {type(error).__name__}: {error}\n"
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(without_secrets(content.encode() if isinstance(content, str) else content))

    pool = ThreadPoolExecutor(8)
    running = {pool.submit(one, thing): thing[0] for thing in things}
    late = wait(running, TOGETHER).not_done
    pool.shutdown(wait=False, cancel_futures=True)
    if late:
        (directory / "missing.txt").write_text(
            "".join(f"not within {TOGETHER:g} s: {running[each]}\n" for each in late)
        )


def said(command: Sequence[str | Path], seconds: float = SECONDS) -> bytes:
    """What a command prints, with how it ended where it fails, within the deadline."""
    with tempfile.TemporaryFile() as output:  # a pipe would be waited for as long as a grandchild holds it
        process = subprocess.Popen([*map(str, command)], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            ended = f"\nexit code {code}\n" if (code := process.wait(seconds)) else ""
        except subprocess.TimeoutExpired:
            process.kill()
            ended = f"\nnot within {seconds:g} s\n"
        output.seek(0)
        return output.read() + ended.encode()


def _daemon(bastion: Bastion) -> Iterator[Thing]:
    def ctl(*words: str) -> Callable[[], bytes]:
        return lambda: said(bastion.command(*words), ASKING)

    yield "status.txt", ctl("status")
    for words in (["status"], ["plans", "--all"], ["incidents"]):
        yield f"{words[0]}.json", ctl(*words, "-o", "json")
    for cluster in bastion.clusters:
        yield f"{cluster.name}.dump.json", ctl("dump", cluster.name)
    yield "incidents-shown.txt", lambda: _shown(bastion)
    yield "log", lambda: end_of(bastion.log)
    yield "recoverd.yaml", bastion.config.read_bytes
    yield "journal.sqlite3", lambda: _database(bastion.home / "state/journal.sqlite3")


def _shown(bastion: Bastion) -> bytes:
    """The last incidents in full, as its daemon tells them."""
    listed = json.loads(said(bastion.command("incidents", "-o", "json"), ASKING))["incidents"]
    return b"\n".join(said(bastion.command("show", incident["id"]), ASKING) for incident in listed[-3:])


def _database(path: Path) -> bytes:
    """A copy of the journal, whole, whoever writes it meanwhile."""
    with (
        tempfile.NamedTemporaryFile(suffix=".sqlite3") as copy,
        closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=SECONDS)) as source,
        closing(sqlite3.connect(copy.name)) as target,
    ):
        source.backup(target)
        return Path(copy.name).read_bytes()


def _cluster(cluster: Cluster) -> Iterator[Thing]:
    first = cluster.nodes[0]
    kubectl: list[str | Path] = [CACHE / "bin/kubectl", "--kubeconfig", first.dir / "root/etc/kubernetes/admin.conf"]
    kubectl += [f"--server=https://10.99.{cluster.number}.10:6443", "--request-timeout=10s"]
    for what in ("nodes", "pods", "endpoints", "events"):
        yield f"{what}.txt", lambda what=what: said([*kubectl, "get", what, "--all-namespaces", "-o", "wide"])  # type: ignore[misc]
    yield (
        "balancer.txt",
        lambda: said(["curl", "-sk", "-m", "5", f"https://10.99.{cluster.number}.10:6443/readyz?verbose"]),
    )
    for node in cluster.machines:
        for name, give in _machine(node):
            yield f"{node.name}/{name}", give


def _machine(node: Node) -> Iterator[Thing]:
    root, inside = node.dir / "root", ["ip", "netns", "exec", node.id]
    journal = ["journalctl", "--no-pager", "-o", "short-iso", "-D", root / "var/log/journal", "-n", "20000"]
    for unit in ("kubelet", "containerd", "etcd", "recoverd"):
        yield f"{unit}.log", lambda unit=unit: said([*journal, "-u", unit])  # type: ignore[misc]
    yield "system.log", lambda: said([*journal, "-p", "info", "-n", "5000"])
    yield "console.log", lambda: end_of(node.dir / "console.log")
    yield "power.txt", lambda: f"{len(node.processes())} processes at {time.strftime('%Y-%m-%d %H:%M:%S%z')}\n"
    yield (
        "routes.txt",
        lambda: b"".join(
            said([*inside, "ip", *words]) for words in (["addr"], ["route", "show", "table", "all"], ["rule"])
        ),
    )
    yield (
        "rules.txt",
        lambda: (
            b"".join(said([*inside, words]) for words in ("iptables-save", "ip6tables-save"))
            + said([*inside, "nft", "list", "ruleset"])
        ),
    )
    yield "connections.txt", lambda: said([*inside, "conntrack", "-L"]) + said([*inside, "ss", "-tanp"])
    yield (
        "counted.txt",
        lambda: said([*inside, "conntrack", "-S"]) + said([*inside, "cat", "/proc/net/netstat", "/proc/net/snmp"]),
    )
    yield (
        "files.txt",
        lambda: said(
            ["ls", "-laR", "--full-time", root / "etc/kubernetes", root / "var/lib/etcd", root / "var/lib/recoverd"]
        ),
    )
    manifests = root / "etc/kubernetes/manifests"
    for file in sorted(manifests.glob("*")) if manifests.is_dir() else ():
        yield f"manifests/{file.name}", file.read_bytes
    if (manifests / "etcd.yaml").exists():
        yield (
            "etcd-members.txt",
            lambda: said(etcd.command(node, "--command-timeout=8s", "member", "list", "-w", "table")),
        )
        yield (
            "etcd-status.txt",
            lambda: said(etcd.command(node, "--command-timeout=8s", "endpoint", "status", "-w", "table")),
        )
    pods = root / "var/log/pods"
    for log in sorted(pods.glob("*/*/*.log")) if pods.is_dir() else ():
        yield f"pods/{log.relative_to(pods)}", lambda log=log: end_of(log)  # type: ignore[misc]


def end_of(file: Path) -> bytes:
    """The file, or the last 4 MiB of it."""
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - MOST))
        return opened.read()
