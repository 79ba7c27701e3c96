"""One observation with the questions that every rule asks of it: who counts as a control plane,
what is proven about its machine.
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property

from recoverd.diagnose.members import Membership
from recoverd.model.etcd import EtcdView
from recoverd.model.memory import Memory, Watermark
from recoverd.model.observation import (
    ContainerView,
    EndpointHealth,
    EndpointView,
    HostView,
    NodeView,
    ObjectsView,
    Observation,
    Unseen,
    UnseenKind,
)
from recoverd.model.pki_operations import STATIC_PODS
from recoverd.model.places import etcd_elsewhere
from recoverd.model.settings import ClusterSettings, HostSettings

API = "kube-apiserver"
SETTLING = 90.0
"""Seconds after a boot or a start of kubelet in which what does not run yet is taken to be starting, while
the cluster's address answers.
"""

PKI = "/etc/kubernetes/pki/"
"""Where kubeadm keeps certificates, unless its configuration names another directory."""
DARK = frozenset({UnseenKind.UNREACHABLE, UnseenKind.TIMEOUT})
"""The kinds in which nothing at all came back from a machine."""
SILENT = frozenset({EndpointHealth.UNREACHABLE, EndpointHealth.TIMEOUT, EndpointHealth.UNRESOLVED})
NOT_SERVING = frozenset({EndpointHealth.REFUSED, EndpointHealth.NOT_READY, EndpointHealth.ERROR})
"""Answers that prove that no ready API server is behind an address."""


def just_booted(host: HostView) -> bool:
    """The machine has only just been switched on: what runs on it and its network are on their way."""
    return 0 < host.uptime < SETTLING


class Scene:
    """What the rules look at. Nothing here makes findings."""

    def __init__(self, observation: Observation, memory: Memory, settings: ClusterSettings, busy: str = "") -> None:
        self.observation = observation
        self.memory = memory
        self.settings = settings
        self.busy = busy
        """Id of the plan that is at work, "" where none is."""

    @property
    def now(self) -> datetime:
        return self.observation.at

    @cached_property
    def membership(self) -> Membership:
        watermark = self.memory.watermark
        return Membership(self.etcd_views, watermark, self.settings)

    @cached_property
    def etcd_views(self) -> dict[str, EtcdView]:
        return {n: v for n, v in self.observation.etcd.items() if isinstance(v, EtcdView)}

    @cached_property
    def bastion_off(self) -> bool:
        """The bastion's own clock is wrong: all machines that were seen, two or more, agree with each other and not
        with it.
        """
        offsets = [host.clock_offset for name in self.addresses if (host := self.host(name)) is not None]
        limit = self.settings.bounds.max_clock_skew
        return len(offsets) > 1 and min(map(abs, offsets)) > limit and max(offsets) - min(offsets) <= limit

    @cached_property
    def outside(self) -> dict[str, EtcdView]:
        """The servers that were seen of an etcd that is none of the static pods."""
        outside = self.observation.outside if self.external_etcd else {}
        return {n: v for n, v in outside.items() if isinstance(v, EtcdView)}

    @cached_property
    def history(self) -> Membership:
        """Whose revisions are the cluster's: its own members', or those of an etcd elsewhere."""
        if not self.external_etcd:
            return self.membership
        # several names may lead to one member, as through a balancer
        by_member = {v.member_id: n for n, v in sorted(self.outside.items(), key=lambda nv: nv[1].revision)}
        return Membership({n: self.outside[n] for n in by_member.values()}, self.mark, self.settings)

    @property
    def mark(self) -> Watermark | None:
        """How far that history was seen to come."""
        return self.memory.outside if self.external_etcd else self.memory.watermark

    @cached_property
    def workers(self) -> tuple[HostSettings, ...]:
        return self.settings.workers or tuple(HostSettings(w.name, w.address) for w in self.memory.workers)

    @cached_property
    def control_plane_names(self) -> tuple[str, ...]:
        return tuple(h.name for h in self.settings.control_planes)

    @cached_property
    def addresses(self) -> dict[str, str]:
        return {h.name: h.address for h in (*self.settings.control_planes, *self.workers)}

    # --- machines ---

    def host(self, name: str) -> HostView | None:
        view = self.observation.hosts.get(name)
        return view if isinstance(view, HostView) else None

    def unseen_host(self, name: str) -> Unseen | None:
        view = self.observation.hosts.get(name)
        return view if isinstance(view, Unseen) else None

    def dark(self, name: str) -> bool:
        """Nothing came back from the machine's SSH."""
        unseen = self.unseen_host(name)
        return unseen is not None and unseen.kind in DARK

    def settling(self, name: str) -> bool:
        """The machine or its kubelet has only just started."""
        host = self.host(name)
        if host is None:
            return False
        kubelet = host.units.get("kubelet")
        fresh = (
            kubelet is not None
            and kubelet.running
            and not kubelet.restarts
            and (age := self.age(kubelet.since)) is not None
            and age < SETTLING
        )
        return fresh or just_booted(host)

    def age(self, since: datetime | None) -> float | None:
        """Seconds since then, by the bastion's clock; None where the time is not known."""
        return None if since is None else (self.now - since).total_seconds()

    def container(self, name: str, component: str) -> ContainerView | None:
        host = self.host(name)
        return host.containers.get(component) if host else None

    # --- the API server ---

    def endpoint(self, name: str) -> EndpointView | None:
        return self.observation.api.members.get(name)

    def endpoint_health(self, name: str) -> EndpointHealth | None:
        endpoint = self.endpoint(name)
        return endpoint.health if endpoint else None

    @property
    def vip(self) -> EndpointView:
        return self.observation.api.vip

    @cached_property
    def objects(self) -> ObjectsView | None:
        """What the API server lists, unless it is the API server of another cluster."""
        objects = self.observation.api.objects
        return objects if isinstance(objects, ObjectsView) and not self.foreign_kubeconfig else None

    @cached_property
    def foreign_kubeconfig(self) -> bool:
        """The address in the kubeconfig lists nodes, and none of them is one of ours."""
        objects = self.observation.api.objects
        if not isinstance(objects, ObjectsView) or not objects.nodes:
            return False
        names, addresses = set(self.addresses), set(self.addresses.values())
        return not any(n.name in names or (n.address and n.address in addresses) for n in objects.nodes)

    @cached_property
    def vip_ready(self) -> bool:
        return self.vip.health is EndpointHealth.READY and not self.foreign_kubeconfig

    @cached_property
    def ready_members(self) -> tuple[str, ...]:
        return tuple(n for n, e in self.observation.api.members.items() if e.health is EndpointHealth.READY)

    @cached_property
    def api_ready(self) -> bool:
        return self.vip_ready or bool(self.ready_members)

    def node(self, name: str) -> NodeView | None:
        by_name, by_address = self._nodes
        return by_name.get(name) or by_address.get(self.addresses.get(name, ""))

    @cached_property
    def machines(self) -> dict[str, str]:
        """The machine in the configuration of each node that has one, by node."""
        return {node.name: name for name in self.addresses if (node := self.node(name)) is not None}

    @cached_property
    def _nodes(self) -> tuple[dict[str, NodeView], dict[str, NodeView]]:
        nodes = tuple(reversed(self.objects.nodes)) if self.objects else ()  # of several, the first counts
        return {n.name: n for n in nodes}, {n.address: n for n in nodes if n.address}

    @cached_property
    def cut_off(self) -> bool:
        """The bastion may be on the small side of a partition: as many voters are silent as make a quorum, no leader
        is seen, and no worker beyond doubt shows that the bastion's own network reaches where they are (there is
        none, or one is silent as well).
        """
        if self.api_ready or self.membership.leader or not self.membership.known:
            return False
        hosts = (self.membership.host_of(e) for e in self.membership.voters if e.started)
        silent = [n for n in hosts if n and self.dark(n) and self.endpoint_health(n) not in NOT_SERVING]
        beyond_doubt = bool(self.workers) and not any(self.dark(w.name) for w in self.workers)
        return len(silent) >= self.membership.needed and not beyond_doubt

    # --- who counts ---

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """Control planes that are working parts of the cluster, so that what fails on them is a fault."""
        return tuple(n for n in self.control_plane_names if self._is_part(n))

    def remembered(self, name: str) -> bool:
        """It was seen working once."""
        return name in self.memory.worked or API in self.memory.manifests.get(name, {})

    @cached_property
    def remembers(self) -> bool:
        """Whether any control plane was seen working."""
        return any(self.remembered(name) for name in self.control_plane_names)

    def _is_part(self, name: str) -> bool:
        host = self.host(name)
        if host is not None and (not host.joined or self.of_others(name)):
            return False
        listed = self.membership.entry_of(name)
        if self.membership.known:
            # where none is remembered, a started member is the best proof there is; else a machine that is
            # not remembered is still joining
            started = listed is not None and listed.started and not listed.learner
            return started and (self.remembered(name) or not self.remembers)
        if self.remembers:
            return self.remembered(name)
        if host is None:
            return False
        data = host.etcd_data
        if self.external_etcd:
            return API in host.manifests
        return "etcd" in host.manifests or (data is not None and data.holds)

    def of_others(self, name: str) -> bool:
        """The machine was looked at whole, and nothing that makes a control plane of kubeadm's was ever seen there:
        neither a manifest of one of its static pods nor a certificate where it keeps them. So it is where Kubernetes
        was made by something else, or by hand (OpenShift, kubelet beside units of systemd).
        """
        host = self.host(name)
        if host is None or host.problems or self.memory.manifests.get(name) or self.remembered(name):
            return False
        return not (host.manifests.keys() & set(STATIC_PODS)) and not any(
            c.path.startswith(PKI) for c in host.certificates
        )

    @cached_property
    def external_etcd(self) -> tuple[str, ...]:
        """The etcd servers of a cluster whose etcd is none of its static pods and never was seen to be: every manifest
        of an API server, in place or remembered, names servers that are not on its machine, and no control plane has
        or had a manifest of etcd, data of it, or one that answered.
        """
        if self.memory.watermark is not None or self.etcd_views:
            return ()
        seen = [h for n in self.control_plane_names if (h := self.host(n)) is not None]
        known = [self.memory.manifests.get(n, {}) for n in self.control_plane_names]
        if any("etcd" in m for m in (*known, *(h.manifests for h in seen))):
            return ()
        if any(h.etcd_data is not None and h.etcd_data.holds for h in seen):
            return ()
        remembered = [m[API].content for m in known if API in m]
        texts = [*remembered, *(h.manifests[API].content for h in seen if API in h.manifests)]
        servers = [etcd_elsewhere(text) for text in texts]
        return tuple(dict.fromkeys(s for some in servers for s in some)) if servers and all(servers) else ()

    # --- what a stopped etcd is proven by ---

    def etcd_stopped(self, name: str) -> str:
        """Why etcd on this host certainly does not serve, as a line of evidence; "" where that is not proven."""
        if self.host(name) is None or self.external_etcd:
            return ""
        seen = self.observation.etcd.get(name)
        container = self.container(name, "etcd")
        if isinstance(seen, Unseen) and seen.kind is UnseenKind.REFUSED:
            return f"{name}: etcd refuses connections on port 2379 ({seen.reason})"
        if isinstance(seen, Unseen) and container is not None and not container.running:
            code = "" if container.exit_code is None else f", exit code {container.exit_code}"
            return f"{name}: the container of etcd is not running{code}"
        return ""

    def bastion_sees(self, *, but: str = "") -> bool:
        """Something of the cluster other than `but` is visible, so that silence is not the bastion's own."""
        return any(isinstance(v, HostView) for n, v in self.observation.hosts.items() if n != but) or any(
            n != but for n in self.etcd_views
        )
