"""The few things that recoverd can do to a machine or a cluster, as data.

A playbook composes these; `recoverd.act` carries them out over SSH and `recoverd.simulate` against the model cluster, so a new playbook needs
neither changed. Each host operation renders the exact shell script that will run (`command`), a script that exits 0 when its effect is already
there (`check`, used after a crash before anything is repeated), and the operation that takes it back (`inverse`). Scripts are POSIX sh, since
nodes need not have bash or Python, and run as root (or through `sudo -n`).
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any, Literal, get_args

from recoverd.model.bastion_operations import BastionOperation
from recoverd.model.etcd_guards import at_rest, not_over_nothing, of_data, of_etcd
from recoverd.model.etcd_operations import EtcdOperation, RestoreSnapshot
from recoverd.model.file_operations import FileOperation
from recoverd.model.join_operations import JoinOperation
from recoverd.model.network_operations import NetworkOperation
from recoverd.model.node_operations import NodeOperation
from recoverd.model.pki_operations import PkiOperation
from recoverd.model.shell import complain
from recoverd.model.space_operations import SpaceOperation
from recoverd.model.unit_operations import PodOperation, UnitOperation

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
    beside: str = HELD
    """Directory in which it is written before it is renamed in; on the same file system."""
    needs: str = ""
    """A path that must exist at that moment, when set: no etcd manifest over data that was there when the plan was made and is gone."""
    kind: Literal["write-file"] = "write-file"
    repeatable = True

    @property
    def title(self) -> str:
        return f"writing {self.path}"

    def command(self) -> str:
        path, name = shlex.quote(self.path), self.path.rsplit("/", 1)[-1]
        if self.before:
            guard = f"{_has_hash(self.path, self.before)} || {complain(f'{self.path} is not what it was when the plan was made')}"
        else:
            guard = f"test ! -e {path} || {complain(f'{self.path} exists, and was absent when the plan was made')}"
        end = f"RECOVERD_END_{self.sha256[:16]}"  # no text holds its own hash
        whole = self.content.endswith("\n")
        anew = not_over_nothing('"$new"', self.path) if of_etcd(self.path) else ""
        return (
            f"set -eu\numask 077\n{self.check()} && exit 0\n{guard}\n{_needed(self.needs, self.path)}"
            f"mkdir -p {shlex.quote(self.beside)}\n{self._keep()}"
            # its own name for every run: one that lost its connection may still be at work
            f"new={shlex.quote(f'{self.beside}/{name}.new')}.$$\ntrap 'rm -f \"$new\"' EXIT\n"
            f"cat > \"$new\" <<'{end}'\n{self.content}{'' if whole else chr(10)}{end}\n"
            + ("" if whole else 'text=$(cat "$new")\nprintf %s "$text" > "$new"\n')
            + f'test "$(sha256sum "$new" | cut -c 1-64)" = {self.sha256} || {complain(f"what arrived for {self.path} is not what was sent")}\n'
            # looked at once more, since the disk took its time
            + f'sync "$new" || sync\n{anew}{guard}\nmv -f "$new" {path}'
        )

    def check(self) -> str:
        return _has_hash(self.path, self.sha256)

    def _keep(self) -> str:
        if not self.keep:
            return ""
        path, keep = shlex.quote(self.path), shlex.quote(self.keep)
        taken = complain(f"{self.keep} holds something else than what is in place, and no older copy is written over")
        copy = f"{{ cp -p {path} {keep}.$$ && mv -f {keep}.$$ {keep}; }}"
        return (
            f"mkdir -p {shlex.quote(self.keep.rsplit('/', 1)[0])}\n"
            f"if test -e {path}; then if test -e {keep}; then cmp -s {path} {keep} || {taken}; else {copy}; fi; fi\n"
        )


@dataclass(frozen=True, slots=True)
class MovePath:
    """Rename a file or directory. Refused where the target exists, for etcd's data that anything has open, and for etcd's manifest over no data."""

    source: str
    target: str
    optional: bool = False
    """Where there is nothing, nothing is moved."""
    needs: str = ""
    """A path that must exist at that moment, when set: no etcd manifest goes back in over data that are gone."""
    sha256: str = ""
    """What the file must hold, when set: nobody's newer version of it is moved."""
    kind: Literal["move-path"] = "move-path"
    repeatable = True

    @property
    def title(self) -> str:
        return f"moving {self.source} to {self.target}"

    def command(self) -> str:
        s, t = shlex.quote(self.source), shlex.quote(self.target)
        parent = shlex.quote(self.target.rsplit("/", 1)[0])
        return (
            f"set -eu\n{{ {self.check()}; }} && exit 0\ntest ! -e {t} || {complain(f'{self.target} exists already')}\n"
            f"{_needed(self.needs, self.target)}{self._guards()}mkdir -p -m 700 {parent}\nmv {s} {t}"
        )

    def _guards(self) -> str:
        guards = ""
        if self.sha256:
            guards += f"{_has_hash(self.source, self.sha256)} || {complain(f'{self.source} is not what it was when the plan was made')}\n"
        if of_data(self.source):
            guards += at_rest(self.source, "moved")
        if of_etcd(self.target):
            guards += not_over_nothing(shlex.quote(self.source), self.target)
        return guards

    def check(self) -> str:
        there = "" if self.optional else f" && test -e {shlex.quote(self.target)}"
        return f"test ! -e {shlex.quote(self.source)}{there}"

    def inverse(self) -> MovePath:
        return MovePath(self.target, self.source, self.optional, sha256=self.sha256)


@dataclass(frozen=True, slots=True)
class CopyPath:
    """Copy a directory whole, beside the original: copied under another name first, so that a target that exists is complete.

    etcd's data only while nothing has it open: what is copied while it is written to is worth nothing.
    """

    source: str
    target: str
    kind: Literal["copy-path"] = "copy-path"
    repeatable = True

    @property
    def title(self) -> str:
        return f"copying {self.source} to {self.target}"

    def command(self) -> str:
        s, t = shlex.quote(self.source), shlex.quote(self.target)
        return (
            f"set -eu\n{self.check()} && exit 0\ntest -e {s} || {complain(f'{self.source} does not exist')}\n"
            f"{at_rest(self.source, 'copied') if of_data(self.source) else ''}"
            f"set -- $(du -sk {s})\nneeded=$1\nset -- $(df -Pk {s} | tail -n 1)\n"
            # 64 MiB stay free: etcd itself must be able to write
            f'test "$4" -gt $((needed + 65536)) || {complain(f"there is no room for a copy of {self.source} beside it")}\n'
            f"rm -rf {t}.part\ncp -a {s} {t}.part\nsync\nmv {t}.part {t}"
        )

    def check(self) -> str:
        return f"test -e {shlex.quote(self.target)}"


@dataclass(frozen=True, slots=True)
class Shell:
    """Any other script, for what the operations above do not cover.

    `done` exits 0 when its effect is already there ("" where that cannot be told)."""

    script: str
    done: str = ""
    repeatable: bool = False
    kind: Literal["shell"] = "shell"

    @property
    def title(self) -> str:
        first = self.script.strip().splitlines()[0] if self.script.strip() else "an empty script"
        return f"`{first[:80]}`"

    def command(self) -> str:
        return self.script

    def check(self) -> str:
        return self.done


HostOperation = (
    WriteFile | MovePath | CopyPath | FileOperation | UnitOperation | PodOperation | NetworkOperation | PkiOperation | RestoreSnapshot | Shell
)
Operation = HostOperation | BastionOperation | EtcdOperation | SpaceOperation | NodeOperation | JoinOperation


def _needed(path: str, target: str) -> str:
    """A line of shell that refuses to put `target` in place without `path`; "" where nothing is needed."""
    return f"test -e {shlex.quote(path)} || {complain(f'{path} does not exist, and {target} must not be put in without it')}\n" if path else ""


def _has_hash(path: str, sha256: str) -> str:
    """A shell condition: is there a file with this content? Not by `sha256sum -c`, whose options differ between coreutils and busybox."""
    return f'test "$(sha256sum {shlex.quote(path)} 2>/dev/null | cut -c 1-64)" = {sha256}'


def kinds_of(union: object) -> tuple[type[Any], ...]:
    """The kinds of operation that a union of them names."""
    return get_args(union)
