"""More of what can go wrong on control planes: see `Faults`."""

from __future__ import annotations

import shutil

from tests.authority import Authority
from tests.components.test_api import as_json
from tests.field.answers import listed
from tests.field.faults import Faults

HOOK = "policy.example.com"
HOOKS = "/apis/admissionregistration.k8s.io/v1"
PKI = "etc/kubernetes/pki"


class PlaneFaults(Faults):
    """Those of a `Field`."""

    async def api_waits(self) -> None:
        """The API server ended while etcd was away, which serves again."""
        self.machines["p1"].falls("kube-apiserver", "Error: context deadline exceeded")
        await self.api.stop()

    async def member_waits(self) -> None:
        """The second control plane's etcd ended while its disk was full, which has room again."""
        await self._member_ends("etcdserver: open wal error: no space left on device")

    async def member_corrupt(self) -> None:
        """The second control plane's data are, by its etcd's own words."""
        await self._member_ends("etcdserver: read wal error (wal: crc mismatch) and cannot be repaired")

    async def member_begins_anew(self) -> None:
        """Somebody emptied the second control plane's data directory, and took `existing` out of its manifest."""
        self._edited("etcd", "    - --initial-cluster-state=existing\n", "", host="p2")
        shutil.rmtree(self.machines["p2"].root / self.at.data.lstrip("/") / "member")
        await self._member_ends("etcdserver: starting a new cluster")

    async def _member_ends(self, line: str) -> None:
        self.machines["p2"].falls("etcd", line)
        self.machines["p2"].ends("kube-apiserver")
        await self.others["p2"].stop()

    def data_lost(self) -> None:
        """The only control plane's disk with etcd's data was made anew."""
        plane = self.machines["p1"]
        shutil.rmtree(plane.root / self.at.data.lstrip("/") / "member")
        plane.falls("etcd", "etcdserver: open wal error: wal: file not found")
        self._without_etcd()

    def member_added(self) -> None:
        """One whose machine never started it, beside three that serve."""
        self.answers.added.append({"ID": "9", "peerURLs": ["https://127.9.9.9:2380"]})

    def etcd_full(self) -> None:
        self.answers.alarm = "NOSPACE p1"

    def member_differs(self) -> None:
        """etcd says so itself, of the second control plane's."""
        self.answers.alarm = "CORRUPT p2"

    def etcd_mistyped(self) -> None:
        """Somebody edited a flag, with which etcd ends at once."""
        self._edited("etcd", "--advertise-client-urls", "--advertise-clinet-urls")
        self.machines["p1"].falls("etcd", "flag provided but not defined: -advertise-clinet-urls")
        self._without_etcd()

    def etcd_cut_short(self) -> None:
        """A full disk left the beginning of its manifest, and kubelet has ended it."""
        self._cut_short("etcd")
        self.machines["p1"].ends("etcd")
        self._without_etcd()

    async def vip_cut_short(self) -> None:
        """kube-vip's manifest, and kubelet has ended it."""
        self._cut_short("kube-vip")
        self.machines["p1"].ends("kube-vip")

    async def encryption_changed(self) -> None:
        """Somebody gave its file another key, in a way that is no YAML; then the machine booted."""
        plane = self.machines["p1"]
        plane.write(self.at.encryption, "kind: EncryptionConfiguration\nresources: [\n", age=60.0)
        plane.falls("kube-apiserver", "Error: error while parsing encryption provider configuration file")
        await self.api.stop()

    def scheduler_idle(self) -> None:
        """The scheduler renews its lease, and hears of no pod any more."""
        self.answers.unbound, self.answers.untried = "d/new-1", True
        self.answers.waiting["d/new-1"] = "Pending"

    def hook_away(self) -> None:
        """The pods of an admission webhook that fails closed are gone."""
        said = f'Internal error occurred: failed calling webhook "{HOOK}": failed to call webhook: Post "https://hook.'
        self.api.answers["/api/v1/namespaces/kube-system/pods"] = as_json(
            {"kind": "Status", "status": "Failure", "message": f'{said}policy.svc:443/": no endpoints available'}, 500
        )
        self.collector._canary._due = 0.0
        service = {"namespace": "policy", "name": "hook"}
        hook = {"name": HOOK, "failurePolicy": "Fail", "clientConfig": {"service": service}}
        whole = {"metadata": {"name": "policy", "resourceVersion": "7"}, "webhooks": [hook]}
        self.api.answers |= {
            f"{HOOKS}/validatingwebhookconfigurations": listed("ValidatingWebhookConfiguration", [whole]),
            f"{HOOKS}/mutatingwebhookconfigurations": listed("MutatingWebhookConfiguration", []),
            "/api/v1/namespaces/policy/endpoints": listed("Endpoints", []),
        }

    # --- of ranges ---

    def pods_elsewhere(self) -> None:
        """Somebody gave the controller-manager another range of pods, an hour ago."""
        self._edited("kube-controller-manager", "10.244.0.0/16", "10.200.0.0/16", age=3600.0)

    def services_elsewhere(self) -> None:
        """Somebody gave the API server another range of services, an hour ago."""
        self._edited("kube-apiserver", "10.96.0.0/16", "10.97.0.0/16", age=3600.0)
        self.answers.own_service = "10.96.0.1"
        self.api.answers |= self.answers.api()

    def own_service_uncertified(self) -> None:
        """The API server's certificate was made anew with another range of services in its configuration."""
        self.pki.authority.issue("another", names=["kubernetes"], addresses=["10.97.0.1"])
        self._sign("apiserver", self.pki.authority, "another")
        self.answers.own_service = "10.96.0.1"
        self.api.answers |= self.answers.api()

    # --- of certificates ---

    def certificate_soon_over(self) -> None:
        """In five days: that by which the API server asks kubelets."""
        self.pki.authority.issue("soon", days=5)
        self._sign("apiserver-kubelet-client", self.pki.authority, "soon")

    def certificate_of_another(self) -> None:
        """Somebody put another cluster's into place."""
        self._sign("apiserver-kubelet-client", self._stranger(), "other")

    async def certificate_lost(self) -> None:
        """Somebody deleted the API server's own; then the machine booted."""
        (self.machines["p1"].root / PKI / "apiserver.crt").unlink()
        self.machines["p1"].falls(
            "kube-apiserver", "Error: open /etc/kubernetes/pki/apiserver.crt: no such file or directory"
        )
        await self.api.stop()

    def authority_replaced(self) -> None:
        """With another cluster's."""
        self.machines["p1"].write(f"{PKI}/ca.crt", (self._stranger().directory / "ca.crt").read_text())

    def _stranger(self) -> Authority:
        made = Authority(self.pki.folder / "stranger")
        made.issue("other")
        return made

    def _sign(self, name: str, by: Authority, as_: str) -> None:
        self.machines["p1"].write(f"{PKI}/{name}.crt", (by.directory / f"{as_}.crt").read_text())

    # --- of what kubelet does not start ---

    def static_pods_stuck(self) -> None:
        """After a boot without systemd-resolved: kubelet makes no sandbox."""
        plane = self.machines["p1"]
        (plane.root / "etc/resolv.conf").unlink()
        for name in ("etcd", "kube-apiserver"):
            plane.ends(name)
            plane.says(
                "kubelet",
                f'E0305 19:00:00.0 90 pod_workers.go:191] Error syncing pod 0ab ("{name}-p1_kube-system(0ab)"), '
                f'skipping: failed to "CreatePodSandbox" for "{name}-p1_kube-system(0ab)" with '
                f'CreatePodSandboxError: "Failed to generate sandbox config for pod \\"{name}-p1_kube-system(0ab)\\": '
                'open /etc/resolv.conf: no such file or directory"',
            )
        self._without_etcd()

    def plane_kubelet_edited(self) -> None:
        """Somebody gave the control plane's a flag that it does not know."""
        self._flag_unknown("p1")
