"""What playbooks need of a static pod manifest of etcd: its flags, and changed copies of its text. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import yaml

from recoverd.model.etcd import FORCE
from recoverd.model.places import flag
from recoverd.model.pod_yaml import read_yaml
from recoverd.playbooks.base import Refusal, Situation

ANNOTATION = "recoverd/incident"
COMMAND = re.compile(r"""^(\s*)- (["']?)etcd\2[ \t]*(?:#.*)?$""", re.MULTILINE)
"""The line of etcd's own name, also in quotes or with a note behind it."""


def with_flags(manifest: str, flags: dict[str, str]) -> str | None:
    """The manifest's text with these flags and no others of their names; None where the command
    line has not a line for each of them, as kubeadm writes it.
    """
    text = manifest
    for name in flags:
        text = _without(name, text)
    lines = "".join(rf"\n\g<1>- {name}={value}" for name, value in flags.items())
    changed, count = COMMAND.subn(rf"\g<0>{lines}", text, count=1)
    whole = count and all(flag(changed, name) == value for name, value in flags.items())
    return changed if whole and _same_but_for(tuple(flags), manifest, changed) else None


def with_flag(manifest: str) -> str | None:
    """The manifest's text with the flag as the first argument of etcd; None where the command
    line is not as kubeadm writes it.
    """
    return with_flags(without_flag(manifest), {FORCE: "true"})


def without_flag(manifest: str) -> str:
    """The manifest's text without the flag, whoever put it in."""
    return _without(FORCE, manifest)


def _without(name: str, manifest: str) -> str:
    """Without the lines of a flag, in quotes or not, and with what people noted behind it."""
    line = rf"""^\s*- (["']?){re.escape(name)}(=\S*?)?\1(?:[ \t]+#.*)?[ \t]*\n"""
    return re.sub(line, "", manifest, flags=re.MULTILINE)


@lru_cache(maxsize=32)  # as `annotated`
def _same_but_for(names: tuple[str, ...], before: str, after: str) -> bool:
    """Whether nothing but flags of these names on etcd's own command line is another, as YAML: another container of
    the pod may have such a flag too. False where the value of one is a word of its own, which would be left behind.
    """

    def without_them(pod: Any) -> None:
        named = (c for c in pod["spec"]["containers"] if c.get("name") == pod["metadata"]["name"])
        own = next(named, pod["spec"]["containers"][0])
        for part in ("command", "args"):
            words = [str(w) for w in own.get(part) or ()]
            if any(w in names and not then.startswith("-") for w, then in pairwise(words)):
                raise ValueError("the value of a flag is a word of its own")
            own[part] = [w for w in words if w.partition("=")[0] not in names]

    return _same(before, after, without_them)


def _same(before: str, after: str, take_out: Callable[[Any], None]) -> bool:
    """Whether two manifests are the same pod, as YAML, without what is taken out of each; False where one cannot be
    read, or is not as `take_out` has it.
    """
    try:
        old, new = (read_yaml(text) for text in (before, after))
        for pod in (old, new):
            take_out(pod)
    except (yaml.YAMLError, TypeError, KeyError, AttributeError, IndexError, ValueError):
        return False
    return bool(old == new)


@lru_cache(maxsize=32)  # it is asked for in every sweep while a plan waits, and reading YAML takes long
def annotated(manifest: str, incident: str) -> str:
    """The manifest with an annotation that names the incident.

    Kubelet makes a static pod's UID of the manifest's content, and the UID that ran before sits in a crash-loop
    back-off when etcd was restarted while it had no quorum: with the very same content back, etcd started 20 s later
    (observed), with a new UID 2 s later.
    """
    line = f"    {ANNOTATION}: {incident}\n"
    text = re.sub(rf"^    {ANNOTATION}: .*\n", "", manifest, flags=re.MULTILINE)
    changed, count = re.subn(r"^  annotations:[ ]*\n", rf"\g<0>{line}", text, count=1, flags=re.MULTILINE)
    if not count:
        changed = re.sub(r"^metadata:[ ]*\n", rf"\g<0>  annotations:\n{line}", text, count=1, flags=re.MULTILINE)
    return changed if _same(manifest, changed, _not_annotated) else manifest


def _not_annotated(pod: Any) -> None:
    (pod["metadata"].get("annotations") or {}).pop(ANNOTATION, None)
    pod["metadata"]["annotations"] = pod["metadata"].get("annotations") or {}


def content_of(component: str, host: str, situation: Situation) -> str:
    """The manifest of a component on a host: what is in place and can be run, else the known-good
    one; "" where there is neither.
    """
    view, known = situation.host(host), situation.memory.manifests.get(host, {}).get(component)
    current = view.manifests.get(component) if view else None
    if current is not None and not current.problem:
        return current.content
    return known.content if known else ""


def data_directory(manifest: str, host: str, situation: Situation) -> str:
    view = situation.host(host)
    return flag(manifest, "--data-dir") or (view.etcd_data.path if view and view.etcd_data else "/var/lib/etcd")


def peer_url(manifest: str, host: str, situation: Situation) -> str:
    """What the others reach it under."""
    for name in ("--initial-advertise-peer-urls", "--listen-peer-urls"):
        url = flag(manifest, name).split(",")[0]
        if url and urlsplit(url).hostname not in ("0.0.0.0", "::", "127.0.0.1", None):  # noqa: S104  # told apart, not bound to
            return url
    address = next(h.address for h in situation.settings.control_planes if h.name == host)
    return f"https://{f'[{address}]' if ':' in address else address}:2380"


def no_place_for(flags: str, manifest: str, host: str) -> Refusal:
    """Where flags cannot be put in: kubeadm writes a command one word a line, and other ways of writing one are not
    edited.
    """
    return Refusal(
        f"{manifest} on {host} does not give etcd's command as kubeadm writes it, a word a line with `- etcd` first, "
        f"so {flags} cannot be put in. Write it that way (kubelet starts etcd anew for it, with the same flags), and "
        "the plan is made by itself"
    )


def log_apart(manifest: str, data: str) -> str:
    """The directory of etcd's log where that is not below its data directory; "" where it is."""
    log = flag(manifest, "--wal-dir").rstrip("/")
    return "" if log == f"{data}/member/wal" else log


def log_elsewhere(manifest: str, data: str, host: str) -> Refusal | None:
    """etcd that writes its log outside of its data directory would start on the old log beside the new data."""
    log = log_apart(manifest, data)
    if not log:
        return None
    return Refusal(
        f"etcd on {host} keeps its log apart (--wal-dir={log}), which recoverd does not move: by hand, as etcd's "
        "disaster recovery guide says, with "
        "--wal-dir for the restore too"
    )
