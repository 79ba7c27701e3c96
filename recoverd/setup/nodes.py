"""What the machines of a cluster, and the bastion, need for recoverd: as scripts to run there, and as an Ansible role.
Pure, but for the texts that lie beside it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from recoverd.model.places import LOOPBACK, Places, authority
from recoverd.setup.document import Host

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Access:
    """How recoverd gets in."""

    user: str
    key: str
    """The public key, as `ssh-ed25519 AAAA...`."""
    permitted: tuple[str, ...]
    """HOST:PORT that may be reached through the node's sshd."""
    sudoers: str
    """"" where the user is root."""

    @property
    def line(self) -> str:
        """As authorized_keys has it."""
        ports = ",".join(f'permitopen="{port}"' for port in self.permitted)
        return f"restrict,port-forwarding,{ports} {self.key} recoverd"


def permitted(places: Iterable[Places], *, elsewhere: Sequence[str] = ()) -> tuple[str, ...]:
    """What recoverd reaches through a control plane's sshd: etcd and its metrics, or the servers of an etcd that is
    `elsewhere`, by their URLs; and the API server. Without places: where kubeadm has them listen.
    """
    found = []
    for at in tuple(places) or (Places(),):
        found += [urlsplit(url).netloc for url in elsewhere] if elsewhere else [str(at.etcd), str(at.metrics)]
        found.append(authority(LOOPBACK, at.api))
    return tuple(dict.fromkeys(found))


def sudoers(example: str, user: str) -> str:
    """The shipped file for another user; "" for root, who needs none."""
    return "" if user == "root" else re.sub(r"^(Defaults:)?recoverd\b", rf"\g<1>{user}", example, flags=re.MULTILINE)


def node_script(access: Access) -> str:
    """A script to run as root on every node."""
    given = {"account": access.user, "key": access.key.split()[1], "line": access.line, "sudoers": access.sudoers}
    return _script(
        "Makes a node ready for recoverd; run it as root on every node:  ssh root@NODE sh -s < node.sh", given
    )


def bastion_script(program: Path, directory: Path, kubeconfig: str) -> str:
    """A script to run as root on the bastion. `kubeconfig`: the one that is to be recoverd's; "": none."""
    given = {"program": str(program), "directory": str(directory), "kubeconfig": kubeconfig}
    return _script("Installs recoverd's user and unit on the bastion; run it there as root", given, "bastion.sh")


def _script(what: str, given: dict[str, str], body: str = "node.sh") -> str:
    assigned = "".join(f"{name}={shlex.quote(value.rstrip())}\n" for name, value in given.items())
    return f"#!/bin/sh\n# {what}\n{assigned}{(HERE / body).read_text()}"


def inventory(
    name: str, access: Access, port: int, control_planes: Iterable[Host], workers: Iterable[Host], jump: str | None
) -> str:
    """The machines, for Ansible. It logs in as whoever runs it; what recoverd uses is in `recoverd_...`."""
    variables: dict[str, Any] = {
        "recoverd_user": access.user,
        "recoverd_key": access.key.split()[1],
        "recoverd_line": access.line,
        "recoverd_sudoers": access.sudoers,
    }
    if port != 22:
        variables["ansible_port"] = port
    if jump:
        variables["ansible_ssh_common_args"] = f"-J {shlex.quote(jump)}"

    def group(hosts: Iterable[Host]) -> dict[str, Any]:
        return {"hosts": {h.name: {"ansible_host": h.address} for h in hosts}}

    group_name = name.replace("-", "_")
    groups = {"control_planes": group(control_planes), "workers": group(workers)}
    text = yaml.safe_dump(
        {group_name: {"vars": variables, "children": {f"{group_name}_{k}": v for k, v in groups.items()}}},
        sort_keys=False,
        width=10_000,
    )
    return f"# The machines of {name}, as `recoverd init` found them.\n{text}"


def playbook() -> str:
    """What the inventory is played with."""
    return (
        "# Makes the nodes ready for recoverd: ansible-playbook -i inventory.yaml playbook.yaml\n"
        "- name: Nodes that recoverd watches\n  hosts: all\n  become: true\n  gather_facts: false\n"
        "  roles: [recoverd_node]\n"
    )


def tasks() -> str:
    """The tasks of the role recoverd_node."""
    return (HERE / "role" / "tasks.yaml").read_text()
