"""The few things that recoverd can do to a machine or a cluster, as data.

A playbook composes these; `recoverd.act` carries them out over SSH and `recoverd.simulate` against the model cluster, so a new playbook needs
neither changed. Each host operation renders the exact shell script that will run (`command`), a script that exits 0 when its effect is already
there (`check`, used after a crash before anything is repeated), and the operation that takes it back (`inverse`). Scripts are POSIX sh, since
nodes need not have bash or Python, and run as root (or through `sudo -n`).
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Literal

MANIFESTS = "/etc/kubernetes/manifests"
HELD = "/etc/kubernetes/recoverd"
"""Where manifests are kept that were taken out of kubelet's sight; same file system as MANIFESTS, so a rename is atomic."""


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Write a file whole: beside the directory it belongs in, then renamed in, since kubelet reads half-written files (observed).

    `before` is the sha256 that must be in place ("" for: must not exist), so that nobody's newer change is overwritten.
    """

    path: str
    content: str
    sha256: str
    before: str
    keep: str = ""
    """Where what was in place is copied first, when set and there is something to copy."""
    kind: Literal["write-file"] = "write-file"
    repeatable = True

    def command(self) -> str:
        path, beside = shlex.quote(self.path), shlex.quote(f"{HELD}/{self.path.rsplit('/', 1)[-1]}.new")
        guard = (
            f'test ! -e {path} || {{ echo "{self.path} exists, and was absent when the plan was made" >&2; exit 3; }}'
            if not self.before
            else f'echo "{self.before}  {self.path}" | sha256sum -c --status || '
            f'{{ echo "{self.path} is not what it was when the plan was made" >&2; exit 3; }}'
        )
        end = "RECOVERD_END_OF_FILE"
        return (
            f"set -eu\numask 077\n{self.check()} && exit 0\n{guard}\nmkdir -p {HELD}\n{self._keep()}cat > {beside} <<'{end}'\n{self.content}"
            f"{'' if self.content.endswith(chr(10)) else chr(10)}{end}\n"
            + ("" if self.content.endswith("\n") else f"truncate -s -1 {beside}\n")
            + f"echo '{self.sha256}  {HELD}/{self.path.rsplit('/', 1)[-1]}.new' | sha256sum -c --status\nsync {beside}\nmv {beside} {path}"
        )

    def check(self) -> str:
        return f'echo "{self.sha256}  {self.path}" | sha256sum -c --status 2>/dev/null'

    def _keep(self) -> str:
        if not self.keep:
            return ""
        path, keep = shlex.quote(self.path), shlex.quote(self.keep)
        return f"mkdir -p {shlex.quote(self.keep.rsplit('/', 1)[0])}\ntest ! -e {path} || test -e {keep} || cp -p {path} {keep}\n"


@dataclass(frozen=True, slots=True)
class MovePath:
    """Rename a file or directory; refused where the target exists."""

    source: str
    target: str
    kind: Literal["move-path"] = "move-path"
    repeatable = True

    def command(self) -> str:
        s, t = shlex.quote(self.source), shlex.quote(self.target)
        parent = shlex.quote(self.target.rsplit("/", 1)[0])
        return (
            f"set -eu\n{{ {self.check()}; }} && exit 0\ntest ! -e {t} || {{ echo {t} exists already >&2; exit 3; }}\n"
            f"mkdir -p -m 700 {parent}\nmv {s} {t}"
        )

    def check(self) -> str:
        return f"test ! -e {shlex.quote(self.source)} && test -e {shlex.quote(self.target)}"

    def inverse(self) -> MovePath:
        return MovePath(self.target, self.source)


@dataclass(frozen=True, slots=True)
class Unit:
    """Start or restart a systemd unit and see it active. A restart is not repeated after a crash unless the unit is not active."""

    verb: Literal["start", "restart"]
    unit: str
    kind: Literal["unit"] = "unit"
    repeatable = True

    def command(self) -> str:
        return f"set -eu\nsystemctl reset-failed {self.unit} 2>/dev/null || true\nsystemctl {self.verb} {self.unit}\nsystemctl is-active {self.unit}"

    def check(self) -> str:
        return f"systemctl is-active --quiet {self.unit}"


@dataclass(frozen=True, slots=True)
class AwaitContainerGone:
    """Wait until no process of a static pod's component runs on the host: moving a manifest away only asks kubelet to stop it."""

    component: str
    seconds: int
    kind: Literal["await-container-gone"] = "await-container-gone"
    repeatable = True

    def command(self) -> str:
        return (
            f"i=0; while {_running(self.component)}; do i=$((i+1)); "
            f'[ $i -lt {self.seconds} ] || {{ echo "{self.component} still runs after {self.seconds} s" >&2; exit 4; }}; sleep 1; done'
        )

    def check(self) -> str:
        return f"! {_running(self.component)}"


@dataclass(frozen=True, slots=True)
class AwaitFlag:
    """Wait until the component runs with (or, `present` false, without) a command-line flag: kubelet takes a moment to act on a changed manifest."""

    component: str
    flag: str
    present: bool
    seconds: int
    kind: Literal["await-flag"] = "await-flag"
    repeatable = True

    def command(self) -> str:
        return (
            f"i=0; until {self.check()}; do i=$((i+1)); [ $i -lt {3 * self.seconds} ] || "
            f'{{ echo "{self.component} does not run {"with" if self.present else "without"} {self.flag} after {self.seconds} s" >&2; exit 4; }}; '
            "sleep 0.3 2>/dev/null || sleep 1; done"
        )

    def check(self) -> str:
        found = f'tr "\\0" "\\n" < ${{c%comm}}cmdline 2>/dev/null | grep -qxE -e {shlex.quote(self.flag + "(=true)?")}'
        return (
            f'{{ r=1; for c in /proc/[0-9]*/comm; do read -r n 2>/dev/null < $c && [ "$n" = {self.component[:15]} ] || continue; '
            f"if {found}; then r={0 if self.present else 1}; else r={1 if self.present else 0}; fi; done; [ $r = 0 ]; }}"
        )


@dataclass(frozen=True, slots=True)
class Unstick:
    """When no process of the component runs, restart kubelet: only that clears a crash-loop back-off of up to 5 minutes (observed); pods run on."""

    component: str
    kind: Literal["unstick"] = "unstick"
    repeatable = True

    def command(self) -> str:
        return f"{_running(self.component)} || systemctl restart kubelet"

    def check(self) -> str:
        return "systemctl is-active --quiet kubelet"


@dataclass(frozen=True, slots=True)
class Shell:
    """Any other script, for what the operations above do not cover.

    `done` exits 0 when its effect is already there ("" where that cannot be told)."""

    script: str
    done: str = ""
    repeatable: bool = False
    kind: Literal["shell"] = "shell"

    def command(self) -> str:
        return self.script

    def check(self) -> str:
        return self.done


# --- what the bastion itself does, through the SSH tunnel to etcd or to the API server ---


@dataclass(frozen=True, slots=True)
class FetchSnapshot:
    """Stream a full snapshot from the member on the step's host into the bastion's state directory, and check it.

    Checked are the sha256 that etcd appends, and that it is whole pages.

    Served without quorum (observed on 3.4). The result's detail names the file, its size and its hash.
    """

    label: str
    kind: Literal["fetch-snapshot"] = "fetch-snapshot"
    repeatable = True

    def command(self) -> str:
        return "POST https://127.0.0.1:2379/v3/maintenance/snapshot {} (over the SSH tunnel, into the state directory of recoverd, hash checked)"


@dataclass(frozen=True, slots=True)
class RemoveMember:
    """`member remove`, asked of the member on the step's host; needs quorum. Done already when the id is no longer listed."""

    member_id: str
    kind: Literal["remove-member"] = "remove-member"
    repeatable = True

    def command(self) -> str:
        body = f'{{"ID": "{int(self.member_id, 16)}"}}'
        return f"POST https://127.0.0.1:2379/v3/cluster/member/remove {body} (member {self.member_id}, over the SSH tunnel)"


@dataclass(frozen=True, slots=True)
class AwaitEtcd:
    """Wait until the member on the step's host is healthy with a leader, lists exactly `members` voters, and holds at least what it held."""

    members: int
    min_revision: int = 0
    min_nodes: int = 0
    min_pods: int = 0
    kind: Literal["await-etcd"] = "await-etcd"
    repeatable = True

    def command(self) -> str:
        return (
            f"GET https://127.0.0.1:2379/health until true, with {self.members} member(s), revision >= {self.min_revision}, "
            f"nodes >= {self.min_nodes}, pods >= {self.min_pods} (over the SSH tunnel)"
        )


@dataclass(frozen=True, slots=True)
class AwaitApi:
    """Wait until the API server on the step's host answers /readyz with ok."""

    kind: Literal["await-api"] = "await-api"
    repeatable = True

    def command(self) -> str:
        return "GET https://HOST:6443/readyz until ok"


HostOperation = WriteFile | MovePath | Unit | AwaitContainerGone | AwaitFlag | Unstick | Shell
BastionOperation = FetchSnapshot | RemoveMember | AwaitEtcd | AwaitApi
Operation = HostOperation | BastionOperation


def _running(component: str) -> str:
    """A shell condition: does a process of the component run? By /proc, which is everywhere; pidof and the runtime's own tool are not."""
    name = component[:15]  # the kernel keeps 15 characters
    return f'{{ for c in /proc/[0-9]*/comm; do read -r n 2>/dev/null < $c && [ "$n" = {name} ] && break; n=; done; [ -n "$n" ]; }}'
