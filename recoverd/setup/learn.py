"""What the API server of a cluster says of it: version, machines, the address that everybody uses, and where its
control planes listen. It is only asked.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import yaml
from cryptography.x509.oid import NameOID
from kubernetes.aio.client import ApiClient

from recoverd.model import pem
from recoverd.model.observation import EndpointHealth
from recoverd.model.places import Places, authority, etcd_elsewhere, places_of
from recoverd.observe.api import api_client
from recoverd.observe.kubeconfig import Access, KubeconfigError, read_access
from recoverd.observe.probe import probe
from recoverd.observe.rest import list_all, request

SECONDS = 10.0
"""For each question: nothing else waits for it."""
ADMINISTRATORS = frozenset({"system:masters", "kubeadm:cluster-admins"})
"""The organisations in the certificates of kubeadm's admin.conf, before and from 1.29 on."""
ROLES = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")


class LearnError(Exception):
    """The cluster cannot be learnt; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One node, as the API server lists it."""

    name: str
    addresses: tuple[str, ...]
    """The internal ones in kubelet's order, then the external ones; at least one, which may be a name."""
    control_plane: bool
    internal: str = ""
    """The first internal one, which is the one that the daemon would learn; "" where there is none."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """One cluster, as its API server tells of it."""

    server: str
    """URL in the kubeconfig."""
    version: str
    machines: tuple[Machine, ...]
    user: str = ""
    """Whom the client certificate names; "" where there is none."""
    administrator: bool = False
    endpoint: str = ""
    """kubeadm's controlPlaneEndpoint, HOST:PORT; "" where it has none, or it was not told."""
    places: tuple[Places, ...] = ()
    """Where the control planes listen, each different one once; () where that was not told."""
    external_etcd: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    """What was not told, why, and what was taken instead."""

    @property
    def control_planes(self) -> tuple[Machine, ...]:
        return tuple(m for m in self.machines if m.control_plane)

    @property
    def workers(self) -> tuple[Machine, ...]:
        return tuple(m for m in self.machines if not m.control_plane)

    @property
    def only(self) -> Machine | None:
        """The one control plane that the kubeconfig leads to by its own name or address, and not to a VIP."""
        host = urlsplit(self.server).hostname
        return next((m for m in self.control_planes if host in (m.name, *m.addresses)), None)


async def learn(kubeconfig: Path) -> Learnt:
    """Ask the API server that the kubeconfig leads to. Raises `LearnError`."""
    try:
        access = await read_access(kubeconfig)
    except KubeconfigError as error:
        raise LearnError(str(error)) from error
    seen = await probe(access, access.host, access.port, seconds=SECONDS)
    if seen.health is not EndpointHealth.READY:
        raise LearnError(
            f"{access.server} (in {kubeconfig}): {seen.detail}. A cluster is learnt while its API server is ready; "
            "see that this machine reaches that address and resolves its name"
        )
    async with api_client(access, access.server) as client:
        try:
            async with asyncio.timeout(4 * SECONDS):
                return await _asked(client, access)
        except TimeoutError:
            raise LearnError(f"{access.server} did not answer within {4 * SECONDS:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise LearnError(f"{access.server} did not tell what it has to: {error!r}") from error


async def _asked(client: ApiClient, access: Access) -> Learnt:
    version = await _json(await request(client, "/version"), "its version")
    nodes = await _json(await list_all(client, "nodes"), "its nodes (may the kubeconfig's user list them?)")
    machines = tuple(_machine(node) for node in nodes["items"])
    if not any(m.control_plane for m in machines):
        raise LearnError(
            f"none of the {len(machines)} nodes at {access.server} has the label {ROLES[0]}: recoverd repairs what "
            "kubeadm made, and kubeadm puts that label on its control planes"
        )
    unseen: list[str] = []
    configuration = await _kubeadm(client, unseen)
    manifests = await _static_pods(client, unseen)
    apis = [m for (component, _), m in manifests.items() if component == "kube-apiserver"]
    etcd: Mapping[str, Any] = configuration.get("etcd") or {}
    user, administrator = _subject(access)
    return Learnt(
        server=access.server,
        version=str(version["gitVersion"]),
        machines=tuple(sorted(machines, key=lambda m: (not m.control_plane, m.name))),
        user=user,
        administrator=administrator,
        endpoint=str(configuration.get("controlPlaneEndpoint") or ""),
        places=_places(manifests),
        external_etcd=tuple((etcd.get("external") or {}).get("endpoints") or ())
        or next(filter(None, map(etcd_elsewhere, apis)), ()),
        unseen=tuple(unseen),
    )


def _machine(node: Mapping[str, Any]) -> Machine:
    name, labels = str(node["metadata"]["name"]), node["metadata"].get("labels") or {}
    listed = [(a.get("type"), str(a.get("address"))) for a in node.get("status", {}).get("addresses") or ()]
    internal, external = ([a for kind, a in listed if kind == wanted] for wanted in ("InternalIP", "ExternalIP"))
    addresses = tuple(dict.fromkeys([*internal, *external])) or (name,)
    return Machine(name, addresses, any(role in labels for role in ROLES), internal[0] if internal else "")


async def _kubeadm(client: ApiClient, unseen: list[str]) -> Mapping[str, Any]:
    """The ClusterConfiguration that kubeadm keeps in the cluster; {} where it is not given."""
    path = "/api/v1/namespaces/{namespace}/configmaps/{name}"
    answer = await request(client, path, {"namespace": "kube-system", "name": "kubeadm-config"})
    text = await answer.read()
    try:
        if answer.status != 200:
            raise ValueError(f"HTTP {answer.status}")
        configuration = yaml.safe_load(json.loads(text)["data"]["ClusterConfiguration"])
        if not isinstance(configuration, dict):
            raise ValueError("it is empty")
        return configuration
    except (ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        unseen.append(f"the ConfigMap kubeadm-config was not given ({error}), so whether there is a VIP is not known")
        return {}


async def _static_pods(client: ApiClient, unseen: list[str]) -> dict[tuple[str, str], str]:
    """The flags of the static pods, a line each as in their manifests, by component and node."""
    path, query = "/api/v1/namespaces/{namespace}/pods", {"labelSelector": "tier=control-plane"}
    answer = await request(client, path, {"namespace": "kube-system"}, query=query)
    text = await answer.read()
    found = {}
    for pod in json.loads(text).get("items") or () if answer.status == 200 else ():
        component = str((pod["metadata"].get("labels") or {}).get("component", ""))
        words = [w for c in pod["spec"].get("containers") or () for w in (*c.get("command", ()), *c.get("args", ()))]
        found[component, str(pod["spec"].get("nodeName", ""))] = "\n".join(f"- {word}" for word in words)
    if not any(component == "kube-apiserver" for component, _ in found):
        why = f"HTTP {answer.status}" if answer.status != 200 else "there are none with kubeadm's labels"
        unseen.append(
            f"the static pods of kube-system were not given ({why}), so the ports are those that kubeadm chooses by "
            "itself: 6443, 2379 and 2381"
        )
    return found


def _places(manifests: Mapping[tuple[str, str], str]) -> tuple[Places, ...]:
    nodes = dict.fromkeys(node for component, node in manifests if component == "kube-apiserver")
    texts = {n: {c: m for (c, node), m in manifests.items() if node == n} for n in nodes}
    found = [places_of(_one(t, "kube-apiserver"), _one(t, "etcd")) for t in texts.values()]
    return tuple(dict.fromkeys(found))


def _one(texts: Mapping[str, str], component: str) -> Iterable[str]:
    return (texts[component],) if component in texts else ()


def _subject(access: Access) -> tuple[str, bool]:
    """Whom the client certificate names, and whether its holder may do everything."""
    file = access.configuration.cert_file
    if not file:
        return "", False
    subject = pem.load(Path(file).read_bytes())[0].subject
    names, groups = ([str(a.value) for a in subject.get_attributes_for_oid(o)] for o in (COMMON, ORGANISATION))
    return next(iter(names), ""), bool(ADMINISTRATORS.intersection(groups))


COMMON, ORGANISATION = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME


async def _json(answer: Any, what: str) -> Any:
    text = await answer.read()
    if answer.status != 200:
        raise LearnError(f"the API server did not tell {what}: HTTP {answer.status} {answer.reason}")
    return json.loads(text)


def vip_remarks(learnt: Learnt) -> Sequence[str]:
    """What is to be said of the address that the kubeconfig leads to."""
    several, only = len(learnt.control_planes) > 1, learnt.only
    endpoint = f"https://{learnt.endpoint}" if learnt.endpoint else ""
    same = endpoint and _named(endpoint, 6443) == _named(learnt.server, 443)
    if only and several:
        other = f"; kubeadm knows {endpoint} as the address of all" if endpoint and not same else ""
        return [
            f"{learnt.server} is {only.name} alone and no VIP{other}: whether the address that everybody uses serves "
            f"is not seen then, and with {only.name} down recoverd asks the other control planes one by one"
        ]
    if endpoint and not same:
        return [
            f"the kubeconfig leads to {learnt.server}, and kubeadm's controlPlaneEndpoint is {endpoint}: everybody "
            "else uses the latter, so it is the one to watch"
        ]
    if only:
        return [f"{learnt.server} is {only.name}, the only control plane; there is no VIP"]
    return [f"{learnt.server} is the address that everybody uses (the VIP or its name)"]


def _named(url: str, otherwise: int) -> str:
    parts = urlsplit(url)
    return authority(parts.hostname or "", parts.port or otherwise)
