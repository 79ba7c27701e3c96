"""Why programs end, by their own words: each row of the table with a line that was really seen,
as operators have reported it.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from recoverd.diagnose.cause import KERNEL, PROGRAMS
from recoverd.diagnose.causes import CAUSES, reason, reason_of_pod

ROWS = (Path(__file__).parent / "fixtures/causes.txt").read_text().splitlines()
SEEN = [tuple(part.strip() for part in row.split(" | ", 3)) for row in ROWS if row and not row.startswith("#")]


@pytest.mark.parametrize(
    ("program", "name", "says", "line"), SEEN, ids=[f"{p}-{n}-{i}" for i, (p, n, *_) in enumerate(SEEN)]
)
def test_what_was_really_said_is_understood(program: str, name: str, says: str, line: str) -> None:
    found = reason([line], program)
    assert found is not None and found.cause.name == name, found
    assert says in found.why and found.line == line
    assert found.cure and not re.search(r"\{\d?\}|\{\{", found.why + found.cure) and "(?" not in found.why


def test_every_row_was_seen_once() -> None:
    seen = {(name, program) for program, name, _, _ in SEEN}
    assert not [c.name for c in CAUSES if not any((c.name, program) in seen for program in c.of)]
    assert len(CAUSES) == len({(c.name, c.of) for c in CAUSES})


def test_the_newest_cause_counts_and_a_consequence_only_where_nothing_else_is_said() -> None:
    swap, full = "running with swap on is not supported", "mkdir /var/lib/kubelet: no space left on device"
    after = ["lookup k8s-api: no such host", "kubelet.service: Failed with result 'exit-code'."]
    for lines, name in (
        ([swap, full, *after], "disk-full"),
        ([full, swap, *after], "swap"),
        (after, "name-not-resolved"),
    ):
        found = reason(lines, "kubelet")
        assert found and found.cause.name == name


def test_what_is_not_understood_is_no_cause() -> None:
    for program in PROGRAMS:
        assert (
            reason(
                [
                    "E1128 14:37:29.1 1 server.go:1] something new",
                    "",
                    "\x00\xff" * 50,
                    "kubelet.service: Failed with result 'exit-code'.",
                ],
                program,
            )
            is None
        )
    assert (
        reason([], "kubelet") is None and reason(["running with swap on is not supported"], "no such program") is None
    )


def test_what_a_kubelet_says_at_every_start_is_no_cause() -> None:
    """Observed on 1.20.2."""
    said = [
        "E1128 02:29:06.873190     217 kubelet.go:1826] skipping pod synchronization - PLEG is not healthy: "
        "pleg has yet to be successful",
        "E1128 02:29:06.991818     217 container_manager_linux.go:528] failed to apply oom score -999 to PID 217: "
        "write /proc/217/oom_score_adj: "
        "permission denied",
        "W1128 02:28:52.368973     525 manager.go:594] Failed to retrieve checkpoint for "
        '"kubelet_internal_checkpoint": checkpoint is not found',
        'E1128 15:40:02.777257      98 file.go:104] Unable to read config path "/etc/kubernetes/manifests": '
        "path does not exist, ignoring",
    ]
    assert reason(said, "kubelet") is None and reason_of_pod(said, "etcd") is None


def test_a_pod_is_not_down_for_another_pods_image() -> None:
    line = 'Error syncing pod 0ab ("web-1_default(0ab)"): with ImagePullBackOff: "Back-off pulling image \\"r/web:1\\""'
    assert reason_of_pod([line], "etcd") is None
    found = reason_of_pod([line.replace("web-1", "etcd-cp1")], "etcd")
    assert found and found.cause.name == "no-image"


@pytest.mark.parametrize(
    ("said", "image"),
    [
        ('Failed to pull image "r/etcd:9": rpc error: code = NotFound', "r/etcd:9"),
        ('ErrImageNeverPull: "Container image \\"r/etcd:9\\" is not present with pull policy of Never"', "r/etcd:9"),
        ('with InvalidImageName: "couldn\'t parse image reference \\"r/etcd:9:1\\": invalid reference"', "r/etcd:9:1"),
        ('Container image "r/etcd:9" already present on machine', ""),
    ],
)
def test_an_image_that_does_not_come_is_named(said: str, image: str) -> None:
    """kubelet's pkg/kubelet/images/image_manager.go and types.go, 1.20 to 1.31."""
    found = reason_of_pod([f"pod etcd-cp1: {said}"], "etcd")
    assert (found.named if found else ()) == ((image,) if image else ())


NOT_OF_KUBELET = (
    'E0412 pod_workers.go:1300] "Error syncing pod, skipping" err="failed to \\"StartContainer\\" for \\"a\\" with '
    'ErrImagePull: \\"failed to resolve reference \\\\\\"r.example/a:1\\\\\\": unexpected status: 401 Unauthorized\\""',
    'E0412 remote_image.go:180] "PullImage from image service failed" err="failed to do request: Head '
    '\\"https://r.example/v2/a/manifests/1\\": x509: certificate signed by unknown authority" image="r.example/a:1"',
    'E0412 kubelet.go:1740] "Failed creating a mirror pod for" err="Internal error occurred: failed calling webhook '
    '\\"validate.kyverno.svc-fail\\": no endpoints available for service" pod="kube-system/etcd-cp1"',
    'E0412 kuberuntime_manager.go:1] "killPodWithSyncResult failed" err="failed to \\"KillPodSandbox\\" with: plugin '
    'type=\\"calico\\" failed (delete): error getting ClusterInformation: connection is unauthorized: Unauthorized"',
    'E0412 nestedpendingoperations.go:348] Operation for "csi-1" failed: MountVolume.MountDevice failed: rpc error: '
    'code = Internal desc = Get "https://s/api": x509: certificate has expired or is not yet valid',
)


@pytest.mark.parametrize("line", NOT_OF_KUBELET)
def test_what_kubelet_says_of_one_pod_is_no_cause_of_its_own(line: str) -> None:
    """A node whose connection was dead was told that its certificate is not accepted, since a registry had answered
    401 to a pod of it: nothing was restarted, where that is all that it takes.
    """
    assert reason([line], "kubelet") is None
    dead = 'Error updating node status, will retry: Get "https://k8s-api:6443": use of closed network connection'
    found = reason([dead, line], "kubelet")
    assert found and found.cause.name == "dead-connection"


def test_what_keeps_every_pod_away_is_a_cause_of_kubelet_too() -> None:
    line = 'Failed to generate sandbox config for pod "a": open /r/resolv.conf: no such file or directory'
    found = reason([line], "kubelet")
    assert found and found.cause.name == "no-resolv-conf"


def test_what_a_line_names_is_no_template_and_is_cut() -> None:
    found = reason(["unknown flag: --{0}{host}", "open /a/{1.__class__}/b: no such file or directory"], "etcd")
    assert found and found.why.startswith("/a/{1.__class__}/b, which")
    long = reason([f"open /{'a' * 5000}: no such file or directory"], "etcd")
    assert long and len(long.why) < 200


def test_only_what_a_restart_has_cured_is_restarted_for() -> None:
    of_agents = {"authority-of-before", "token-refused", "service-address-not-reached"}
    assert {c.name for c in CAUSES if c.restart} == {"out-of-memory", "dead-connection", "pleg"} | of_agents


def test_the_look_brings_every_line_of_the_kernels_that_is_a_cause() -> None:
    text = Path("recoverd/observe/look.sh").read_text()
    taken = re.search(r"journalctl -k .*\n\s*grep -aE '([^']+)'", text)
    assert taken
    lines = [line for program, _, _, line in SEEN if program == KERNEL]
    kept = subprocess.run(["grep", "-aE", taken[1]], input="\n".join(lines), text=True, capture_output=True, check=True)
    assert kept.stdout.splitlines() == lines
