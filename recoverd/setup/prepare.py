"""The whole of `recoverd init`: learn, fetch the host keys, write what differs, and see that it is accepted."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import asyncssh

from recoverd.clients.dial import HostUnseen, Target, dial
from recoverd.config import SshSettings, kubeconfigs
from recoverd.config.types import jump_parts
from recoverd.setup import nodes
from recoverd.setup.certificate import CertificateError, by_hand, make_kubeconfig
from recoverd.setup.document import Document, Host, write
from recoverd.setup.files import SECRET, Files, folder
from recoverd.setup.hostkeys import Comparison, HostKey, KnownHosts, Subject, Verdict, fetch, judge
from recoverd.setup.learn import LearnError, Learnt, learn, vip_remarks
from recoverd.setup.rbac import ApplyError, apply
from recoverd.setup.shipped import PERMISSIONS, shipped

JUMP = "the jump host"
Confirm = Callable[[Sequence[HostKey]], bool]
"""Shows keys to a person, who says whether each was compared. Always False where nobody is there to be asked."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the operator asks for."""

    kubeconfig: Path
    name: str
    directory: Path
    user: str = "recoverd"
    port: int = 22
    jump: str | None = None
    key: Path | None = None
    """The SSH key; None: `credentials/ssh-key` in the directory, which is made where it is not there."""
    compared: Comparison | None = None
    rbac: tuple[str, ...] = ()
    """Of the shipped permissions, those that are to be applied."""
    own_kubeconfig: bool = False
    force: bool = False

    @property
    def own(self) -> Path:
        """Where recoverd's own kubeconfig belongs."""
        return self.directory / f"{self.name}.kubeconfig"

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    @property
    def folder(self) -> Path:
        """Where what is for the machines of this cluster goes."""
        return self.directory / self.name


@dataclass(slots=True)
class Outcome:
    """What came of it, for whoever prints it."""

    learnt: Learnt
    keys: list[HostKey] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """What was done, a line each."""
    troubles: list[str] = field(default_factory=list)
    """What was refused or failed; the rest was done all the same."""
    kubeconfig: str = ""
    """As the configuration names it."""
    remarks: Sequence[str] = ()
    """On the address to which that one leads."""
    files: Files = field(default_factory=Files)


class PrepareError(Exception):
    """Nothing could be prepared; the text says why."""


async def prepare(wanted: Wanted, confirm: Confirm) -> Outcome:
    """Do all of it. Raises `PrepareError` before anything is written but the SSH key."""
    try:
        learnt = await learn(wanted.kubeconfig)
    except LearnError as error:
        raise PrepareError(str(error)) from error
    outcome = Outcome(learnt, files=Files(wanted.force))
    try:
        key, public = _ssh_key(wanted, outcome)
        outcome.keys = await _host_keys(wanted, learnt, key, confirm)
        _known_hosts(wanted, outcome)
        await _in_the_cluster(wanted, outcome)
        _write(wanted, outcome, key, public)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        raise PrepareError(
            f"{error.strerror or error}{place}: run it as root, or with --directory where you may write"
        ) from error
    return outcome


def _ssh_key(wanted: Wanted, outcome: Outcome) -> tuple[Path, str]:
    """Where the key is, and its public part. One that is there is never made anew."""
    path = wanted.key or wanted.directory / "credentials" / "ssh-key"
    if not path.exists() and not wanted.key:
        folder(path.parent, 0o700)
        made = asyncssh.generate_private_key("ssh-ed25519", comment="recoverd")
        outcome.files.put(path, made.export_private_key().decode(), SECRET)
        outcome.files.put(path.with_name("ssh-key.pub"), made.export_public_key().decode())
    try:
        key = asyncssh.read_private_key(path)
    except (ValueError, asyncssh.Error) as error:
        raise PrepareError(f"{path} is no SSH private key without a passphrase: {error}") from error
    return path, " ".join(key.export_public_key().decode().split()[:2])


async def _host_keys(wanted: Wanted, learnt: Learnt, key: Path, confirm: Confirm) -> list[HostKey]:
    """Of every machine, and of the jump host first: what is behind it is seen once that is believed."""
    there = wanted.known_hosts.read_text() if wanted.known_hosts.exists() else ""
    try:
        known = KnownHosts(there)
    except ValueError as error:
        raise PrepareError(f"{wanted.known_hosts} is no known_hosts file: {error}") from error
    subjects = [Subject(m.name, m.addresses) for m in learnt.machines]

    async def compared(of: Sequence[Subject], port: int, tunnel: asyncssh.SSHClientConnection | None) -> list[HostKey]:
        keys = judge(await fetch(of, port, tunnel), of, known, wanted.compared)
        asked = [k for k in keys if k.verdict is Verdict.UNCOMPARED]
        if wanted.compared or not asked or not confirm(asked):
            return keys
        yes = "compared by a person just now"
        return [replace(k, verdict=Verdict.ACCEPTED, why=yes) if k in asked else k for k in keys]

    async with AsyncExitStack() as stack:
        if not wanted.jump:
            return await compared(subjects, wanted.port, None)
        user, host, port = jump_parts(wanted.jump)
        (jump,) = await compared([Subject(JUMP, [host])], port, None)
        why = "the jump host's key is not believed yet; run this again when it is"
        if jump.believed:
            ssh = SshSettings(wanted.user, key, wanted.known_hosts, connect_timeout=10.0)
            try:
                tunnel = await dial(Target(JUMP, user or wanted.user, host, port, jump.key), ssh, None)
            except HostUnseen as unseen:
                why = str(unseen)
            else:
                await stack.enter_async_context(tunnel)
                return [jump, *await compared(subjects, wanted.port, tunnel)]
        return [jump, *(HostKey(s.name, s.addresses[0], wanted.port, why=why) for s in subjects)]


def _known_hosts(wanted: Wanted, outcome: Outcome) -> None:
    """Believed keys into known_hosts; others beside it, where nobody takes them for known."""
    files, path = outcome.files, wanted.known_hosts
    accepted = [k.line for k in outcome.keys if k.verdict is Verdict.ACCEPTED]
    if not path.exists():
        files.append(path, ["# Host keys that a person has compared with what the machines' consoles say."])
    files.append(path, accepted)
    doubtful = [k for k in outcome.keys if k.key and not k.believed]
    beside = path.with_name(f"{path.name}.{wanted.name}.unverified")
    if doubtful:
        about = [
            "# Host keys as they came over the network. Nobody has compared them yet, and recoverd does not use this",
            "# file. Compare each fingerprint with what that machine's console says",
            "# (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), and put the lines that are right into",
            f"# {path.name}.",
        ]
        lines = [part for k in doubtful for part in (f"# {k.name} {k.fingerprint} {k.verdict}", k.line)]
        files.put(beside, "\n".join([*about, *lines]) + "\n")
    elif beside.exists():
        outcome.told.append(f"{beside} is of an earlier run; every key in it is known now, and it may be deleted")
    for key in outcome.keys:
        if key.verdict is Verdict.DIFFERENT:
            outcome.troubles.append(
                f"{key.name} ({key.address}) shows {key.fingerprint}, and {path} holds another key of that kind: if "
                "the machine was made anew, take the old line out; if not, somebody else answers there"
            )


async def _in_the_cluster(wanted: Wanted, outcome: Outcome) -> None:
    """What an option asks for to be made through the API server."""
    for file in wanted.rbac:
        try:
            outcome.told += [f"applied {what} ({file})" for what in await apply(wanted.kubeconfig, shipped(file))]
        except ApplyError as error:
            outcome.troubles.append(f"{file}: {error}")
    if not wanted.own_kubeconfig:
        return
    if wanted.own.exists() and not wanted.force:
        outcome.told.append(f"{wanted.own} is there, and no other one was made; --force makes one anew")
        return
    try:
        text, server = await make_kubeconfig(wanted.kubeconfig, outcome.learnt, wanted.name)
    except CertificateError as error:
        outcome.troubles.append(f"no kubeconfig was made: {error}. By hand: {by_hand(outcome.learnt, wanted.own)}")
        return
    outcome.files.put(wanted.own, text, SECRET)
    outcome.told.append(
        f"made a kubeconfig for the user recoverd, for {server}, with a certificate that the cluster signed"
    )


def _write(wanted: Wanted, outcome: Outcome, key: Path, public: str) -> None:
    """The configuration, and what is for the machines."""
    learnt, files = outcome.learnt, outcome.files
    address = {k.name: k.address for k in outcome.keys}
    planes, workers = (
        tuple(Host(m.name, address[m.name], tuple(a for a in m.addresses if a != address[m.name])) for m in machines)
        for machines in (learnt.control_planes, learnt.workers)
    )
    own = wanted.own.exists()
    outcome.kubeconfig = wanted.own.name if own else str(wanted.kubeconfig.absolute())
    outcome.remarks = vip_remarks(replace(learnt, server=_server(wanted.own) or learnt.server) if own else learnt)
    ssh: dict[str, object] = {"user": wanted.user, "key": _named(wanted, key), "known_hosts": "known_hosts"}
    ssh |= {"port": wanted.port} if wanted.port != 22 else {}
    ssh |= {"sudo": True} if wanted.user != "root" else {}
    ssh |= {"jump": wanted.jump} if wanted.jump else {}
    document = Document(
        name=wanted.name,
        kubeconfig=outcome.kubeconfig,
        ssh=ssh,
        control_planes=planes,
        workers=workers,
        fixed=any(address[m.name] != m.internal for m in learnt.workers),
        about=about(learnt),
        about_kubeconfig=[*outcome.remarks, *([] if own or not learnt.administrator else [ADMINISTRATOR])],
    )
    main, text = wanted.directory / "recoverd.yaml", write(document, shipped("recoverd.yaml"))
    files.put(main, text)
    if main in files.kept:
        files.put(wanted.folder / "recoverd.yaml", text)
        outcome.told.append(
            f"what {main} would say is in {wanted.folder}; a second cluster's entry goes below `clusters`"
        )
    permitted = nodes.permitted(learnt.places, elsewhere=learnt.external_etcd)
    access = nodes.Access(wanted.user, public, permitted, nodes.sudoers(shipped("sudoers"), wanted.user))
    program = Path(sys.prefix) / "bin" / "recoverd"
    files.put(wanted.folder / "node.sh", nodes.node_script(access), 0o755)
    of_bastion = nodes.bastion_script(program, wanted.directory.absolute(), str(wanted.own) if own else "")
    files.put(wanted.folder / "bastion.sh", of_bastion, 0o755)
    ansible = wanted.folder / "ansible"
    text = nodes.inventory(wanted.name, access, wanted.port, planes, workers, wanted.jump)
    files.put(ansible / "inventory.yaml", text)
    files.put(ansible / "playbook.yaml", nodes.playbook())
    files.put(ansible / "roles" / "recoverd_node" / "tasks" / "main.yaml", nodes.tasks())
    for file in PERMISSIONS:
        files.put(wanted.folder / file, shipped(file))


ADMINISTRATOR = (
    "This is an administrator's, which may do everything; recoverd needs no more than config/rbac.yaml gives: "
    "`recoverd init --make-kubeconfig` makes one of its own."
)


def about(learnt: Learnt) -> list[str]:
    """What the cluster is, for the configuration."""
    found = [f"Kubernetes {learnt.version}."]
    if learnt.external_etcd:
        found.append(
            f"etcd is elsewhere ({', '.join(learnt.external_etcd)}), out of recoverd's hands: no restore points are "
            "taken, and no remedy of etcd is offered; that its data went back is seen."
        )
    return found


def _server(kubeconfig: Path) -> str:
    """Where a kubeconfig leads; "" where that cannot be told."""
    try:
        return kubeconfigs.parse(kubeconfig, kubeconfig.read_bytes()).server
    except (OSError, ValueError):
        return ""


def _named(wanted: Wanted, key: Path) -> str:
    """The key as the configuration names it: by the credential of the unit where it is that."""
    return "$CREDENTIALS_DIRECTORY/ssh-key" if not wanted.key else str(key.absolute())


def rbac_command(wanted: Wanted, file: str) -> str:
    """How one of the shipped permissions is applied by hand."""
    return (
        f"kubectl --kubeconfig {shlex.quote(str(wanted.kubeconfig))} apply -f {shlex.quote(str(wanted.folder / file))}"
    )
