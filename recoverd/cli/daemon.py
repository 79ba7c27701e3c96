"""`recoverd`: run, init, example-config, completion, check-config, doctor, schema, judge, drill."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from recoverd import __version__
from recoverd.cli import completing
from recoverd.cli.help import add_words
from recoverd.cli.init import example_config, init
from recoverd.cli.program import Program, in_json
from recoverd.config import Config, ConfigError, json_schema, load
from recoverd.config.types import Problem, place
from recoverd.model.news import Topic
from recoverd.playbooks import registry

DEFAULT_FILE = "/etc/recoverd/recoverd.yaml"
of_file = click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    default=DEFAULT_FILE,
    show_default=True,
    help="Configuration file.",
)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="recoverd")
def main() -> None:
    """Watches kubeadm clusters from a bastion host, repairs what it can prove broken,
    and asks before data is at stake.
    """


main.add_command(init)
main.add_command(example_config)
main.add_command(completing.completion)
add_words(main)


@main.command()
@of_file
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
def run(file: Path, log_format: str) -> None:
    """Run the daemon."""
    from recoverd.daemon import logs, wiring  # what only the daemon needs is loaded only for it

    config = _load(file)
    logs.set_up(log_format)
    sys.exit(wiring.run(config, file))


@main.command("check-config")
@click.argument("file", type=click.Path(path_type=Path), default=DEFAULT_FILE)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def check_config(file: Path, output: str) -> None:
    """Check a configuration FILE (default: /etc/recoverd/recoverd.yaml): every error with its place; exit 0, or 2."""
    if output == "json":
        sys.exit(_checked(file))
    config = _load(file)
    for cluster in config.clusters:
        settings = cluster.settings
        workers = f"{len(settings.workers)} workers" if settings.workers else "workers learnt from the API"
        click.echo(
            f"{settings.name}: {len(settings.control_planes)} control planes, {workers}, every {cluster.interval:g} s"
            f"{', ONLY OBSERVED (mode: observe)' if settings.observes else ''}"
        )
        for playbook in registry():
            approval = "required" if playbook.destructive else settings.approval_of(playbook.name)
            click.echo(
                f"  {playbook.name:24} "
                f"{approval if settings.approval_of(playbook.name) != 'never' else 'never':10} {playbook.summary}"
            )
    for receiver in config.notifications:
        topics, clusters = ", ".join(t for t in Topic if t in receiver.on), ", ".join(sorted(receiver.clusters))
        click.echo(f"{receiver.name} ({receiver.kind}) is told of {clusters}: {topics}")
    if config.store:
        etcd = ", ".join(config.store.endpoints)
        click.echo(
            f"{config.store.bastion} is one of several bastions, by their etcd at {etcd}, below {config.store.prefix}"
        )
    if config.heartbeat:
        click.echo(f"a sign of life every {config.heartbeat.every:g} s")
    number = len(config.warnings)
    click.echo(f"{file} is good{f', with {number} warning' + 's' * (number != 1) if number else ''}")


@main.command()
@click.argument("cluster", required=False, default="")
@click.argument("node", required=False, default="")
@of_file
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def doctor(cluster: str, node: str, file: Path, output: str) -> None:
    """Prove the installation, of all clusters or CLUSTER, of all machines or NODE: SSH, root, programs, room, clocks,
    etcd, the API server, permissions and the bastion itself. Writes nothing anywhere. Exits 0 when all is well, 1 with
    warnings, 2 when something fails.
    """
    from recoverd import doctor as doctors

    config = _load(file)
    try:
        checks = asyncio.run(doctors.examine(config, cluster, node))
    except doctors.Stranger as stranger:
        click.echo(f"recoverd: {stranger}", err=True)
        sys.exit(2)
    if output == "json":
        click.echo(in_json(doctors.shape(checks), 2))
    else:
        for check in checks:
            click.echo(check.line)
    sys.exit(int(doctors.worst(checks)))


@main.command()
def schema() -> None:
    """Print the JSON schema of the configuration, for an editor that completes and checks YAML by one."""
    click.echo(in_json(json_schema(), 2))


@main.command()
@click.argument("scenario", required=False, shell_complete=completing.scenarios)
@click.option("--approve", is_flag=True, help="Answer yes where an approval is asked.")
def drill(scenario: str | None, approve: bool) -> None:
    """Play SCENARIO on a model cluster: the same brain and playbooks, no cluster and no
    root. Without SCENARIO: list them.
    """
    from recoverd.cli import drill as drills

    if scenario is None:
        for name, summary in sorted(drills.scenarios().items()):
            click.echo(f"{name:28} {summary}")
        return
    sys.exit(drills.drill(scenario, approve))


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
def judge(file: Path) -> None:
    """Judge a FILE that `recoverctl dump` wrote, as this version of recoverd would: what is
    found, and what would be planned.
    """
    from recoverd.cli import judge as judging

    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        click.echo(f"{file} cannot be read: {getattr(error, 'strerror', '') or 'it is no text'}", err=True)
        sys.exit(2)
    try:
        click.echo(judging.judged(text), nl=False)
    except ValueError as error:
        why = f" ({judging.wrong(error)})"
        click.echo(f"{file} is no dump that this version of recoverd reads{why}; recoverctl dump writes one", err=True)
        sys.exit(2)


def _checked(file: Path) -> int:
    """Print what is wrong with the file, and what is hardly meant, for a program; the exit code."""
    errors: Sequence[Problem] = ()
    warnings: Sequence[Problem] = ()
    try:
        config = load(file, known_playbooks=[p.name for p in registry()])
        warnings, lines = config.warnings, config.lines
    except ConfigError as error:
        errors, lines = error.errors, error.lines

    def told(problems: Sequence[Problem]) -> list[dict[str, object]]:
        return [{"line": lines.get(at) or None, "path": at, "message": what} for at, what in problems]

    said = {"file": str(file), "good": not errors, "errors": told(errors), "warnings": told(warnings)}
    click.echo(in_json(said, 2))
    return 2 if errors else 0


def _load(file: Path) -> Config:
    try:
        config = load(file, known_playbooks=[p.name for p in registry()])
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    for path, message in config.warnings:
        click.echo(f"{place(file, config.lines.get(path, 0))}: {path}: warning: {message}", err=True)
    return config
