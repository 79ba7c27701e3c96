"""The files that static pods of the model name: its API server's encryption configuration."""

from __future__ import annotations

from collections.abc import Mapping

from recoverd.model.operations import sha256
from recoverd.model.pod_files import ENCRYPTION, Is, PodFileView
from recoverd.simulate.clock import moment
from recoverd.simulate.hosts import UP_SINCE, Machine
from recoverd.simulate.texts import command_of

ENCRYPTION_FILE = "/etc/kubernetes/enc/enc.yaml"
SPOILT = "resources: [{"


def configured(content: str) -> str:
    """The encryption configuration that this manifest of an API server names; "" where it names none."""
    return command_of(content).flags.get(ENCRYPTION, "") if ENCRYPTION in content else ""


def complaint(machine: Machine, content: str) -> str:
    """Why an API server of this manifest ends at once, by its own words (1.20); "" where it does not."""
    path = configured(content)
    if path and path not in machine.files:
        why = f"open {path}: no such file or directory"
        return f'Error: error opening encryption provider configuration file "{path}": {why}'
    if path and machine.files[path] == SPOILT:
        return f"Error: error while parsing encryption provider configuration file {path!r}: yaml: line 1: did not find"
    return ""


def views(machine: Machine) -> Mapping[str, PodFileView] | None:
    """As a look over SSH finds them; None where no manifest names any."""
    path = configured(machine.manifests().get("kube-apiserver", ""))
    if not path:
        return None
    text = machine.files.get(path)
    if text is None:
        return {path: PodFileView(Is.GONE)}
    at = moment(machine.written.get(path, UP_SINCE - 60) + machine.clock)
    return {path: PodFileView(Is.FILE, len(text), sha256(text), "600", "0:0", at, at, keyed=text != SPOILT)}
