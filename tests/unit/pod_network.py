"""The pod network of a `Cluster` as it is seen: healthy until changed, in the field's words.
`with_network(cluster)` puts it into an observation.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from recoverd.diagnose import diagnose
from recoverd.model import network as net
from recoverd.model.finding import Diagnosis
from recoverd.model.memory import Memory, NodeNetwork
from recoverd.model.observation import Observation, Unseen, UnseenKind
from tests.unit.builders import Cluster

WEB, API, DNS = "default/web:80", "default/kubernetes:443", "kube-system/kube-dns:53"


class PodNetwork:
    """Two web pods on every worker; every host probes every worker."""

    def __init__(self, cluster: Cluster | None = None, **options: Any) -> None:
        self.cluster = cluster or Cluster(**{"control_planes": 1, "workers": 3, **options})
        self.names = (*self.cluster.joined, *self.cluster.workers)
        self.hosts: dict[str, net.NodeNetworkView | Unseen] = {n: self._host(n) for n in self.names}
        self.pods: dict[str, net.NodePods | Unseen] = {n: net.NodePods(self.now, "kubelet", 5, 5) for n in self.names}
        self.failing: dict[tuple[str, str], net.ProbeAnswer] = {}
        """By (source host, pod address)."""
        self.unready: set[str] = set()
        """Addresses of pods that are no ready endpoints, and are tried all the same."""
        self.hung: set[str] = set()
        """Those of them whose network is good."""
        self.untried: set[str] = set()
        """Addresses of pods that are no endpoints at all."""
        self.listless: set[str] = set()
        """Lists that the API does not give."""
        self.back: float | None = None
        """Seconds since the API server came back."""
        self.services = [self._service(n, s) for n in self.names for s in (API, WEB)]
        self.agents = {
            n: net.AgentView(n, "kube-proxy", "kube-system/kube-proxy", f"kube-proxy-{n}", True, "Running", True)
            for n in self.names
        }
        self._healthy = dict(self.hosts)

    @property
    def now(self) -> Any:
        return self.cluster.now

    @staticmethod
    def addresses(host: str) -> tuple[str, str]:
        number = int(host[1:])
        return (f"10.244.{number}.2:8080", f"10.244.{number}.3:8080")

    def _host(self, name: str) -> net.NodeNetworkView:
        number = int(name.lstrip("cpw"))
        worker = name in self.cluster.workers
        return net.NodeNetworkView(
            forwarding=True,
            bridge_netfilter=True,
            dropping=(),
            links=(net.Link("cni0", "bridge", True, (f"10.244.{number}.1/24",)),) if worker else (),
            routes=("default via 10.99.1.1 dev eth0",),
            processes={"kube-proxy": net.ProcessView("kube-proxy", "S", self.now - timedelta(days=3))},
            pod_directories=(),
            rules=net.RulesView("iptables", 2),
            tool="bash",
            veths=(2, 2) if worker else (0, 0),
            pods=2 if worker else 0,
        )

    def _service(self, source: str, key: str) -> net.ServiceProbe:
        endpoints = (
            {"10.99.1.11:6443": net.ProbeAnswer.OK}
            if key == API
            else {self.addresses(w)[0]: net.ProbeAnswer.OK for w in self.cluster.workers[:2]}
        )
        hosts = () if key == API else tuple(self.cluster.workers)
        return net.ServiceProbe(
            source, key, "10.96.0.1:443", (net.ProbeAnswer.OK,) * 3, endpoints, hosts, 600.0, key == DNS
        )

    # --- what is made of it ---

    def view(self) -> net.NetworkView:
        probes = [
            probe
            for source in self.names
            for target in self.cluster.workers
            for address in self.addresses(target)
            if address not in self.untried
            for probe in self._probes(source, target, address)
        ]
        since = {f"{p.source}>{p.target}": self.now - timedelta(seconds=7) for p in probes if not p.answer.arrived}
        back = None if self.back is None else self.now - timedelta(seconds=self.back)
        return net.NetworkView(
            7,
            self.hosts,
            self.pods,
            tuple(probes),
            tuple(self.services),
            tuple(self.agents.values()),
            since,
            back,
            {name: Unseen(UnseenKind.DENIED, "forbidden") for name in self.listless},
        )

    def _probes(self, source: str, target: str, address: str) -> list[net.PodProbe]:
        answer, ready = self.failing.get((source, address), net.ProbeAnswer.OK), address not in self.unready
        probe = net.PodProbe(source, target, address, f"default/web-{address}", WEB, answer, ready)
        if ready:
            return [probe]
        closed = net.ProbeAnswer.REFUSED if answer.arrived or address in self.hung else answer
        return [probe, replace(probe, address=f"{address.partition(':')[0]}:1", answer=closed)]

    def observation(self) -> Observation:
        return replace(self.cluster.observation(), network=self.view())

    def memory(self, **changes: Any) -> Memory:
        networks = {
            name: NodeNetwork(
                True,
                {link.name: link.kind for link in view.links or ()},
                {link.name: link.addresses for link in view.links or ()},
                view.routes,
                view.veths == (2, 2),
                "iptables",
                self.now - timedelta(hours=1),
                bool(view.bridge_netfilter),
                view.dropping,
            )
            for name, view in self._healthy.items()
            if isinstance(view, net.NodeNetworkView)
        }
        return replace(self.cluster.memory(), networks=networks, reached=(WEB,), **changes)

    def seen(self, memory: Memory | None = None) -> Diagnosis:
        return diagnose(self.observation(), memory or self.memory(), self.cluster.settings)

    # --- changes ---

    def host(self, name: str, **changes: Any) -> PodNetwork:
        view = self.hosts[name]
        assert isinstance(view, net.NodeNetworkView)
        self.hosts[name] = replace(view, **changes)
        return self

    def cut(
        self, source: str, target: str, answer: net.ProbeAnswer = net.ProbeAnswer.TIMEOUT, *, pods: int = 2
    ) -> PodNetwork:
        """`source` reaches none (or only some) of the pods on `target`."""
        self.failing |= {(source, address): answer for address in self.addresses(target)[:pods]}
        return self

    def cut_off(self, target: str, *, but: tuple[str, ...] = ()) -> PodNetwork:
        for source in self.names:
            if source not in but:
                self.cut(source, target)
        return self

    def pod_hangs(self, target: str) -> PodNetwork:
        """One pod answers nobody."""
        for source in self.names:
            self.cut(source, target, pods=1)
        return self

    def service_fails(self, source: str, key: str, answer: net.ProbeAnswer = net.ProbeAnswer.TIMEOUT) -> PodNetwork:
        self.services = [
            replace(s, answers=(answer,) * 3) if (s.source, s.service) == (source, key) else s for s in self.services
        ]
        return self

    def rules(self, name: str, *gaps: net.RuleGap, mode: str = "iptables") -> PodNetwork:
        return self.host(name, rules=net.RulesView(mode, 2, gaps))

    def missing(self, name: str, *ages: float, extra: tuple[float, ...] = (), since: float = 60.0) -> PodNetwork:
        def pods(prefix: str, ages: tuple[float, ...]) -> tuple[net.PodMismatch, ...]:
            return tuple(
                net.PodMismatch(f"{prefix}{i}", f"default/web-{prefix}{i}", a, self.now - timedelta(seconds=since))
                for i, a in enumerate(ages)
            )

        self.pods[name] = net.NodePods(self.now, "kubelet", 5, 5, pods("m", ages), pods("e", extra))
        return self

    def agent(self, node: str, **changes: Any) -> PodNetwork:
        self.agents[node] = replace(self.agents[node], **changes)
        return self
