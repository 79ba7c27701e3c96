"""The programs that recoverd's scripts call on a machine: those without which they do not work, and those without
which something is not seen or not repaired. A test holds them together with the scripts.
"""

from __future__ import annotations

from collections.abc import Mapping

NEEDED = (
    *("sh", "awk", "base64", "cat", "chmod", "chown", "cmp", "cp", "cut", "date", "df", "du", "find", "grep", "head"),
    *("ln", "ls", "mkdir", "mktemp", "mv", "rm", "rmdir", "sed", "sha256sum", "sleep", "sort", "stat", "sync", "tail"),
    *("tar", "tr", "wc", "systemctl", "timeout"),
)
"""Every machine that kubeadm makes a node of has them."""
USEFUL: Mapping[str, str] = {
    "curl": "kubelet and the runtime are not asked how they are",
    "flock": "two bastions, or two restores, may be at work at once",
    "getent": "whether names resolve there is not seen",
    "ip": "links and routes of the pod network are not seen",
    "journalctl": "why a unit fails is not told in its own words",
    "openssl": "whether keys fit their certificates is not seen, and none is made for kubelet",
    "setsid": "a join cannot outlive the SSH connection",
    "who": "that a person is at work there is not seen",
    "loginctl": "that a person is at work there is not seen on machines without utmp",
    "timedatectl": "whether the clock is synchronised is not seen",
}
"""What is not done or seen without each of them."""
EITHER: Mapping[tuple[str, ...], str] = {
    ("ctr", "crictl", "docker"): "containers are not asked about, and the etcd image's program is not found",
    ("iptables-save", "iptables-nft-save", "nft"): "service rules are not seen",
}
"""One of each is enough."""
OF_CONTROL_PLANES: Mapping[str, str] = {"kubeadm": "certificates are not renewed and no control plane is joined"}
ELSEWHERE = ("kubectl", "kubelet", "etcdutl", "nc", "perl", "wget")
"""What the scripts call where it is there, and can do without."""


def asked() -> tuple[str, ...]:
    """All that a machine is asked about."""
    either = (name for names in EITHER for name in names)
    return (*NEEDED, *USEFUL, *either, *OF_CONTROL_PLANES)
