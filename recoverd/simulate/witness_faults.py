"""What /readyz shows nothing of: as `faults`, which names them."""

from __future__ import annotations

from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.nodes import SCHEDULER
from recoverd.simulate.webhooks import Webhook

UNAUTHORIZED = "E0305 19:10:00.1 leaderelection.go:325] error retrieving resource lock kube-system/{}: Unauthorized"
UNREACHED = (
    "E0305 19:10:00.1 leaderelection.go:325] error retrieving resource lock kube-system/{0}: Get "
    '"https://10.99.1.99:6443/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{0}?timeout=10s": dial tcp '
    "10.99.1.99:6443: connect: no route to host"
)


def outlive_certificate(c: ModelCluster, name: str, component: str = "kube-controller-manager") -> None:
    """`kubeadm certs renew`, and nobody restarts it: the certificate in its memory is over, and the file is new."""
    if container := c.machines[name].container(component):
        container.deaf = UNAUTHORIZED.format(component)
        c.machines[name].say(component, container.deaf)


def idle_scheduler(c: ModelCluster, name: str) -> None:
    """Its kube-scheduler loses what it hears of pods, and renews its lease all the same, until it is started anew."""
    if container := c.machines[name].container(SCHEDULER):
        container.idle = True


def misdirect_controller(c: ModelCluster, name: str, component: str = "kube-controller-manager") -> None:
    """Its kubeconfig names an address that is gone, whatever is restarted."""
    c.machines[name].astray[component] = UNREACHED.format(component)
    c.machines[name].say(component, c.machines[name].astray[component])


def direct_controller(c: ModelCluster, name: str, component: str = "kube-controller-manager") -> None:
    """A person corrects `server` in its kubeconfig, and restarts it."""
    c.machines[name].astray.pop(component, None)
    c.kubelets[name].exited(component, c.now, "received signal; shutting down")


def fail_webhook(c: ModelCluster, kind: str = "pod", name: str = "policy-validator.example.com") -> None:
    """All pods of an admission webhook are gone, and it fails closed: no `kind` is made, its own pods neither. With
    `heartbeat` no kubelet renews its node's lease.
    """
    c.api.webhooks.all[name] = Webhook(name, kind, c.now)


def ignore_webhook(c: ModelCluster, name: str = "policy-validator.example.com") -> None:
    """A person sets its failurePolicy to Ignore."""
    if hook := c.api.webhooks.all.get(name):
        hook.policy, hook.version = "Ignore", hook.version + 1


def lose_metrics(c: ModelCluster, name: str = "v1beta1.metrics.k8s.io") -> None:
    """The pods of metrics-server are gone, and its APIService is not: namespaces stay Terminating."""
    c.api.away.setdefault(name, c.now)


def remove_api_service(c: ModelCluster, name: str = "v1beta1.metrics.k8s.io") -> None:
    """`kubectl delete apiservice`, or its pods serve again."""
    c.api.away.pop(name, None)
