"""`recoverctl`: what a person asks of the running daemon. Exit codes: 0 done, 1 refused or failed, 2
usage, 3 no daemon, 4 no such thing.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from recoverd import __version__
from recoverd.cli import approval, audits, completing, watching
from recoverd.cli import check as checking
from recoverd.cli.asking import (
    REFUSED,
    Asking,
    answered,
    as_json,
    done,
    finish,
    in_emergency,
    in_full,
    limited,
    tell_older,
)
from recoverd.cli.completing import DEFAULT_SOCKET
from recoverd.cli.help import WithPlaybooks, add_words
from recoverd.cli.program import in_json
from recoverd.cli.render import Printer, happened
from recoverd.control import ASKED, SHOWN
from recoverd.control.client import ControlClient, Denied, NoDaemon
from recoverd.model.text import clean

EXITS = "Exit codes: 0 done, 1 refused or failed, 2 usage, 3 no daemon answers, 4 no such thing; of check: Nagios' own."


@click.group(cls=Asking, epilog=EXITS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--socket",
    type=click.Path(
        path_type=Path, readable=False
    ),  # click would call a socket that one may not use a mistake of usage
    envvar="RECOVERD_SOCKET",
    default=DEFAULT_SOCKET,
    show_default=True,
    help="Socket of the daemon.",
)
@click.version_option(__version__, prog_name="recoverctl")
@click.pass_context
def main(context: click.Context, socket: Path) -> None:
    """Asks the running recoverd what it sees, and decides what it may do."""
    context.obj = ControlClient(socket)


@main.command()
@click.argument("cluster", required=False, shell_complete=completing.clusters)
@in_full
@as_json
@click.pass_obj
def status(client: ControlClient, cluster: str | None, full: bool, output: str) -> None:
    """How the clusters are, what is wrong and what is done about it."""
    answer = finish(client.get("/v1/status", **({"cluster": cluster} if cluster else {})))
    answered(answer, output, lambda p: p.status(answer["clusters"], answer.get("notices", []), full=full))


@main.command(cls=checking.Plugin)
@click.argument("cluster", required=False, shell_complete=completing.clusters)
@click.pass_obj
def check(client: ControlClient, cluster: str | None) -> None:
    """One line for Nagios and its like; exits 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN (no daemon, no such cluster)."""
    try:
        answer = asyncio.run(client.get("/v1/status", **({"cluster": cluster} if cluster else {})))
        code, line = checking.verdict(answer["clusters"], answer.get("notices", []))
    except (Denied, NoDaemon) as error:
        code, line = checking.UNKNOWN, f"UNKNOWN: {error}"
    except KeyError as lacking:
        if not client.strange:
            raise
        code, line = checking.UNKNOWN, f"UNKNOWN: the answer has no {lacking}: {client.strange}"
    click.echo(clean(line))
    sys.exit(code)


@main.command()
@click.argument("of", metavar="[CLUSTER]", required=False, shell_complete=completing.clusters)
@click.option("--cluster", shell_complete=completing.clusters, help="The same as the argument.")
@limited(SHOWN)
@as_json
@click.pass_obj
def incidents(client: ControlClient, of: str | None, cluster: str | None, limit: int, output: str) -> None:
    """Every incident, or those of CLUSTER, newest first."""
    if of and cluster and of != cluster:
        raise click.UsageError("of one CLUSTER, or of all")
    cluster = of or cluster
    answer = finish(client.get("/v1/incidents", limit=str(limit), **({"cluster": cluster} if cluster else {})))
    answered(answer, output, lambda p: p.incidents(answer["incidents"]))
    tell_older(client, answer, "incidents")


@main.command()
@click.argument("cluster", shell_complete=completing.clusters)
@click.pass_obj
def dump(client: ControlClient, cluster: str) -> None:
    """What recoverd has seen of CLUSTER and remembers of it, as JSON, without secrets:
    `recoverd judge FILE` judges it again.
    """
    click.echo(in_json(finish(client.get("/v1/dump/{}", cluster)), 1))


@main.command()
@click.argument("incident", shell_complete=completing.incidents)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "md", "html"]),
    default="text",
    show_default=True,
    help="As a page of Markdown, or as one HTML file; of -o text only.",
)
@as_json
@click.pass_obj
def show(client: ControlClient, incident: str, form: str, output: str) -> None:
    """One incident whole: a post-mortem."""
    if output == "json" and form != "text":
        raise click.UsageError("-o json and --format: choose one")
    answer = finish(client.get("/v1/incidents/{}", incident))
    if form == "text":
        answered(answer, output, lambda p: p.report(answer))
        return
    # templates are for this alone, and every other command would wait for them
    from recoverd.report import pages
    from recoverd.report.postmortem import post_mortem

    seen = post_mortem(answer, datetime.now(UTC).isoformat())
    click.echo(pages.in_markdown(seen) if form == "md" else pages.in_html(seen), nl=False)


@main.command()
@click.argument("of", metavar="[PLAN|INCIDENT|CLUSTER]", required=False, shell_complete=completing.plans_and_more)
@click.option("--all", "everything", is_flag=True, help="Those that are no longer open too.")
@in_full
@click.option("--script", is_flag=True, help="With the shell functions that their steps call on the machines.")
@limited(SHOWN)
@as_json
@click.pass_obj
def plans(
    client: ControlClient, of: str | None, everything: bool, full: bool, script: bool, limit: int, output: str
) -> None:
    """The plans that wait or run, with evidence and steps; one of them, or those of one incident or cluster."""
    asked = ({"all": "1"} if everything else {}) | ({"script": "1"} if script else {}) | ({"of": of} if of else {})
    answer = finish(client.get("/v1/plans", limit=str(limit), **asked))
    answered(answer, output, lambda p: p.plans(answer["plans"], answer.get("script", ""), full=full))
    tell_older(client, answer, "plans")


@main.command()
@click.argument("cluster", required=False, shell_complete=completing.clusters)
@limited(SHOWN)
@as_json
@click.pass_obj
def shadow(client: ControlClient, cluster: str | None, limit: int, output: str) -> None:
    """What recoverd would have done where it only observes (`mode: observe`), newest first."""
    answer = finish(client.get("/v1/shadow", limit=str(limit), **({"cluster": cluster} if cluster else {})))
    answered(answer, output, lambda p: p.shadows(answer["shadows"]))
    tell_older(client, answer, "shadows")


def _alone(reason: str, *, emergency: bool) -> None:
    if emergency and not reason.strip():
        raise click.UsageError("who goes alone in an emergency says why: --reason TEXT")


@main.command()
@click.argument("plan", shell_complete=completing.plans)
@click.option("--reason", default="", help="Kept in the journal.")
@click.option("--yes", is_flag=True, help="Ask nothing; of a destructive plan, with --digest.")
@click.option(
    "--digest", default="", help="Only if it is the plan with this digest, which `recoverctl plans PLAN --full` shows."
)
@click.option("--wait", is_flag=True, help="Tell what happens until the plan is over; exits 1 when it did not succeed.")
@in_emergency
@as_json
@click.pass_obj
def approve(
    client: ControlClient, plan: str, reason: str, yes: bool, digest: str, wait: bool, emergency: bool, output: str
) -> None:
    """Let PLAN run. On a terminal it is shown first, and asked for. Where the configuration wants two persons for what
    may lose data, the first approval waits for that of another person.
    """
    _alone(reason, emergency=emergency)
    told = partial(done, output=output)
    ok = finish(approval.given(client, plan, reason, digest, told, yes=yes, wait=wait, emergency=emergency))
    sys.exit(0 if ok else REFUSED)


@main.command()
@click.argument("plan", shell_complete=completing.plans)
@click.option("--reason", required=True, help="Kept in the journal.")
@as_json
@click.pass_obj
def reject(client: ControlClient, plan: str, reason: str, output: str) -> None:
    """Do not let PLAN run."""
    done(finish(client.post("/v1/plans/{}/reject", plan, reason=reason)), output)


@main.command()
@click.argument("incident", shell_complete=completing.incidents)
@as_json
@click.pass_obj
def ack(client: ControlClient, incident: str, output: str) -> None:
    """Acknowledge INCIDENT: what was refused or failed in it may be tried again."""
    done(finish(client.post("/v1/incidents/{}/ack", incident)), output)


def _one_or_all(cluster: str | None, everything: bool) -> dict[str, Any]:
    if (cluster is None) is not everything:
        raise click.UsageError("name one CLUSTER, or --all")
    return {"all": True} if everything else {"cluster": cluster}


@main.command()
@click.argument("cluster", required=False, shell_complete=completing.clusters)
@click.option("--all", "everything", is_flag=True, help="Every cluster.")
@click.option("--reason", required=True, help="Shown to whoever wonders why nothing is done.")
@as_json
@click.pass_obj
def pause(client: ControlClient, cluster: str | None, everything: bool, reason: str, output: str) -> None:
    """Keep hands off CLUSTER: watch on, do nothing. Kept across restarts."""
    done(finish(client.post("/v1/pause", reason=reason, **_one_or_all(cluster, everything))), output)


@main.command()
@click.argument("cluster", required=False, shell_complete=completing.clusters)
@click.option("--all", "everything", is_flag=True, help="Every cluster.")
@as_json
@click.pass_obj
def resume(client: ControlClient, cluster: str | None, everything: bool, output: str) -> None:
    """End a pause."""
    done(finish(client.post("/v1/resume", **_one_or_all(cluster, everything))), output)


@main.command(cls=WithPlaybooks)
@click.argument("playbook", shell_complete=completing.playbooks)
@click.argument("cluster", shell_complete=completing.clusters)
@click.option("--node", "nodes", multiple=True, help="Only on this node (may be given more than once).")
@click.option(
    "--point",
    shell_complete=completing.points,
    default="",
    help="The restore point to go back to, for restore-etcd-snapshot; `recoverctl restore-points` lists them.",
)
@click.option("--reason", default="", help="Kept in the journal.")
@as_json
@click.pass_obj
def run(
    client: ControlClient, playbook: str, cluster: str, nodes: tuple[str, ...], point: str, reason: str, output: str
) -> None:
    """Make a plan of PLAYBOOK for CLUSTER by hand; it waits for approval like any other."""
    body = {"playbook": playbook, "cluster": cluster, "nodes": list(nodes), "reason": reason}
    done(finish(client.post("/v1/run", **body, **({"point": point} if point else {}))), output)


@main.command(name="restore-points")
@click.argument("words", metavar="[CLUSTER] | take CLUSTER", nargs=-1, shell_complete=completing.of_restore_points)
@as_json
@click.pass_obj
def restore_points(client: ControlClient, words: tuple[str, ...], output: str) -> None:
    """What the clusters can be put back to, oldest first; `take CLUSTER` takes one more now."""
    if words == ("take",):
        raise click.UsageError("of which cluster? restore-points take CLUSTER")
    if len(words) == 2 and words[0] == "take":
        done(finish(client.post("/v1/restore-points", cluster=words[1])), output)
    elif len(words) <= 1:
        answer = finish(client.get("/v1/restore-points", **({"cluster": words[0]} if words else {})))
        answered(answer, output, lambda p: p.restore_points(answer["restore_points"]))
    else:
        raise click.UsageError("restore-points, restore-points CLUSTER, or restore-points take CLUSTER")


@main.command("notify-test")
@click.argument("receiver", required=False)
@as_json
@click.pass_obj
def notify_test(client: ControlClient, receiver: str | None, output: str) -> None:
    """Send a test to RECEIVER, or to all of them, and tell what came of each; exits 1 when one was not told."""
    answer = finish(client.post("/v1/notify-test", **({"receiver": receiver} if receiver else {})))

    def told(printer: Printer) -> None:
        for d in answer["receivers"]:
            printer.line(f"{'ok' if d['ok'] else 'FAILED':8}  {d['receiver']}: {d['detail']}")

    answered(answer, output, told)
    sys.exit(0 if all(d["ok"] for d in answer["receivers"]) else REFUSED)


@main.command("join-control-plane")
@click.argument("cluster", shell_complete=completing.clusters)
@click.argument("name")
@click.argument("address")
@click.option(
    "--host-key",
    default="",
    help="Public SSH host key of the machine (`ssh-ed25519 AAAA...`), where it is neither "
    "configured nor in known_hosts.",
)
@click.option(
    "--take-back-single-member",
    "take_back_single",
    is_flag=True,
    help="Approve now that the only etcd member is made a cluster of its own again by --force-new-cluster, "
    "should the new one not start.",
)
@click.option(
    "--member-timeout",
    "member_seconds",
    type=click.IntRange(1, 600),
    help="Seconds for the new etcd member to start; default 12 or 40.",
)
@click.option(
    "--skip-preflight", is_flag=True, help="Leave kubeadm's own preflight checks out (no crictl; the images are there)."
)
@click.option("--reason", default="", help="Kept in the journal.")
@in_emergency
@as_json
@click.pass_obj
def join_control_plane(
    client: ControlClient, /, cluster: str, name: str, address: str, output: str, **options: Any
) -> None:
    """Join the machine NAME at ADDRESS to CLUSTER as a control plane: checked before, and taken back when
    its etcd member does not start.
    """
    _alone(options["reason"], emergency=options["emergency"])
    ok = finish(_joined(client, output, cluster=cluster, name=name, address=address, **options))
    sys.exit(0 if ok else REFUSED)


async def _joined(client: ControlClient, output: str, **asked: Any) -> bool:
    """Print what is told as it comes; whether it ended well."""
    if output == "text":
        click.echo("asking every machine, which takes some seconds", err=True)
    async for line in client.join(**asked):
        if output == "json":
            click.echo(in_json(line))
        elif "check" in line:
            click.echo(clean(f"{'ok' if line['ok'] else 'FAILED':8}  {line['check']}: {line['detail']}"))
        elif "end" not in line:
            click.echo(happened(line))
        if "end" in line:
            if output == "text":
                for text in line["end"].split("\n"):
                    click.echo(clean(text), err=not line["ok"])
            return bool(line["ok"])
    raise NoDaemon(
        "recoverd has stopped; a join that was begun goes on when it is started: recoverctl plans --all, recoverctl "
        f"status {asked['cluster']}"
    )


@main.command()
@click.argument("cluster", required=False, default="", shell_complete=completing.clusters)
@click.option("--since", type=audits.AGE, default="30d", show_default=True, help="How far back: 12h, 30d.")
@limited(ASKED)
@as_json
@click.pass_obj
def audit(client: ControlClient, cluster: str, since: float, limit: int, output: str) -> None:
    """Who asked for what that changes anything, and what came of it, refused requests too; the newest last."""
    answer = finish(client.get("/v1/audit", since=audits.moment(since), cluster=cluster, limit=str(limit)))
    answered(answer, output, lambda p: audits.told(p, answer["requests"]))
    tell_older(client, answer, "requests")


@main.command()
@click.argument("cluster", required=False, default="", shell_complete=completing.clusters)
@as_json
@click.pass_obj
def watch(client: ControlClient, cluster: str, output: str) -> None:
    """Print what happens, to all clusters or to CLUSTER, as it happens, until interrupted; a restart of recoverd is
    waited for.
    """
    finish(watching.follow(client, cluster, output))


main.add_command(completing.completion)
add_words(main)

if __name__ == "__main__":
    main()
