"""What is asked of the programs themselves: `help` and `version` as words, and which playbooks there are."""

from __future__ import annotations

import click

from recoverd import __version__


class WithPlaybooks(click.Command):
    """A command whose help ends with the playbooks that there are."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from recoverd.playbooks import registry  # loaded only for whoever asks

        with formatter.section("Playbooks"):
            formatter.write_dl([(p.name, p.summary) for p in registry()])


def add_words(group: click.Group) -> None:
    """Let the program take `help [COMMAND]` and `version`, which say what `--help` and `--version` say."""

    @group.command("help")
    @click.argument("command", required=False)
    @click.pass_context
    def told(context: click.Context, command: str | None) -> None:
        """What the program, or one COMMAND of it, does and takes; the same as --help."""
        above = context.parent
        assert above is not None
        found = group.resolve_command(above, [command])[1] if command else group
        assert found is not None  # else it was said that there is no such command
        within = click.Context(found, info_name=command, parent=above) if command else above
        click.echo(found.get_help(within))

    @group.command("version")
    @click.pass_context
    def version(context: click.Context) -> None:
        """Print the version; the same as --version."""
        above = context.parent
        assert above is not None
        click.echo(f"{above.info_name}, version {__version__}")
