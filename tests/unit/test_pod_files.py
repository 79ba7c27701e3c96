"""Files that static pods name: which they are, which are known-good, what their loss is called, and when they are put
back.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.diagnose import diagnose
from recoverd.diagnose.absence import doubt
from recoverd.machine.cluster import ClusterMachine
from recoverd.memory.pod_files import known_pod_files
from recoverd.model.bastion_operations import AwaitApi
from recoverd.model.catalogue import Code
from recoverd.model.codec import dump
from recoverd.model.events import ChoreEnded, Observed, PerformChore
from recoverd.model.file_operations import KeepPodFiles, PutBackPodFile
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.memory import KnownPodFile, Memory
from recoverd.model.observation import EndpointHealth, EtcdDataView, ManifestView
from recoverd.model.plan import StepResult
from recoverd.model.pod_files import EMPTY, ENCRYPTION, Is, Named, PodFileView, by_path, named_in
from recoverd.model.points import PointSettings, RestorePoint
from recoverd.model.settings import Mode
from recoverd.model.unit_operations import Unstick
from recoverd.observe.pod_files import asked
from recoverd.playbooks import registry
from recoverd.playbooks.base import Proposal, Refusal, Situation
from tests.unit.builders import NOW, Cluster, manifest
from tests.unit.rungs import ask

API, MANAGER = "kube-apiserver", "kube-controller-manager"
ENC, POLICY, KEY = "/etc/kubernetes/enc/enc.yaml", "/etc/kubernetes/audit.yaml", "/etc/kubernetes/pki/sa.pub"
FLAGS = (f"{ENCRYPTION}={ENC}", f"--audit-policy-file={POLICY}", f"--service-account-key-file={KEY}")
NAME = "restore-pod-files"
HOUR = timedelta(hours=1)
SAID = f'Error: error opening encryption provider configuration file "{ENC}": open {ENC}: no such file or directory'


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def file(text: str, ago: timedelta = 96 * HOUR, **changes: Any) -> PodFileView:
    view = PodFileView(Is.FILE, len(text), sha(text), "600", "0:0", NOW - ago, NOW - ago, keyed=text.startswith("key"))
    return replace(view, **changes)


GOOD = {ENC: file("key 1"), POLICY: file("policy"), KEY: file("public")}
GONE = PodFileView(Is.GONE)


def made(planes: int = 1, **changed: PodFileView) -> Cluster:
    cluster = Cluster(planes, 2)
    for name in cluster.joined:
        manifests = dict(cluster._seen(name).manifests)
        manifests[API] = replace(manifest(API, *FLAGS), modified_at=NOW - 72 * HOUR)
        cluster.host(name, manifests=manifests, pod_files=dict(GOOD))
    cluster._healthy = cluster.observation()
    return look(cluster, "cp1", **changed)


def look(cluster: Cluster, name: str, **changed: PodFileView) -> Cluster:
    files = {"enc": ENC, "policy": POLICY, "key": KEY}
    now = cluster._seen(name).pod_files or {}
    return cluster.host(name, pod_files={**now, **{files[k]: v for k, v in changed.items()}})


def learnt(cluster: Cluster, memory: Memory | None = None) -> Memory:
    memory = memory or cluster.memory()
    return replace(memory, pod_files=known_pod_files(scene(cluster, memory), {})[0])


def scene(cluster: Cluster, memory: Memory) -> Any:
    return situation(cluster, memory).scene


def kept(memory: Memory) -> Memory:
    files = {h: {p: replace(k, kept=True) for p, k in of.items()} for h, of in memory.pod_files.items()}
    return replace(memory, pod_files=files)


def situation(cluster: Cluster, memory: Memory) -> Situation:
    seen = cluster.observation()
    found = diagnose(seen, memory, cluster.settings)
    confirmed = found.faults or found.warnings
    return Situation(NOW, "prod-1", cluster.settings, seen, found, memory, tuple(confirmed))


KNOWN = kept(learnt(made(3)))


def falls(cluster: Cluster, name: str = "cp1", line: str = SAID) -> Cluster:
    """Its API server ends again and again, and says this."""
    cluster.api_down(name)
    containers = dict(cluster._seen(name).containers)
    containers[API] = replace(containers[API], running=False, restarts=4, log_tail=(line,))
    return cluster.host(name, containers=containers)


def found(cluster: Cluster, code: str, memory: Memory = KNOWN) -> list[Finding]:
    return [f for f in diagnose(cluster.observation(), memory, cluster.settings).findings if f.code == code]


# --- what all API servers have to have in common ---


@pytest.mark.parametrize(
    ("changed", "path", "words"),
    [
        ({"enc": file("key 2")}, ENC, ("--encryption-provider-config", "which API server is asked", "as the second")),
        ({"key": file("another")}, KEY, ("--service-account-key-file", "refuses the tokens")),
        ({"policy": file("other")}, POLICY, ("--audit-policy-file", "what is kept of a request")),
    ],
)
def test_a_file_that_is_another_on_one_control_plane_is_told(
    changed: dict[str, PodFileView], path: str, words: tuple[str, ...]
) -> None:
    """Each API server is well by itself, and nothing is done about it."""
    cluster = look(made(3), "cp2", **changed)
    (told,) = found(cluster, Code.POD_FILE_DIFFERS)
    assert told.subject == f"cp2:{path}" and told.severity is Severity.WARNING
    for word in (*words, "than on cp1, cp3", "recoverd copies none"):
        assert word in told.message, told.message
    assert any(line.startswith("cp1: ") and GOOD[path].sha256[:12] in line for line in told.evidence)
    assert [p.name for p in registry() if Code.POD_FILE_DIFFERS in p.repairs] == []
    assert found(look(cluster, "cp2", enc=GOOD[ENC], policy=GOOD[POLICY], key=GOOD[KEY]), Code.POD_FILE_DIFFERS) == []


def test_an_api_server_that_is_not_given_the_encryption_configuration_is_told() -> None:
    cluster = made(3)
    without = dict(cluster._seen("cp3").manifests)
    without[API] = manifest(API, *FLAGS[1:])
    cluster.host("cp3", manifests=without, pod_files={POLICY: GOOD[POLICY], KEY: GOOD[KEY]})
    (told,) = found(cluster, Code.POD_FILE_DIFFERS)
    assert told.subject == f"cp3:{ENC}" and "on cp3 is not given --encryption-provider-config" in told.message
    assert "cp3: --encryption-provider-config: not given" in told.evidence


@pytest.mark.parametrize("view", [GONE, PodFileView(Is.UNSEEN), file("key 2", sha256="")], ids=["gone", "?", "large"])
def test_what_was_not_read_differs_from_nothing(view: PodFileView) -> None:
    assert found(look(made(3), "cp2", enc=view), Code.POD_FILE_DIFFERS) == []


def test_an_api_server_with_several_keys_accepts_the_others_tokens() -> None:
    cluster = look(made(3), "cp2", key=file("another"))
    for name in cluster.joined:
        manifests = dict(cluster._seen(name).manifests)
        manifests[API] = manifest(API, *FLAGS, "--service-account-key-file=/etc/kubernetes/pki/old.pub")
        cluster.host(name, manifests=manifests)
        files = cluster._seen(name).pod_files or {}
        cluster.host(name, pod_files={**files, "/etc/kubernetes/pki/old.pub": file("old")})
    assert found(cluster, Code.POD_FILE_DIFFERS) == []


# --- which files ---

HAPROXY = """
apiVersion: v1
kind: Pod
spec:
  containers:
  - name: haproxy
    image: haproxy
    args: ["--config", "/in/haproxy.cfg", "--log-file=/var/lib/x.log", "--sni=/a.crt,/a.key:example.org"]
    volumeMounts:
    - {name: config, mountPath: /in}
    - {name: scratch, mountPath: /scratch}
    command: [run, --pid=/scratch/pid]
  volumes:
  - {name: config, hostPath: {path: /etc/haproxy}}
  - {name: scratch, emptyDir: {}}
  - {name: kubeconfig, hostPath: {path: /etc/kubernetes/admin.conf}}
  - {name: certs, hostPath: {path: /etc/ssl/certs, type: Directory}}
  - {name: check, hostPath: {path: /etc/keepalived/check.sh, type: FileOrCreate}}
  - {name: run, hostPath: {path: /run/containerd/containerd.sock}}
"""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(("", "etcd", "--data-dir", "--x=/a/b", "/a/b")),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(("spec", "containers", "command", "args", "volumes", "hostPath", "path", "name", "mountPath",
                         "volumeMounts", "type")),
        inner,
        max_size=4,
    ),
)  # fmt: skip


@given(JSON, JSON)
def test_whatever_a_manifest_holds_it_breaks_nothing(spec: object, container: object) -> None:
    for text in (json.dumps({"spec": spec}), json.dumps({"spec": {"containers": [container], "volumes": [container]}})):
        assert isinstance(named_in("kube-vip", text), tuple)


def test_a_container_that_runs_what_its_image_says_names_nothing() -> None:
    assert named_in("kube-vip", "spec: {containers: [{name: kube-vip, image: kube-vip}]}") == ()


def test_flags_and_mounts_name_files_where_they_are_on_the_machine() -> None:
    assert named_in("haproxy", HAPROXY) == (
        Named("/etc/haproxy/haproxy.cfg", "haproxy", "--config"),
        Named("/a.crt", "haproxy", "--sni"),
        Named("/a.key", "haproxy", "--sni"),
        Named("/etc/haproxy", "haproxy"),
        Named("/etc/kubernetes/admin.conf", "haproxy"),
        Named("/etc/keepalived/check.sh", "haproxy"),
    )


@pytest.mark.parametrize("text", ["", "spec: [", "spec: {containers: 3}", "- a", "spec: {volumes: [{hostPath: {}}]}"])
def test_a_manifest_that_cannot_be_read_names_nothing(text: str) -> None:
    assert named_in(API, text) == ()


@pytest.mark.parametrize(
    "flag",
    [
        "--audit-log-path=/data/audit.log", "--log-file=/data/x", "--data-dir=/data/etcd", "--cert-dir=/etc/x",
        "--kubeconfig=/etc/kubernetes/scheduler.conf", "--tls-cert-file=/etc/kubernetes/pki/apiserver.crt",
        "--x=/etc/a b", "--x=/etc/$(touch pwned)", "--x=/proc/1/environ", "--x=/etc/../proc/1/environ", "--x=relative",
    ],
)  # fmt: skip
def test_what_is_written_to_what_the_copies_of_certificates_hold_and_odd_names_are_left_alone(flag: str) -> None:
    assert named_in(API, manifest(API, flag).content) == ()


def test_a_machine_is_asked_for_what_is_named_now_was_named_and_is_known_and_for_no_more_than_64() -> None:
    many = {"x": manifest("x", *(f"--f{i}=/etc/x/{i}" for i in range(90)))}
    assert len(by_path(many)) == len(asked("cp1", many, None, KNOWN).paths) == 64
    seen: dict[str, ManifestView] = {"x": manifest("x", "--a=/etc/x/a")}
    now = asked("cp1", seen, None, KNOWN)
    assert set(now.paths) == {"/etc/x/a", ENC, POLICY, KEY} and (now.encrypting, now.followed) == ((ENC,), ())


# --- what files name further ---

ADMISSION, PLUGIN = "/etc/kubernetes/admission/config.yaml", "/etc/kubernetes/admission/images.yaml"
HOOK, CA, CERT = "/etc/kubernetes/admission/hook.conf", "/etc/hook/ca.crt", "/etc/hook/tls.crt"
CHAIN = {
    ADMISSION: file("admission", names=("path images.yaml",)),
    PLUGIN: file("plugin", names=("kubeConfigFile /etc/kubernetes/admission/hook.conf", "path /etc/passwd;x")),
    HOOK: file("kubeconfig", names=(f"certificate-authority {CA}", "client-certificate ../x", f"client-key {ENC}")),
    CA: file("ca", names=("path /etc/never",)),
}
CALLS = f"--admission-control-config-file={ADMISSION}"


def chained(planes: int = 1, **changed: PodFileView) -> Cluster:
    cluster = Cluster(planes, 2)
    for name in cluster.joined:
        manifests = dict(cluster._seen(name).manifests)
        manifests[API] = replace(manifest(API, CALLS), modified_at=NOW - 72 * HOUR)
        cluster.host(name, manifests=manifests, pod_files=dict(CHAIN))
    cluster._healthy = cluster.observation()
    return cluster


def without(cluster: Cluster, *paths: str) -> Cluster:
    return cluster.host("cp1", pod_files={**(cluster._seen("cp1").pod_files or {}), **dict.fromkeys(paths, GONE)})


def test_files_of_admission_and_of_its_webhooks_are_followed_so_far_and_no_further() -> None:
    named = by_path({API: manifest(API, CALLS)}, CHAIN)
    assert {p: [str(n) for n in by] for p, by in named.items()} == {
        ADMISSION: [f"--admission-control-config-file of {API}"],
        PLUGIN: [f"path in {ADMISSION} of {API}"],
        HOOK: [f"kubeConfigFile in {PLUGIN} of {API}"],
        CA: [f"certificate-authority in {HOOK} of {API}"],
        ENC: [f"client-key in {HOOK} of {API}"],
    }
    assert by_path({API: manifest(API, f"--audit-policy-file={ADMISSION}")}, CHAIN).keys() == {ADMISSION}


def test_a_file_that_names_itself_ends() -> None:
    loop = {
        ADMISSION: file("x", names=(f"path {ADMISSION}", f"path {PLUGIN}")),
        PLUGIN: file("y", names=(f"path {ADMISSION}",)),
    }
    assert set(by_path({API: manifest(API, CALLS)}, loop)) == {ADMISSION, PLUGIN}


def test_where_it_is_mounted_elsewhere_the_file_of_the_machine_is_meant() -> None:
    text = """spec:
  containers:
  - name: a
    command: [a, --authentication-token-webhook-config-file=/in/hook.conf]
    volumeMounts: [{name: v, mountPath: /in}]
  volumes: [{name: v, hostPath: {path: /etc/hook, type: Directory}}]
"""
    view = {"/etc/hook/hook.conf": file("x", names=("certificate-authority /in/ca.crt", "client-key key.pem"))}
    seen = ManifestView("/x", "", text)
    assert set(by_path({API: seen}, view)) == {"/etc/hook/hook.conf", "/etc/hook/ca.crt", "/etc/hook/key.pem"}


def test_they_are_asked_for_level_by_level_known_and_missed() -> None:
    first = asked("cp1", {API: manifest(API, CALLS)}, None, Memory())
    assert (first.paths, first.followed) == ((ADMISSION,), (ADMISSION,))
    then = asked("cp1", {API: manifest(API, CALLS)}, CHAIN, Memory())
    assert set(then.paths) == {*CHAIN, ENC} and set(then.followed) == {ADMISSION, PLUGIN, HOOK}
    known = kept(learnt(chained()))
    assert {p: k.names for p, k in known.pod_files["cp1"].items()} == {p: v.names for p, v in CHAIN.items()}
    said = f"Error: unable to read certificate-authority {CA} for x due to open {CA}: no such file or directory"
    [one] = found(falls(without(chained(), CA), line=said), Code.POD_FILE_MISSING, known)
    assert one.severity is Severity.FAULT and f"certificate-authority in {HOOK} of {API}" in one.message


def test_what_names_them_being_gone_too_they_are_known_still_and_asked_for() -> None:
    known = kept(learnt(chained()))
    cluster = falls(without(chained(), HOOK, CA), line=f"Error: open {HOOK}: no such file or directory")
    assert {f.subject for f in found(cluster, Code.POD_FILE_MISSING, known)} == {f"cp1:{HOOK}", f"cp1:{CA}"}
    files = asked("cp1", {API: manifest(API, CALLS)}, cluster._seen("cp1").pod_files, known)
    assert {HOOK, CA} <= set(files.paths)
    assert known_pod_files(scene(cluster, known), {})[0] == known.pod_files


def test_that_nothing_names_it_any_more_is_proven_by_what_names_files_alone() -> None:
    key = (Code.POD_FILE_MISSING, f"cp1:{CA}")
    gone = without(chained(), HOOK)
    gone.host("cp1", pod_files={p: v for p, v in (gone._seen("cp1").pod_files or {}).items() if p != CA})
    seen = gone.observation()
    why = doubt([key], diagnose(seen, gone.memory(), gone.settings), seen)
    assert f"{HOOK} on cp1, which may name {CA}, could not be read" in why
    other = chained().host("cp1", pod_files={**CHAIN, HOOK: file("kubeconfig")})
    seen = other.observation()
    assert not doubt([key], diagnose(seen, other.memory(), other.settings), seen)


# --- what is known ---


def test_what_runs_was_started_with_is_known_and_nothing_of_what_it_holds() -> None:
    known = learnt(made()).pod_files["cp1"]
    assert known == {p: KnownPodFile(v.sha256, "600", "0:0", NOW) for p, v in GOOD.items()}
    assert "key 1" not in dump(KNOWN)
    assert learnt(made(3), KNOWN).pod_files == KNOWN.pod_files, "nothing new is no write"


def test_an_edit_is_known_only_when_it_was_started_with_and_the_older_copy_is_told_to_be_older() -> None:
    edited = made(3, enc=file("key 2", HOUR))
    after = learnt(edited, KNOWN)
    assert after.pod_files["cp1"][ENC] == replace(KNOWN.pod_files["cp1"][ENC], newer=sha("key 2"))
    containers = edited._seen("cp1").containers
    edited.host("cp1", containers={**containers, API: replace(containers[API], started_at=NOW - HOUR / 2)})
    assert learnt(edited, after).pod_files["cp1"][ENC] == KnownPodFile(sha("key 2"), "600", "0:0", NOW)
    assert learnt(made(3), after).pod_files["cp1"][ENC].newer == "", "it is as it was"


def test_a_file_that_was_moved_into_place_keeps_its_age_and_is_new_all_the_same() -> None:
    moved = made(3, enc=file("key 2", changed_at=NOW - HOUR))
    assert learnt(moved, KNOWN).pod_files["cp1"][ENC].sha256 == sha("key 1")


def test_a_mode_that_was_changed_is_known_and_the_copy_stays() -> None:
    wider = learnt(made(3, enc=file("key 1", mode="640")), KNOWN).pod_files["cp1"][ENC]
    assert (wider.mode, wider.kept) == ("640", True)


@pytest.mark.parametrize(
    "what", [GONE, PodFileView(Is.UNSEEN), PodFileView(Is.DIRECTORY), file(""), file("key 1", sha256="")]
)
def test_what_is_not_a_file_that_was_read_is_not_known_and_does_not_end_what_is(what: PodFileView) -> None:
    assert ENC not in learnt(made(enc=what)).pod_files["cp1"]
    assert learnt(made(3, enc=what), KNOWN).pod_files == KNOWN.pod_files


def test_what_its_reader_was_started_without_is_forgotten_and_what_nobody_names_as_well() -> None:
    cluster = made(3, enc=GONE)
    files, sights = known_pod_files(scene(cluster, KNOWN), {})
    assert files == KNOWN.pod_files and sights == {("cp1", "pod-file", ENC): NOW}
    since = {("cp1", "pod-file", ENC): NOW - 100 * HOUR}
    assert ENC not in known_pod_files(scene(cluster, KNOWN), since)[0]["cp1"]
    manifests = {**made()._seen("cp1").manifests, API: manifest(API, *FLAGS[1:])}
    cluster = made(3).host("cp1", manifests=manifests)
    assert ENC in learnt(cluster, KNOWN).pod_files["cp1"], "its known-good manifest names it still"
    memory = replace(KNOWN, manifests={})
    assert ENC not in learnt(cluster, memory).pod_files["cp1"]


def test_what_another_pod_names_is_known_when_it_has_stood_for_a_while() -> None:
    pod = {"kube-vip": ManifestView("/etc/kubernetes/manifests/kube-vip.yaml", "x", HAPROXY)}
    path = "/etc/haproxy/haproxy.cfg"

    def after(view: PodFileView, memory: Memory | None = None) -> KnownPodFile | None:
        cluster = made()
        cluster.host("cp1", manifests={**cluster._seen("cp1").manifests, **pod}, pod_files={**GOOD, path: view})
        return learnt(cluster, memory).pod_files["cp1"].get(path)

    assert after(file("a", timedelta(seconds=30))) is None
    first = after(file("a", HOUR))
    assert first is not None and first.sha256 == sha("a")
    memory = replace(made().memory(), pod_files={"cp1": {path: first}})
    edited, meant = after(file("b", HOUR), memory), after(file("b", 25 * HOUR), memory)
    assert edited and meant and (edited.sha256, edited.newer, meant.sha256) == (sha("a"), sha("b"), sha("b"))


# --- what is found ---


def test_nothing_is_said_of_how_a_pod_does_that_is_not_looked_at() -> None:
    path, cluster = "/etc/haproxy/haproxy.cfg", made(3)
    pod = {"haproxy": ManifestView("/etc/kubernetes/manifests/haproxy.yaml", "x", HAPROXY)}
    cluster.host("cp1", manifests={**cluster._seen("cp1").manifests, **pod}, pod_files={**GOOD, path: GONE})
    known = KnownPodFile(sha("a"), "644", "0:0", NOW)
    memory = replace(KNOWN, pod_files={"cp1": {**KNOWN.pod_files["cp1"], path: known}})
    (warning,) = [f for f in found(cluster, Code.POD_FILE_MISSING, memory) if f.subject == f"cp1:{path}"]
    assert "whether what names it runs is not looked at" in warning.message and "runs on" not in warning.message


def test_a_file_that_is_gone_is_a_fault_where_what_names_it_does_not_run() -> None:
    (fault,) = found(falls(made(3, enc=GONE)), Code.POD_FILE_MISSING)
    assert (fault.subject, fault.severity, fault.state) == (f"cp1:{ENC}", Severity.FAULT, State.APISERVER_DOWN)
    assert f"{ENCRYPTION} of {API}" in fault.message and "nobody can read the secrets" in fault.message
    assert any(SAID in line for line in fault.evidence)
    (warning,) = found(made(3, policy=GONE), Code.POD_FILE_MISSING)
    assert warning.severity is Severity.WARNING and "does not start again" in warning.message
    diagnosis = diagnose(falls(made(3, enc=GONE)).observation(), KNOWN, Cluster(3).settings)
    assert diagnosis.faults[0].code == Code.POD_FILE_MISSING, "before the crash loop, which it explains"


@pytest.mark.parametrize("what", [PodFileView(Is.DIRECTORY), file("", sha256=EMPTY)])
def test_what_kubelet_or_the_runtime_makes_of_a_file_that_is_gone_is_none(what: PodFileView) -> None:
    (fault,) = found(falls(made(3, enc=what)), Code.POD_FILE_MISSING)
    assert "in its place" in " ".join(fault.evidence)


@pytest.mark.parametrize("what", [PodFileView(Is.UNSEEN), PodFileView(Is.OTHER), file("key 1")])
def test_nothing_is_concluded_from_what_could_not_be_told(what: PodFileView) -> None:
    cluster = falls(made(3, enc=what))
    assert not [*found(cluster, Code.POD_FILE_MISSING), *found(cluster, Code.POD_FILE_CHANGED)]
    assert not found(falls(made(3, enc=GONE)).host("cp1", pod_files=None), Code.POD_FILE_MISSING)
    assert not found(falls(made(3, enc=GONE)).host("cp1", problems=("manifests: cut",)), Code.POD_FILE_MISSING)


def test_one_that_was_never_seen_is_missed_only_where_its_reader_says_so() -> None:
    nothing = replace(KNOWN, pod_files={})
    (fault,) = found(falls(made(3, enc=GONE)), Code.POD_FILE_MISSING, nothing)
    assert fault.severity is Severity.FAULT
    assert not found(falls(made(3, policy=GONE)), Code.POD_FILE_MISSING, nothing), "the log names another"
    assert not found(made(3, policy=GONE), Code.POD_FILE_MISSING, nothing)
    edited = {**nothing.manifests["cp1"], API: replace(nothing.manifests["cp1"][API], sha256="of before")}
    before = replace(nothing, manifests={**nothing.manifests, "cp1": edited})
    assert not found(falls(made(3, enc=GONE)), Code.POD_FILE_MISSING, before), "a person has just named it"


def test_a_file_of_a_pod_that_is_not_looked_at_is_a_fault_where_the_address_is_silent() -> None:
    path, text = "/etc/kubernetes/admin.conf", HAPROXY
    vip = {"kube-vip": ManifestView("/etc/kubernetes/manifests/kube-vip.yaml", "x", text)}
    memory = replace(KNOWN, pod_files={"cp1": {path: KnownPodFile("aa", "600", "0:0", NOW, kept=True)}})
    cluster = made(3)
    cluster.host("cp1", manifests={**cluster._seen("cp1").manifests, **vip}, pod_files={**GOOD, path: GONE})
    assert [f.severity for f in found(cluster, Code.POD_FILE_MISSING, memory)] == [Severity.WARNING]
    cluster.vip = replace(cluster.vip, health=EndpointHealth.UNREACHABLE)
    assert [f.severity for f in found(cluster, Code.POD_FILE_MISSING, memory)] == [Severity.FAULT]


def test_another_file_is_found_only_where_it_is_the_cause() -> None:
    changed = file("broken", HOUR)
    (fault,) = found(falls(made(3, enc=changed)), Code.POD_FILE_CHANGED)
    assert fault.subject == f"cp1:{ENC}" and fault.severity is Severity.FAULT
    assert found(falls(made(3, enc=changed), line="illegal base64 data"), Code.POD_FILE_CHANGED), "it ends all the time"
    assert not found(made(3, enc=changed), Code.POD_FILE_CHANGED), "it runs"
    without_etcd = falls(made(3, enc=changed), line="no leader").etcd_stopped("cp1")
    assert not found(without_etcd, Code.POD_FILE_CHANGED), "it would end as well without"
    assert not found(falls(made(3, key=changed)), Code.POD_FILE_CHANGED), "what was renewed shows by certificates"


def test_the_loss_of_a_file_is_over_when_it_is_seen_or_named_no_more() -> None:
    key = (Code.POD_FILE_MISSING, f"cp1:{ENC}")

    def left(cluster: Cluster) -> str:
        seen = cluster.observation()
        return doubt([key], diagnose(seen, KNOWN, cluster.settings), seen)

    assert left(made(3)) == ""
    assert left(made(3).host("cp1", manifests={API: manifest(API)}, pod_files={})) == ""
    for cluster in (
        made(3, enc=PodFileView(Is.UNSEEN)),
        made(3).host("cp1", pod_files=None),
        made(3).host("cp1", problems=("manifests is not in the look",)),
        made(3).ssh_fails("cp1"),
    ):
        assert "cp1" in left(cluster)


# --- encryption at rest ---


def point(*files: str) -> RestorePoint:
    return RestorePoint(
        "prod-1", 0.0, "schedule", "cp1", "/p", "aa", 1, "c", 1, 1, 0.0, "restored", "/d", pod_files=files
    )


def test_a_key_that_is_in_no_restore_point_is_warned_of() -> None:
    cluster = made()
    held = replace(KNOWN, points=(point(f"cp1:{ENC} {sha('key 1')}"),))
    (warning,) = found(cluster, Code.ENCRYPTION_KEY_NOT_KEPT, held)
    assert warning.severity is Severity.WARNING and "keys_on_bastion" in " ".join(warning.evidence)
    cluster.settings = replace(cluster.settings, points=PointSettings(keys_on_bastion=True))
    assert not found(cluster, Code.ENCRYPTION_KEY_NOT_KEPT, held)
    assert found(cluster, Code.ENCRYPTION_KEY_NOT_KEPT, KNOWN), "there is no point"
    older = replace(KNOWN, points=(point(f"cp1:{ENC} {sha('key 0')}"),))
    assert found(cluster, Code.ENCRYPTION_KEY_NOT_KEPT, older), "the point has the key before"
    assert not found(made(enc=file("kms", keyed=False)), Code.ENCRYPTION_KEY_NOT_KEPT), "the key is not in the file"


# --- what is done ---


def proposed(cluster: Cluster, memory: Memory = KNOWN) -> Proposal:
    answer = ask(NAME, situation(cluster, memory))
    assert isinstance(answer, Proposal), answer
    return answer


def test_what_is_gone_is_put_back_unasked_and_what_waits_is_started() -> None:
    made_of = proposed(falls(made(3, enc=GONE)))
    put, start, wait = (s.operation for s in made_of.steps)
    assert put == PutBackPodFile(ENC, sha("key 1"), "600", "0:0")
    assert (start, wait) == (Unstick(API, 10), AwaitApi())
    assert made_of.asks == "" and not made_of.destructive
    assert "key 1" not in dump(made_of)


def test_several_files_of_one_machine_come_back_together() -> None:
    cluster = falls(made(3, enc=GONE, key=file("", sha256=EMPTY)))
    puts = [s.operation for s in proposed(cluster).steps if isinstance(s.operation, PutBackPodFile)]
    assert [(p.path, p.before) for p in puts] == [(ENC, ""), (KEY, EMPTY)]
    assert puts[1].keep.startswith("/var/lib/recoverd/pod-files/before-")


def test_a_file_that_was_changed_is_asked_about_and_kept() -> None:
    made_of = proposed(falls(made(3, enc=file("key 2", HOUR))))
    assert "somebody has changed" in made_of.asks and "cannot be read with the older file" in made_of.asks
    (put,) = (s.operation for s in made_of.steps if isinstance(s.operation, PutBackPodFile))
    assert put.before == sha("key 2") and put.keep.endswith("/etc_kubernetes_enc_enc.yaml")


def test_a_key_that_may_have_been_rotated_is_never_put_back_unasked() -> None:
    newer = replace(KNOWN.pod_files["cp1"][ENC], newer=sha("key 2"))
    since = replace(KNOWN, pod_files={**KNOWN.pod_files, "cp1": {**KNOWN.pod_files["cp1"], ENC: newer}})
    assert "another one was seen since" in proposed(falls(made(3, enc=GONE)), since).asks
    elsewhere = look(falls(made(3, enc=GONE)), "cp2", enc=file("key 2", HOUR))
    assert "another one was seen since" in proposed(elsewhere).asks
    policy = look(falls(made(3, policy=GONE)), "cp2", policy=file("another policy", HOUR))
    assert proposed(policy).asks == "", "policies may differ"


def test_what_is_gone_from_several_machines_at_once_is_asked_about() -> None:
    cluster = falls(look(falls(made(3, enc=GONE)), "cp2", enc=GONE), "cp2")
    assert "at once" in proposed(cluster).asks


@pytest.mark.parametrize("memory", [replace(KNOWN, pod_files={}), learnt(made(3))])
def test_without_a_copy_it_is_refused_with_the_file_the_flag_and_what_to_do(memory: Memory) -> None:
    answer = ask(NAME, situation(falls(made(3, enc=GONE)), memory))
    assert isinstance(answer, Refusal)
    for words in (ENC, ENCRYPTION, "from a backup", "cannot be read"):
        assert words in answer.reason


def test_keys_that_are_gone_with_their_certificates_are_left_to_restore_pki() -> None:
    now = situation(falls(made(3, key=GONE)), KNOWN)
    gone = Finding(Code.CERTIFICATE_MISSING, "cp1:x", "gone", (), facts=now.confirmed[0].facts)
    answer = ask(NAME, replace(now, diagnosis=replace(now.diagnosis, findings=(*now.diagnosis.findings, gone))))
    assert isinstance(answer, Refusal) and "restore-pki" in answer.reason


def test_what_would_start_over_nothing_is_refused() -> None:
    cluster = (
        falls(made(1, enc=GONE)).etcd_stopped("cp1").host("cp1", etcd_data=EtcdDataView("/var/lib/etcd", True, True))
    )
    memory = kept(learnt(made(1)))
    gone = tuple(found(cluster, Code.POD_FILE_MISSING, memory))
    answer = ask(NAME, replace(situation(cluster, memory), confirmed=gone))
    assert isinstance(answer, Refusal) and "is not put back" in answer.reason


# --- the copies ---


def test_copies_are_asked_for_once_and_count_when_they_are_made() -> None:
    cluster = made()
    machine = ClusterMachine(cluster.settings, registry(), now=NOW, memory=cluster.memory())

    def sweep(later: timedelta = timedelta(seconds=5)) -> list[PerformChore]:
        cluster.now += later
        out = machine.handle(Observed(cluster.observation()))
        return [i for i in out if isinstance(i, PerformChore) and isinstance(i.step.operation, KeepPodFiles)]

    (keep,) = sweep()
    operation = keep.step.operation
    assert isinstance(operation, KeepPodFiles) and set(operation.paths) == set(GOOD)
    assert not sweep()
    told = machine.handle(ChoreEnded(keep.step, StepResult(False, "no room"), cluster.now))
    assert any("no room" in str(i) for i in told) and not sweep() and len(sweep(timedelta(minutes=11))) == 1
    machine.handle(ChoreEnded(keep.step, StepResult(True, "done"), cluster.now))
    assert all(k.kept for k in machine.memory.pod_files["cp1"].values()) and not sweep(timedelta(minutes=11))


def test_an_observed_cluster_keeps_no_copies() -> None:
    cluster = made()
    settings = replace(cluster.settings, mode=Mode.OBSERVE)
    machine = ClusterMachine(settings, registry(), now=NOW, memory=cluster.memory())
    for _ in range(3):
        cluster.now += timedelta(seconds=5)
        out = machine.handle(Observed(cluster.observation()))
        assert not [i for i in out if isinstance(i, PerformChore)]
