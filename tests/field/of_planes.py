"""Rows of the matrix for faults of etcd, the API server and certificates: see `Environment`."""

from __future__ import annotations

from typing import Any

from tests.field.environment import Environment

THREE: dict[str, Any] = {"planes": 3, "version": "v1.31.2", "etcd": "3.5.15"}
CERTIFICATES = "https://kubernetes.io/docs/setup/best-practices/certificates/"

OF_PLANES = {
    "an API server waits in kubelet's back-off for an etcd that serves again": Environment(
        source="https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy",
        fault="api_waits",
        lasts=20.0,
        found=("apiserver-crash-looping", "P"),
        plan="end-back-off",
    ),
    "a member of three waits in kubelet's back-off for room on its disk that is there again": Environment(
        source="https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy",
        **THREE,
        fault="member_waits",
        lasts=20.0,
        found=("etcd-member-down", "p2"),
        plan="end-back-off",
    ),
    "etcd has reached its quota": Environment(
        source="https://etcd.io/docs/v3.5/op-guide/maintenance/#space-quota",
        fault="etcd_full",
        lasts=100.0,
        found=("etcd-nospace", "P"),
        plan="free-etcd-space",
    ),
    "etcd says that a member's data differ from the others'": Environment(
        source="https://etcd.io/docs/v3.5/op-guide/data_corruption/",
        **THREE,
        fault="member_differs",
        found=("etcd-corrupt-alarm", "p2"),
        plan="rebuild-member",
    ),
    "a member's log is corrupt": Environment(
        source="https://etcd.io/docs/v3.5/op-guide/data_corruption/",
        **THREE,
        data="/srv/etcd",
        fault="member_corrupt",
        found=("etcd-member-corrupt", "p2"),
        plan="rebuild-member",
    ),
    "a member's data are emptied, and its manifest has it begin a cluster of its own": Environment(
        source="https://etcd.io/docs/v3.5/op-guide/clustering/#static (initial-cluster-state)",
        **THREE,
        fault="member_begins_anew",
        found=("etcd-split-brain", "p2"),
        plan="rebuild-member",
    ),
    "a member's disk is new, and it is not wanted to be made anew": Environment(
        source="https://etcd.io/docs/v3.5/op-guide/runtime-configuration/#replace-a-failed-machine",
        **THREE,
        fault="member_emptied",
        lasts=1000.0,
        found=("etcd-member-down", "p2"),
        declined=("rebuild-member",),
        plan="remove-member",
    ),
    "a member is added beside three, and its machine never starts it": Environment(
        source="https://etcd.io/docs/v3.5/op-guide/runtime-configuration/#add-a-new-member",
        **THREE,
        fault="member_added",
        lasts=400.0,
        found=("etcd-member-never-started", "127.9.9.9"),
        plan="remove-member",
    ),
    "etcd's data are gone, and a restore point is kept": Environment(
        source="https://etcd.io/docs/v3.5/op-guide/recovery/#restoring-a-cluster",
        point=True,
        fault="data_lost",
        lasts=400.0,
        found=("etcd-data-lost", ""),
        plan="restore-etcd-snapshot",
    ),
    "a flag of etcd is mistyped": Environment(
        source="https://etcd.io/docs/v3.5/op-guide/configuration/",
        fault="etcd_mistyped",
        found=("etcd-manifest-changed", "P"),
        plan="restore-manifest",
    ),
    "etcd's manifest is cut short": Environment(
        source="https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/",
        fault="etcd_cut_short",
        found=("etcd-manifest-invalid", "P"),
        plan="restore-manifest",
    ),
    "kube-vip's manifest is cut short": Environment(
        source="https://kube-vip.io/docs/installation/static/",
        planes=3,
        others=("kube-vip",),
        fault="vip_cut_short",
        found=("static-pod-manifest-invalid", "P/kube-vip"),
        plan="restore-manifest",
    ),
    "encryption at rest, whose configuration somebody has spoilt": Environment(
        source="https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/",
        encryption="/etc/kubernetes/enc/enc.yaml",
        notices=("p1:/etc/kubernetes/enc/enc.yaml",),
        fault="encryption_changed",
        found=("pod-file-changed", "p1:/etc/kubernetes/enc/enc.yaml"),
        plan="restore-pod-files",
    ),
    "the scheduler leads, and looks at no pod": Environment(
        source="https://github.com/kubernetes/kubernetes/issues/102790",
        fault="scheduler_idle",
        found=("scheduler-idle", "kube-scheduler"),
        says="kube-scheduler on p1 leads",
        plan="restart-controller",
    ),
    "an admission webhook that fails closed, without its pods": Environment(
        source="https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#failure-policy",
        fault="hook_away",
        found=("admission-webhook-fails", "policy.example.com"),
        plan="relax-webhook",
    ),
    "the controller-manager is given another range of pods": Environment(
        source="https://kubernetes.io/docs/reference/command-line-tools-reference/kube-controller-manager/",
        fault="pods_elsewhere",
        found=("network-ranges-differ", "P"),
        says="p1, w1 have a part of the pod network that is not in the controller-manager's range",
        refusal="no playbook for this (network-ranges-differ)",
    ),
    "the API server is given another range of services": Environment(
        source="https://github.com/kubernetes/kubernetes/blob/master/pkg/registry/core/service/ipallocator/controller/repair.go",
        fault="services_elsewhere",
        found=("network-ranges-differ", "P"),
        says="the service `kubernetes` has 10.96.0.1, which is not in the API server's range",
        refusal="no playbook for this (network-ranges-differ)",
    ),
    "the API server's certificate is not for the service kubernetes": Environment(
        source=CERTIFICATES,
        pki=True,
        fault="own_service_uncertified",
        found=("service-address-uncertified", "p1:/etc/kubernetes/pki/apiserver.crt"),
        refusal="no playbook for this (service-address-uncertified)",
    ),
    "a certificate of the API server's is soon over": Environment(
        source=CERTIFICATES,
        pki=True,
        fault="certificate_soon_over",
        found=("certificate-expires-soon", "p1:/etc/kubernetes/pki/apiserver-kubelet-client.crt"),
        plan="renew-certificates",
    ),
    "another cluster's certificate is put into the API server's place": Environment(
        source=CERTIFICATES,
        pki=True,
        fault="certificate_of_another",
        found=("certificate-mismatch", "p1:/etc/kubernetes/pki/apiserver-kubelet-client.crt"),
        plan="restore-pki",
    ),
    "the same, and what was there before is not wanted back": Environment(
        source=CERTIFICATES,
        pki=True,
        fault="certificate_of_another",
        found=("certificate-mismatch", "p1:/etc/kubernetes/pki/apiserver-kubelet-client.crt"),
        declined=("restore-pki",),
        plan="renew-certificates",
    ),
    "the API server's certificate is deleted": Environment(
        source=CERTIFICATES,
        pki=True,
        fault="certificate_lost",
        found=("certificate-missing", "p1:/etc/kubernetes/pki/apiserver.crt"),
        plan="restore-pki",
    ),
    "another cluster's CA is put into place": Environment(
        source=CERTIFICATES,
        pki=True,
        fault="authority_replaced",
        found=("pki-replaced", "p1:/etc/kubernetes/pki/ca.crt"),
        plan="restore-pki",
    ),
    "a control plane boots without the file of name servers": Environment(
        source="https://github.com/kubernetes/kubeadm/issues/2801",
        files={"etc/resolv.conf": "nameserver 10.0.0.53\n"},
        fault="static_pods_stuck",
        found=("static-pods-do-not-start", "P"),
        plan="restore-node-files",
    ),
    "a control plane's /etc/default/kubelet was edited": Environment(
        source="https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/kubelet-integration/",
        files={"etc/default/kubelet": "KUBELET_EXTRA_ARGS=--cgroup-driver=systemd\n"},
        fault="plane_kubelet_edited",
        found=("kubelet-down", "P"),
        plan="restore-node-files",
    ),
}
