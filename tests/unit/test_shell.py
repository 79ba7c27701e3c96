"""The shell library and the calls of it: whatever an argument holds, a machine's shell takes it as it is."""

from __future__ import annotations

import ast
import hashlib
import re
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

import recoverd
from recoverd import shell as library_of
from recoverd.act.join import Secrets, start
from recoverd.model.call import Call, HostCall
from recoverd.model.etcd_guards import of_data, of_etcd
from recoverd.model.etcd_operations import SendSnapshot
from recoverd.model.join_operations import JoinControlPlane, TakeBackJoin
from recoverd.model.node_operations import Reboot, RestartDaemonPods
from recoverd.model.operations import CopyPath, HostOperation, MovePath, Shell, WriteFile, kinds_of
from recoverd.model.pki_operations import RenewWorkerClient
from recoverd.shell import Malformed, described, library, parsed, script
from tests.shells import SHELLS, command, sent

KINDS = (*kinds_of(HostOperation), SendSnapshot, Reboot)
NASTY = [
    "it's",
    'say "no"',
    "a b  c",
    "$(touch pwned)",
    "`touch pwned`",
    "${HOME} $1 $$",
    "a\nb\n",
    "; touch pwned",
    "\\n\\\\",
    "-e",
    "*",
    "",
    "ö\t€",
]
CALLS = [Call.of("join_secrets", "l"), Call.of("lease_guard", "aa", 7, True)]


def value(hint: Any, text: str) -> Any:
    """Something of that type, with the text in it wherever text can be."""
    if get_origin(hint) is Literal:
        return get_args(hint)[0]
    if get_origin(hint) is tuple:
        return (text, text)
    return {str: text, int: 3, bool: True}[hint]


def made(kind: Any, text: str) -> HostCall:
    hints = get_type_hints(kind)
    operation = kind(**{f.name: value(hints[f.name], text) for f in fields(kind) if f.name != "kind"})
    assert isinstance(operation, HostCall)
    return operation


def calls(operation: HostCall) -> list[Call]:
    return [c for c in (operation.call(), operation.check()) if c]


def sh(shell: str, text: str, home: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*command(shell), *words], input=text.encode(), capture_output=True, cwd=home, check=False, timeout=30
    )


@pytest.mark.parametrize("shell", SHELLS)
def test_what_any_operation_is_given_arrives_as_it_is(shell: str, tmp_path: Path) -> None:
    """Each function is stood in for by one that prints what it got, in one script for all of them."""
    asked = [call for kind in KINDS for text in NASTY for call in calls(made(kind, text))]
    asked += [start(JoinControlPlane(t, t, t, t, 12, 60), Secrets(t, t, t, t)) for t in NASTY]
    stand_ins = {f"{call.function}() {{ printf '%s\\0' {call.function} \"$@\" END; }}" for call in asked}
    done = sh(shell, "\n".join((*stand_ins, *(call.line for call in asked))), tmp_path)
    assert done.returncode == 0, done.stderr
    assert _rows(done.stdout) == [(call.function, *call.arguments) for call in asked]
    assert not list(tmp_path.iterdir()), "nothing of it was run"


def _rows(printed: bytes) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    row: list[str] = []
    for word in printed.decode().split("\0")[:-1]:
        if word == "END":
            rows.append(tuple(row))
            row = []
        else:
            row.append(word)
    return rows


@pytest.mark.parametrize("shell", SHELLS)
def test_every_script_that_is_sent_can_be_read(shell: str, tmp_path: Path) -> None:
    asked = [call for kind in KINDS for text in ("it's $(touch pwned)", "a\nb") for call in calls(made(kind, text))]
    asked += [Call(name) for name in library()]
    done = sh(shell, "\n".join(f"{{\n{script(*CALLS, call)}\n}} </dev/null" for call in asked), tmp_path, "-n")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", [n for n in NASTY if n])
def test_files_of_any_name_are_written_copied_and_moved(shell: str, name: str, tmp_path: Path) -> None:
    name = name.replace("/", "")
    target, text = tmp_path / f"d{name}" / name, f"{name}\n{name}"
    target.parent.mkdir()
    write = WriteFile(
        str(target), text, hashlib.sha256(text.encode()).hexdigest(), "", beside=f"{tmp_path}/beside{name}"
    )
    copy, move = (
        CopyPath(str(target.parent), f"{tmp_path}/copy{name}"),
        MovePath(f"{tmp_path}/copy{name}", f"{tmp_path}/m{name}/n"),
    )
    for operation in (write, copy, move):
        done = sh(shell, sent(operation.call()), tmp_path)
        assert (done.returncode, done.stderr) == (0, b""), operation
        assert sh(shell, sent(operation.check()), tmp_path).returncode == 0
    assert (tmp_path / f"m{name}" / "n" / name).read_text() == text
    assert not list(tmp_path.rglob("pwned"))


def test_the_model_and_the_machine_agree_which_paths_are_etcds() -> None:
    paths = [
        "/var/lib/etcd/member",
        "/var/lib/etcd/member/",
        "/var/lib/etcd/member.prod-1",
        "/var/lib/etcd/members",
        "/var/lib/etcd",
        "/x/member/snap",
    ]
    paths += [
        "/etc/kubernetes/manifests/etcd.yaml",
        "/etc/kubernetes/manifests/etcd.yaml.new",
        "/root/etcd.yaml",
        "/manifests/kube-scheduler.yaml",
    ]
    for path in paths:
        for function, python in (("of_data", of_data), ("of_etcd", of_etcd)):
            said = subprocess.run(["sh", "-c", script(Call.of(function, path))], check=False).returncode == 0
            assert said is python(path), (function, path)


# --- the library ---


def test_the_library_is_functions_with_comments_and_each_name_is_in_it_once() -> None:
    found = [
        function
        for path in Path(library_of.__file__).parent.glob("*.sh")
        for function in parsed(path.read_text(), path.name)
    ]
    assert sorted(f.name for f in found) == sorted(library())
    assert [f.name for f in found if not f.comment] == []
    with pytest.raises(Malformed):
        parsed("a() {\n  :\n}\nrm -rf /\n", "x.sh")
    with pytest.raises(Malformed):
        parsed("a() {\n  :\n", "x.sh")


def test_a_call_is_sent_with_all_that_it_needs_and_nothing_else() -> None:
    """What a script names and does not have would be a command that no machine has."""
    text = script(Call.of("gone", "etcd", 60))
    assert [f"{name}() " in text for name in ("gone", "await", "give_up", "nobody", "running", "pids")] == [True] * 6
    assert "write_file" not in text and text.endswith("\ngone etcd 60")
    with pytest.raises(KeyError):
        script(Call.of("no_such_function"))


def test_a_function_is_given_every_argument_that_it_reads() -> None:
    """Else it ends in the middle, or takes an empty word for a path."""
    for call in (call for kind in KINDS for call in calls(made(kind, "x"))):
        read = [int(n) for n in re.findall(r"\$\{?([1-9])(?!-)", library()[call.function].text)]
        assert len(call.arguments) >= max(read, default=0), call


def test_what_a_plan_calls_on_the_way_is_in_the_library_and_what_a_hand_calls_is_told() -> None:
    """So `recoverctl plans --script` shows all of it."""
    root = Path(recoverd.__file__).parent
    kinds = (JoinControlPlane, TakeBackJoin, RestartDaemonPods, RenewWorkerClient)
    told = {name for kind in kinds for name in kind.functions}
    called = {
        m for path in (root / "act").glob("*.py") for m in re.findall(r'Call\.of\(\s*"([a-z_]+)"', path.read_text())
    }
    assert told <= library().keys()
    assert called - {"boot_id", "take_point", "remove"} <= told, (
        "what only looks, and what restore points do, is no plan's to show"
    )


def test_what_goes_into_a_command_line_is_short() -> None:
    """The snapshot is the script's stdin, so the script is in the command: quoted
    twice, and sshd takes no long ones.
    """
    send = SendSnapshot("/x/s.db", "0" * 64, 1 << 30, "/var/lib/etcd/s.db")
    assert len(script(Call.of("lease_guard", "a" * 16, 1_700_000_000, True), send.call())) < 8192


def test_a_plan_shows_the_call_and_the_command_that_matters_and_a_shell_reads_the_same() -> None:
    assert MovePath("/a b", "/c\nd").command() == "move_path '/a b' '/c\nd' no '' ''  # mv"
    odd = Call.of("put_route", "it's", does="ip route add\nit's $(touch pwned)").shown
    assert odd == """put_route 'it'"'"'s'  # ip route add it's $(touch pwned)"""
    assert subprocess.run(["sh", "-n"], input=odd, text=True, check=False).returncode == 0
    assert Shell("true").command() == "any_shell true" and Shell("true").check() is None
    assert "secret" not in repr(Call.of("join_start", "secret"))
    assert "# gone COMPONENT SECONDS: wait" in described(["gone"])


def test_only_a_call_quotes() -> None:
    """No operation and no hand renders shell of its own."""
    root = Path(recoverd.__file__).parent
    quoting = {
        str(path.relative_to(root))
        for folder in ("model", "act", "machine", "playbooks")
        for path in (root / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import) and any(name.name == "shlex" for name in node.names)
    }
    assert quoting == {"model/call.py"}
