"""`recoverd init` and `recoverd example-config`: from a kubeconfig to a configuration that can be watched. Exit codes:
0 done, 1 something was refused or left as it was, 2 usage, or nothing could be learnt.
"""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from recoverd.cli.prompts import prompting
from recoverd.config import ConfigError, load
from recoverd.config.schema import LABEL
from recoverd.config.types import jump_parts
from recoverd.model.text import clean
from recoverd.playbooks import registry
from recoverd.report.runbooks import ALERT, BASE, linked
from recoverd.setup.shipped import ALERTS, PERMISSIONS, SHIPPED, shipped

if TYPE_CHECKING:
    from recoverd.setup.hostkeys import Comparison, HostKey
    from recoverd.setup.prepare import Outcome, Wanted

COMPARE = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"


@click.command("example-config")
@click.argument("name", type=click.Choice(list(SHIPPED)), default="recoverd.yaml")
@click.option(
    "--runbooks",
    metavar="URL",
    help="With alerts.yml: where the links of the alerts lead, to which an alert's name is added or in which it stands "
    f"for {ALERT}. Default: {BASE}, where recoverd serves the pages itself.",
)
def example_config(name: str, runbooks: str | None) -> None:
    """Print a file that is shipped with recoverd; without NAME, the configuration with every key there is."""
    text = shipped(name)
    if runbooks is not None:
        if name != ALERTS:
            raise click.UsageError(f"--runbooks is for {ALERTS} alone")
        try:
            text = linked(text, runbooks)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--runbooks") from None
    click.echo(text, nl=False)


@click.command()
@click.option("--kubeconfig", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", required=True, help="What recoverd calls the cluster.")
@click.option("--directory", type=click.Path(path_type=Path), default="/etc/recoverd", show_default=True)
@click.option("--ssh-user", default="recoverd", show_default=True, help="User on the nodes; not root: through sudo.")
@click.option("--ssh-port", type=click.IntRange(1, 65535), default=22, show_default=True)
@click.option(
    "--ssh-key", type=click.Path(exists=True, path_type=Path), help="Default: credentials/ssh-key, made here."
)
@click.option("--jump", help="[USER@]HOST[:PORT] of a machine to go through.")
@click.option(
    "--accept-host-keys",
    type=click.File(),
    help="What was seen at the consoles: fingerprints, public keys, or lines of a known_hosts file.",
)
@click.option("--apply-rbac", multiple=True, type=click.Choice(PERMISSIONS), help="Apply it; may be given repeatedly.")
@click.option("--make-kubeconfig", is_flag=True, help="Have the cluster sign a client certificate for recoverd.")
@click.option("--force", is_flag=True, help="Replace files that say something else.")
def init(
    kubeconfig: Path,
    name: str,
    directory: Path,
    ssh_user: str,
    ssh_port: int,
    ssh_key: Path | None,
    jump: str | None,
    accept_host_keys: TextIO | None,
    apply_rbac: tuple[str, ...],
    make_kubeconfig: bool,
    force: bool,
) -> None:
    """Learn a cluster from its API server and write a configuration for it, with what its machines need.

    Nothing is changed in the cluster but by --apply-rbac and --make-kubeconfig, and nothing on its machines. Host keys
    are shown, and never trusted unseen.
    """
    from recoverd.setup import prepare as preparing  # what only this needs is loaded only for it

    wanted = preparing.Wanted(
        kubeconfig,
        _label(name),
        directory,
        ssh_user,
        ssh_port,
        _jump(jump),
        ssh_key,
        _compared(accept_host_keys),
        apply_rbac,
        make_kubeconfig,
        force,
    )
    try:
        outcome = asyncio.run(preparing.prepare(wanted, _confirmed))
    except preparing.PrepareError as error:
        click.echo(f"recoverd: {error}", err=True)
        sys.exit(2)
    for line in _report(wanted, outcome):
        click.echo(clean(line))
    for trouble in outcome.troubles:
        click.echo(clean(f"recoverd: {trouble}"), err=True)
    sys.exit(1 if outcome.troubles or outcome.files.kept else 0)


def _label(name: str) -> str:
    if not LABEL.fullmatch(name):
        raise click.BadParameter("lower-case letters, digits and hyphens, 63 at most", param_hint="--name")
    return name


def _jump(jump: str | None) -> str | None:
    try:
        if jump is not None:
            jump_parts(jump)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--jump") from None
    return jump


def _compared(file: TextIO | None) -> Comparison | None:
    from recoverd.setup import hostkeys

    try:
        return hostkeys.Comparison(file.read()) if file else None
    except (ValueError, OSError) as error:
        raise click.BadParameter(f"{error}", param_hint="--accept-host-keys") from None


def _confirmed(keys: Sequence[HostKey]) -> bool:
    """Whether a person at a terminal has compared these; False where there is none."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    click.echo("Host keys, as they came over the network, where anybody may have answered:")
    for line in _table(keys):
        click.echo(clean(line))
    click.echo(f"Each machine's console tells its own:  {COMPARE}")
    with prompting():
        answer = click.prompt("Is every one of them what its console says? Type yes to trust them", default="no")
    return bool(answer.strip() == "yes")


def _table(keys: Sequence[HostKey]) -> Iterator[str]:
    wide = [
        max((len(v) for v in column), default=0) for column in zip(*((k.name, k.address) for k in keys), strict=True)
    ]
    for key in keys:
        why = f" ({key.why})" if key.why else ""
        shown = f"{key.key.split()[0]} {key.fingerprint}  " if key.key else ""
        yield f"  {key.name:{wide[0]}}  {key.address:{wide[1]}}  {shown}{key.verdict}{why}"


def _report(wanted: Wanted, outcome: Outcome) -> Iterator[str]:
    learnt = outcome.learnt
    planes, workers = (", ".join(m.name for m in machines) for machines in (learnt.control_planes, learnt.workers))
    yield f"{wanted.name}: Kubernetes {learnt.version}; control planes: {planes}; workers: {workers or 'none'}"
    yield from (f"  {remark}" for remark in outcome.remarks)
    if learnt.external_etcd:
        yield f"  etcd is elsewhere ({', '.join(learnt.external_etcd)}), out of recoverd's hands"
    yield from (f"  {remark}" for remark in learnt.unseen)
    yield "host keys"
    yield from _table(outcome.keys)
    yield "what was done"
    yield from (f"  {line}" for line in (*outcome.files.told, *outcome.told))
    yield from _accepted(wanted, outcome)
    yield "to do"
    for number, (what, command) in enumerate(_to_do(wanted, outcome), 1):
        yield f"  {number}. {what}"
        yield f"       {command}"


def _accepted(wanted: Wanted, outcome: Outcome) -> Iterator[str]:
    """What check-config says of the file; its mistakes are troubles."""
    try:
        config = load(wanted.directory / "recoverd.yaml", [p.name for p in registry()])
    except ConfigError as error:
        outcome.troubles += str(error).splitlines()
        return
    number = len(config.warnings)
    yield f"  recoverd check-config accepts it, with {number or 'no'} warning{'s' if number != 1 else ''}"


def _to_do(wanted: Wanted, outcome: Outcome) -> Iterator[tuple[str, str]]:
    """What is left for the operator: what, and the command."""
    from recoverd.setup.certificate import by_hand
    from recoverd.setup.prepare import rbac_command

    file = shlex.quote(str(wanted.directory / "recoverd.yaml"))
    rest = [f for f in PERMISSIONS if f not in wanted.rbac]
    if "rbac.yaml" in rest:
        yield "let recoverd's user look (or --apply-rbac rbac.yaml)", rbac_command(wanted, "rbac.yaml")
    if others := [f for f in rest if f != "rbac.yaml"]:
        command = rbac_command(wanted, others[0])
        yield f"what else it may do, as far as you want it: {', '.join(others)}; each says what for", command
    if outcome.kubeconfig != wanted.own.name:
        what = "make recoverd's own kubeconfig (or --make-kubeconfig), and name it in the configuration: "
        what += f"kubeconfig: {wanted.own.name}"
        yield what, by_hand(outcome.learnt, wanted.own)
    yield "install recoverd's user and unit on this machine", f"sh {shlex.quote(str(wanted.folder / 'bastion.sh'))}"
    script = shlex.quote(str(wanted.folder / "node.sh"))
    addresses = " ".join(
        shlex.quote(k.address) for k in outcome.keys if k.name in {m.name for m in outcome.learnt.machines}
    )
    yield (
        f"let recoverd into the machines, whose fingerprints this prints (or ansible-playbook, in {wanted.folder})",
        f"for n in {addresses}; do ssh {_options(wanted)}root@$n sh -s <{script}; done | tee fingerprints",
    )
    if not all(k.believed for k in outcome.keys):
        yield (
            "compare the host keys: run this again at a terminal, or with a file of what was seen at the machines",
            f"{_again(wanted)} --accept-host-keys fingerprints",
        )
    yield "see that the file is right", f"recoverd check-config {file}"
    yield "prove it", f"recoverd doctor {wanted.name} --config {file}"
    yield "watch", "systemctl enable --now recoverd && recoverctl status"


def _options(wanted: Wanted) -> str:
    """Of ssh, so that it goes where recoverd will."""
    port = f"-p {wanted.port} " if wanted.port != 22 else ""
    return port + (f"-J {shlex.quote(wanted.jump)} " if wanted.jump else "")


def _again(wanted: Wanted) -> str:
    """The command with what matters for host keys."""
    words = ["recoverd", "init", "--kubeconfig", str(wanted.kubeconfig), "--name", wanted.name]
    words += ["--directory", str(wanted.directory)] if str(wanted.directory) != "/etc/recoverd" else []
    words += ["--ssh-user", wanted.user] if wanted.user != "recoverd" else []
    words += ["--ssh-port", str(wanted.port)] if wanted.port != 22 else []
    words += ["--ssh-key", str(wanted.key)] if wanted.key else []
    words += ["--jump", wanted.jump] if wanted.jump else []
    return shlex.join(words)
