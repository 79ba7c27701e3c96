"""Who has a console open on a machine, told by utmp or by logind: nothing writes utmp any more on Debian 13.
Run by every sh there is here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from recoverd.model.observation import HostView
from recoverd.observe import hosts as looks
from recoverd.observe.look import parse
from recoverd.simulate.clock import EPOCH

SHELLS = [s for s in ("dash", "bash", "busybox") if shutil.which(s)]
LISTS = {
    "systemd 252": " 5 1000 alice seat0 tty2 \n 7 1001 bob   seat0 tty3 \nc1    0 root        pts/8\n",
    "systemd 241": "  5 1000 alice            seat0            tty2            \n  7 1001 bob              seat0     "
    "       tty3            \n",
    "systemd 255": " 5 1000 alice seat0 1234 user    tty2 no -\n 6 1000 alice -     1235 manager -    no -\n 7 1001 "
    "bob seat0 900 user tty3 yes 1h\n",
    "systemd 257": "  5 1000 alice seat0 1234 user    tty2 no -\n 7 1001 bob seat0 900 user tty3 no -\n 8 113 gdm "
    "seat0 800 greeter tty1 no -\n",
}
LOGINCTL = """#!/bin/sh
case "$*" in
  'list-sessions --no-legend --no-pager') cat HERE/list ;;
  'show-session 7 --property=State') echo State=closing ;;
  'show-session '*' --property=State') echo State=active ;;
  *) echo "Unknown operation $*" >&2; exit 1 ;;
esac
"""


class Console:
    """A machine with the programs that tell who is there, and files for its terminals."""

    def __init__(self, here: Path, shell: str) -> None:
        self.here = here
        self.shell = shell
        self._shell = [shell, *(["sh"] if shell == "busybox" else [])]
        (here / "dev").mkdir()
        (here / "bin").mkdir()
        for n in (1, 2, 3):
            (here / f"dev/tty{n}").touch()
        self.program("who", "#!/bin/sh\n")
        self.program("systemctl", "#!/bin/sh\n")

    def program(self, name: str, text: str) -> None:
        (self.here / "bin" / name).write_text(text.replace("HERE", str(self.here)))
        (self.here / "bin" / name).chmod(0o755)

    def seen(self) -> list[str]:
        script = looks.SCRIPT.replace('"/dev/$t"', f'"{self.here}/dev/$t"').replace(
            "/dev/pts/[0-9]*", f"{self.here}/none/[0-9]*"
        )
        given = f"M=@@ D= V= I=\nR=\n{looks.PIDS}\n{looks.TOOL}\n{script}"
        path = f"{self.here}/bin:{os.environ['PATH']}"
        said = subprocess.run(
            self._shell,
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, "PATH": path},
        )
        view = parse(said.stdout, "@@", middle=EPOCH).view
        assert isinstance(view, HostView) and view.people is not None, said
        return [login.tty.rpartition("/")[2] for login in view.people.logins]


@pytest.fixture(params=SHELLS)
def console(request: pytest.FixtureRequest, tmp_path: Path) -> Console:
    return Console(tmp_path, request.param)


@pytest.mark.parametrize("version", LISTS)
def test_a_console_that_only_logind_knows_is_seen_and_one_that_ends_is_not(console: Console, version: str) -> None:
    (console.here / "list").write_text(LISTS[version])
    console.program("loginctl", LOGINCTL)
    assert console.seen() == ["tty2"]


def test_what_both_know_is_one_login_and_utmp_alone_does(console: Console) -> None:
    if console.shell == "busybox":
        pytest.skip("it has a `who` of its own, and asks no other")
    console.program(
        "who",
        "#!/bin/sh\necho 'alice    tty2         2026-03-05 19:41'\necho 'root     pts/0        "
        "2026-03-05 19:41 (10.99.1.1)'\n",
    )
    console.program("loginctl", "#!/bin/sh\necho 'Failed to connect to bus: No such file or directory' >&2\nexit 1\n")
    assert console.seen() == ["tty2"]
    (console.here / "list").write_text(LISTS["systemd 252"])
    console.program("loginctl", LOGINCTL)
    assert console.seen() == ["tty2"]


def test_a_logind_that_hangs_holds_the_look_up_for_two_seconds_and_no_more(console: Console) -> None:
    if not shutil.which("timeout"):
        pytest.skip("there is no timeout here, nor is there a limit then")
    console.program("loginctl", "#!/bin/sh\nexec sleep 600\n")
    assert console.seen() == []
