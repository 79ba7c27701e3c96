"""What a join runs on the machines, in POSIX sh. The job on the new machine outlives the connection and the daemon, and never its own deadline."""

from __future__ import annotations

import base64
import shlex
from dataclasses import dataclass
from enum import StrEnum

from recoverd.model.join_operations import JOB, MARK, JoinControlPlane
from recoverd.model.operations import HELD, MANIFESTS
from recoverd.model.shell import PIDS

RESET_SECONDS = 60
ADMIN = "/etc/kubernetes/admin.conf"
UPLOADED = "recoverd.io/join"
"""Annotation of the Secret kubeadm-certs: the label of the join that has uploaded it."""
DATA = "/var/lib/etcd"
STOPPED = f"{MARK}.stopped"
"""On the new machine: the label of the join that was given up last, so that it does not begin afterwards."""
CNI = "/etc/cni/net.d"
STATIC = "etcd kube-apiserver kube-controller-manager kube-scheduler"


class State(StrEnum):
    """How the job on the new machine stands."""

    NONE = "none"
    """This join has not begun there."""
    RUNNING = "running"
    ENDED = "ended"
    FAILED = "failed"
    LOST = "lost"
    """It had begun, does not run, and has left no exit status."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What `kubeadm join` needs; `repr` tells nothing."""

    endpoint: str
    token: str
    ca_hash: str
    key: str

    def __repr__(self) -> str:
        return "Secrets(...)"


_KUBECTL = f"kubectl --kubeconfig {ADMIN} -n kube-system --request-timeout=5s"


def _description(label: str) -> str:
    """What the token of a join says of itself, for it to be found again: its secret is kept nowhere."""
    return f"recoverd join {label}"


def secrets(label: str) -> str:
    """Upload the certificates, make a token, and print the key and the command to join with. Both are marked with the label.

    An upload by somebody else replaces the Secret, its annotations included. One that could not be marked is left to end by itself.
    """
    return f"""set -eu
key=$(kubeadm init phase upload-certs --upload-certs 2>/dev/null | grep -xE '[0-9a-f]{{64}}' | tail -n 1)
[ -n "$key" ] || {{ kubeadm init phase upload-certs --upload-certs 2>&1 >/dev/null | tail -n 3 >&2; exit 1; }}
timeout 6 {_KUBECTL} annotate secret kubeadm-certs --overwrite {UPLOADED}={shlex.quote(label)} >/dev/null 2>&1 || :
echo "key $key"
kubeadm token create --ttl 1h --description {shlex.quote(_description(label))} --print-join-command 2>/dev/null ||
  {{ echo 'kubeadm token create failed' >&2; exit 1; }}"""


def forget(label: str) -> str:
    """Delete what `secrets` made for this very join: the token, the Secret, and the token that kubeadm made to end the Secret; nobody else's."""
    told = base64.b64encode(_description(label).encode()).decode()
    tokens = '{range .items[*]}{.metadata.name} {.data.description}{"\\n"}{end}'
    mark = f"{{.metadata.annotations.{UPLOADED.replace('.', chr(92) + '.')}}} {{.metadata.ownerReferences[*].name}}"
    return f"""k() {{ {_KUBECTL} "$@"; }}
tokens=$(k get secrets --field-selector type=bootstrap.kubernetes.io/token -o jsonpath={shlex.quote(tokens)}) || exit 1
names=$(printf '%s\\n' "$tokens" | while read -r n d; do [ "$d" != {told} ] || echo "$n"; done)
mark=$(k get secret kubeadm-certs --ignore-not-found -o jsonpath={shlex.quote(mark)}) || exit 1
case $mark in {shlex.quote(label)}" "*)
  for n in ${{mark#* }}; do case $n in bootstrap-token-*) names="$names $n" ;; esac; done; names="$names kubeadm-certs" ;;
esac
set -- $names
[ $# = 0 ] || k delete secret --ignore-not-found --wait=false "$@" >/dev/null"""


WHY = f"""tail -n 4 {JOB}/log 2>/dev/null
log=$(ls -t /var/log/pods/kube-system_etcd-*/etcd/*.log 2>/dev/null | head -n 1)
[ -z "$log" ] || {{ echo 'etcd there said:'; tail -n 2 "$log" | cut -c1-280; }}"""

_SOCKET = """socket=
if [ ! -S /run/docker.sock ]; then
  for s in /run/containerd/containerd.sock /run/crio/crio.sock; do [ -S $s ] && { socket=unix://$s; break; }; done
fi"""
"""Two runtimes make kubeadm ask; docker, where it is, is what kubeadm takes by itself."""


def _mine(label: str) -> str:
    """A shell function: has the join with this label begun on this machine?"""
    return f'mine() {{ l=; read -r l 2>/dev/null <{MARK} && [ "$l" = {shlex.quote(label)} ]; }}'


def _stopped(label: str) -> str:
    """A shell function: has the join with this label been given up?"""
    return f'stopped() {{ l=; read -r l 2>/dev/null <{STOPPED} && [ "$l" = {shlex.quote(label)} ]; }}'


def start(it: JoinControlPlane, secrets: Secrets) -> str:
    """Mark the machine, which must be clean, and begin `kubeadm join` in the background with a deadline of its own."""
    skip = " --skip-phases=preflight" if it.skip_preflight else ""
    join = f"timeout -s KILL {it.seconds} kubeadm join --config {JOB}/config.yaml{skip}"
    given_up = f"{_stopped(it.label)}; stopped && {{ rm -f {JOB}/config.yaml; exit; }}"
    job = f"umask 022; {given_up}; {join} >{JOB}/log 2>&1; r=$?; rm -f {JOB}/config.yaml; echo $r >{JOB}/rc.new; mv {JOB}/rc.new {JOB}/rc"
    label = shlex.quote(it.label)
    return f"""set -eu; umask 077
{_stopped(it.label)}
for f in /etc/kubernetes/*.conf {MANIFESTS}/*.yaml {DATA}/member; do
  [ ! -e "$f" ] || {{ echo "$f is there already, so nothing was changed" >&2; exit 3; }}
done
kind=$(kubeadm config print join-defaults 2>/dev/null | sed -n 's/^apiVersion: *//p' | head -n 1)
[ -n "$kind" ] || {{ echo 'kubeadm config print join-defaults says nothing' >&2; exit 3; }}
{_SOCKET}
cri=; [ -z "$socket" ] || cri="criSocket: \"$socket\", "
rm -rf {JOB}; mkdir -p {JOB} {MARK.rsplit("/", 1)[0]}
cat >{JOB}/config.yaml <<RECOVERD_END
apiVersion: $kind
kind: JoinConfiguration
discovery: {{bootstrapToken: {{token: "{secrets.token}", apiServerEndpoint: "{secrets.endpoint}", caCertHashes: ["{secrets.ca_hash}"]}}}}
nodeRegistration: {{${{cri}}name: "{it.name}"}}
controlPlane: {{certificateKey: "{secrets.key}", localAPIEndpoint: {{advertiseAddress: "{it.address}"}}}}
RECOVERD_END
printf '%s\\n' {label} >{MARK}.new; ls -A {CNI} >>{MARK}.new 2>/dev/null || true
mv {MARK}.new {MARK}; sync {MARK} 2>/dev/null || sync
if stopped; then rm -rf {JOB} {MARK}; echo 'the join was given up before it had begun here' >&2; exit 3; fi
setsid sh -c {shlex.quote(job)} recoverd-join </dev/null >/dev/null 2>&1 &
echo $! >{JOB}/pid"""


def state(label: str) -> str:
    """Print the `State` of the job with a label."""
    return f"""{_mine(label)}
mine || {{ echo none; exit 0; }}
[ -e {JOB}/rc ] && {{ [ "$(cat {JOB}/rc)" = 0 ] && echo ended || echo failed; exit 0; }}
p=$(cat {JOB}/pid 2>/dev/null) && grep -qa recoverd-join /proc/$p/cmdline 2>/dev/null && {{ echo running; exit 0; }}
[ -e {JOB}/rc ] && [ "$(cat {JOB}/rc)" = 0 ] && echo ended || echo lost"""


def stop(label: str) -> str:
    """End the job, whatever it is at, and let none begin any more; print whether it had begun on this machine.

    A start whose connection was lost may still be at work, before its mark: it looks at what is left here after it has made that.
    """
    return f"""{_mine(label)}
umask 077; mkdir -p {STOPPED.rsplit("/", 1)[0]}; printf '%s\\n' {shlex.quote(label)} >{STOPPED}.new; mv {STOPPED}.new {STOPPED}
mine || {{ echo none; exit 0; }}
p=$(cat {JOB}/pid 2>/dev/null) && grep -qa recoverd-join /proc/$p/cmdline 2>/dev/null && kill -s KILL $p
for c in /proc/[0-9]*/comm; do
  n=; read -r n 2>/dev/null <$c && [ "$n" = kubeadm ] && p=${{c%/comm}} && tr '\\0' ' ' <$p/cmdline 2>/dev/null | grep -q '{JOB}/config' &&
    kill -s KILL ${{p##*/}}
done
rm -f {JOB}/config.yaml; echo begun"""


def silence(label: str) -> str:
    """End etcd and the API server that the join has begun, at once: their data are of no use to anybody. Only on the marked machine."""
    return f"""{_mine(label)}
mine || exit 0
{PIDS}
mkdir -p {HELD}; for c in {STATIC}; do [ ! -e {MANIFESTS}/$c.yaml ] || mv -f {MANIFESTS}/$c.yaml {HELD}/joining-$c.yaml; done
i=0; while [ $i -lt 30 ]; do
  found=$(pids etcd; pids kube-apiserver); [ -n "$(echo $found)" ] || exit 0
  for p in $found; do kill -s KILL ${{p##*/}} 2>/dev/null; done; i=$((i+1)); sleep 0.3
done; echo "etcd or the API server still runs after 9 s" >&2; exit 1"""


def clean(label: str) -> str:
    """Make the machine as it was: kubeadm reset with a deadline, then by hand whatever it left. The mark goes last, so it can be repeated."""
    return f"""{_mine(label)}
mine || {{ echo 'nothing was begun there'; exit 0; }}
{_SOCKET}
mkdir -p {JOB}
if timeout -k 1 {RESET_SECONDS} kubeadm reset -f ${{socket:+--cri-socket=$socket}} >{JOB}/reset.log 2>&1 </dev/null
then how='kubeadm reset ended well'; else how="kubeadm reset failed or hung (status $?), cleaned by hand"; fi
timeout 20 systemctl stop kubelet 2>/dev/null
rm -f {MANIFESTS}/*.yaml {HELD}/joining-*.yaml
i=0; while [ $i -lt 20 ]; do
  left=; for c in /proc/[0-9]*/cgroup; do grep -q kubepods $c 2>/dev/null && {{ p=${{c%/cgroup}}; left="$left ${{p##*/}}"; }}; done
  [ -n "$left" ] || break
  kill -s KILL $left 2>/dev/null; i=$((i+1)); sleep 0.3
done
if command -v crictl >/dev/null; then
  crictl="timeout 10 crictl ${{socket:+--runtime-endpoint=$socket}}"
  for p in $($crictl pods -q 2>/dev/null); do $crictl rmp -f $p; done >/dev/null 2>&1
elif [ "$socket" = unix:///run/containerd/containerd.sock ] && command -v ctr >/dev/null; then
  for c in $(timeout 5 ctr -n k8s.io containers ls -q 2>/dev/null); do
    timeout 5 ctr -n k8s.io tasks rm -f $c; timeout 5 ctr -n k8s.io containers rm $c
  done >/dev/null 2>&1
fi
sed -n 's|^[^ ]* \\(/var/lib/kubelet/[^ ]*\\) .*|\\1|p' /proc/mounts | sort -r | while read -r m; do umount -l "$m"; done 2>/dev/null
rm -rf /etc/kubernetes/*.conf /etc/kubernetes/pki {HELD} {DATA}/member /var/lib/kubelet/pki /var/lib/kubelet/pods
rm -rf /var/lib/kubelet/config.yaml /var/lib/kubelet/kubeadm-flags.env /var/lib/kubelet/*_manager_state
rm -rf /var/log/pods/kube-system_* /var/lib/cni/networks /var/lib/cni/results
for f in {CNI}/*; do [ ! -e "$f" ] || sed 1d {MARK} | grep -qxF "${{f##*/}}" || rm -rf "$f"; done
mkdir -p {MANIFESTS}
for f in /etc/kubernetes/*.conf {MANIFESTS}/*.yaml /etc/kubernetes/pki {DATA}/member; do
  [ ! -e "$f" ] || {{ echo "$f is still there ($how)" >&2; exit 1; }}
done
rm -rf {JOB} {MARK}
echo "$how\""""


def delete_node(name: str) -> str:
    """Delete the Node object that the join has made, from a control plane. A load balancer before it may find it ready later."""
    delete = f"timeout 10 kubectl --kubeconfig {ADMIN} delete node {shlex.quote(name)} --ignore-not-found --wait=false"
    return f"i=0; until {delete}; do i=$((i+1)); [ $i -lt 5 ] || exit 1; sleep 3; done"
