"""What people type before they know the options: `help` and `version` as words, a path that is no socket."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from aiohttp import web
from click.testing import CliRunner

from recoverd import __version__
from recoverd.cli.approval import only
from recoverd.cli.ctl import main as recoverctl
from recoverd.cli.daemon import main as recoverd
from recoverd.control.client import ControlClient, Denied
from recoverd.playbooks import registry
from tests.listening import listening

BOTH = pytest.mark.parametrize(
    ("program", "name", "command"), [(recoverctl, "recoverctl", "run"), (recoverd, "recoverd", "drill")]
)


@BOTH
def test_help_and_version_are_words_too(program: click.Group, name: str, command: str) -> None:
    def said(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(program, arguments, prog_name=name)
        return result.exit_code, result.output

    assert said("help") == said("--help") and said("help")[0] == 0
    assert said("help", command) == said(command, "--help")
    assert said("version") == said("--version") == (0, f"{name}, version {__version__}\n")
    code, output = said("help", "nothing")
    assert code == 2 and "No such command 'nothing'" in output


def test_a_path_that_is_no_socket_is_called_that(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path):
        result = CliRunner().invoke(recoverctl, ["--socket", str(path), "status"])
        assert result.exit_code == 3 and f"{path} is no socket" in result.output


def test_a_restore_point_is_taken_of_a_cluster() -> None:
    result = CliRunner().invoke(recoverctl, ["restore-points", "take"])
    assert result.exit_code == 2 and "restore-points take CLUSTER" in result.output


def test_the_help_of_run_names_every_playbook_that_it_takes() -> None:
    output = CliRunner().invoke(recoverctl, ["run", "-h"]).output
    assert all(f"  {p.name} " in output for p in registry())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("judge", "/dev/null"), "it is not JSON, or not all of it); recoverctl dump writes one"),
        (("judge", "/nowhere"), "/nowhere cannot be read: No such file or directory\n"),
        (("drill", "join-stuk"), "did you mean join-stuck?"),
        (("init", "--kubeconfig", "/dev/null", "--name", "x"), "it is no kubeconfig, or a part of one is missing"),
    ],
)
def test_what_is_wrong_is_said_in_words_and_not_in_pythons(arguments: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(recoverd, arguments)
    assert result.exit_code == 2 and said in result.output, result.output
    assert "Errno" not in result.output and "NoneType" not in result.output and "validation" not in result.output


def test_a_dump_of_another_shape_is_told_with_the_place(tmp_path: Path) -> None:
    (tmp_path / "dump.json").write_text("{}")
    result = CliRunner().invoke(recoverd, ["judge", str(tmp_path / "dump.json")])
    assert result.exit_code == 2 and "is missing" in result.output and "validation" not in result.output


def test_the_help_says_what_the_exit_codes_mean() -> None:
    told = " ".join(CliRunner().invoke(recoverctl, ["-h"]).output.split())
    assert "0 done, 1 refused or failed, 2 usage, 3 no daemon answers, 4 no such thing" in told


@pytest.mark.parametrize(
    ("waiting", "said"),
    [
        ([], "none of prod waits for one"),
        (["prod-7.2", "prod-7.3"], "those of prod that wait: prod-7.2 (force-new-cluster), prod-7.3 (force-new-c"),
    ],
)
async def test_an_approval_is_of_a_plan_and_not_of_whatever_a_cluster_waits_for(
    waiting: list[str], said: str, tmp_path: Path
) -> None:
    """A cluster's or an incident's name was a Python error without a plan, and else showed the first of its plans."""

    async def plans(request: web.Request) -> web.Response:
        assert request.query["of"] == "prod"
        listed = [{"id": i, "playbook": "force-new-cluster", "status": "awaiting-approval"} for i in waiting]
        over = {"id": "prod-7.1", "playbook": "restore-manifest", "status": "succeeded"}
        return web.json_response({"plans": [over, *listed] if waiting else []})

    daemon = web.Application()
    daemon.router.add_get("/v1/plans", plans)
    async with listening(daemon, tmp_path / "s"):
        with pytest.raises(Denied) as denied:
            await only(ControlClient(tmp_path / "s"), "prod")
    assert denied.value.missing and said in str(denied.value)
