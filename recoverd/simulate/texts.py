"""Static pod manifests as kubeadm writes them, and what the kubelet of the model makes of such a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import yaml

from recoverd.model.etcd import FORCE
from recoverd.model.operations import MANIFESTS
from recoverd.model.pod_files import ENCRYPTION
from recoverd.model.pod_yaml import read_yaml

COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
ETCD_DIR = "/var/lib/etcd"
ETCD_FILES: Mapping[str, str] = {
    "--etcd-cafile": "/etc/kubernetes/pki/etcd/ca.crt",
    "--etcd-certfile": "/etc/kubernetes/pki/apiserver-etcd-client.crt",
    "--etcd-keyfile": "/etc/kubernetes/pki/apiserver-etcd-client.key",
}
"""With what an API server asks etcd."""
FLAGS: Mapping[str, frozenset[str]] = {
    "etcd": frozenset(
        {
            "--name",
            "--data-dir",
            "--initial-cluster",
            "--initial-cluster-state",
            "--listen-client-urls",
            "--listen-peer-urls",
            FORCE,
        }
    ),
    "kube-apiserver": frozenset(
        {"--advertise-address", "--etcd-servers", "--secure-port", "--client-ca-file", *ETCD_FILES, ENCRYPTION}
    ),
    "kube-controller-manager": frozenset({"--kubeconfig", "--leader-elect"}),
    "kube-scheduler": frozenset({"--kubeconfig", "--leader-elect"}),
}
"""The flags that each program of the model knows; any other ends it at once, as it does a real one."""


@dataclass(frozen=True, slots=True)
class Command:
    """The command line in a manifest, or why kubelet cannot run it."""

    flags: Mapping[str, str]
    problem: str = ""

    def unknown(self, component: str) -> str:
        known = FLAGS.get(component, frozenset())
        return next((f for f in self.flags if f not in known), "") if not self.flags.keys() <= known else ""


@lru_cache(maxsize=4096)
def unknown_of(content: str, component: str) -> str:
    """The first flag in a manifest that its program does not know; "" where it knows all."""
    return command_of(content).unknown(component)


def path_of(component: str) -> str:
    return f"{MANIFESTS}/{component}.yaml"


def manifest(
    component: str, name: str, address: str, peers: Mapping[str, str], state: str, servers: Sequence[str] = ()
) -> str:
    """As kubeadm writes it. `peers` are names and addresses of etcd's initial cluster; kubeadm
    leaves out the default state `new`. `servers`: addresses of an etcd that is on machines of its own.
    """
    flags = {
        "etcd": [
            f"--data-dir={ETCD_DIR}",
            f"--initial-cluster={','.join(f'{n}=https://{a}:2380' for n, a in peers.items())}",
            *([f"--initial-cluster-state={state}"] if state != "new" else []),
            f"--listen-client-urls=https://127.0.0.1:2379,https://{address}:2379",
            f"--listen-peer-urls=https://{address}:2380",
            f"--name={name}",
        ],
        "kube-apiserver": [
            f"--advertise-address={address}",
            "--client-ca-file=/etc/kubernetes/pki/ca.crt",
            *(f"{flag}={path}" for flag, path in (ETCD_FILES if servers else {}).items()),
            f"--etcd-servers={','.join(f'https://{a}:2379' for a in servers or ('127.0.0.1',))}",
            "--secure-port=6443",
        ],
    }.get(
        component, ["--kubeconfig=/etc/kubernetes/" + component.removeprefix("kube-") + ".conf", "--leader-elect=true"]
    )
    lines = "".join(f"    - {line}\n" for line in (component, *flags))
    return (
        "apiVersion: v1\nkind: Pod\nmetadata:\n  annotations:\n"
        f"    kubeadm.kubernetes.io/{component}.advertise-address.endpoint: {address}\n"
        f"  labels:\n    component: {component}\n    tier: control-plane\n  name: {component}\n "
        " namespace: kube-system\n"
        f"spec:\n  containers:\n  - command:\n{lines}    image: k8s.gcr.io/{component}:v1.20.2\n    name: {component}\n"
        "  hostNetwork: true\n  priorityClassName: system-node-critical\nstatus: {}\n"
    )


def peers_in(initial: str) -> dict[str, str]:
    """Names and addresses in etcd's `--initial-cluster`."""
    rows = (row.partition("=") for row in initial.split(",") if row)
    return {name: url.removeprefix("https://").removesuffix(":2380") for name, _, url in rows}


@lru_cache(maxsize=4096)
def command_of(content: str) -> Command:
    """What kubelet would run."""
    try:
        pod = read_yaml(content)
    except yaml.YAMLError as error:
        return Command({}, f"not YAML: {' '.join(str(error).split())[:120]}")
    if pod is None:
        return Command({}, "empty")
    try:
        (container,) = pod["spec"]["containers"]
        words = [str(word) for word in container["command"]]
        if not container["image"] or not container["name"] or pod["kind"] != "Pod":
            return Command({}, "not a Pod")
    except (TypeError, KeyError, ValueError):
        return Command({}, "a Pod without whole containers (cut short?)")
    flags = (word.partition("=") for word in words[1:])
    return Command({name: value for name, _, value in flags})
