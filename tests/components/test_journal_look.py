"""What the look at a machine brings of its journals and disks, with every sh there is here. journalctl's own
words are those of systemd 252.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from recoverd.diagnose.words import refused
from recoverd.model.mounts import unmounted_above
from recoverd.model.observation import HostView
from recoverd.observe import hosts as looks
from recoverd.observe.journal import LINE, LINES
from recoverd.observe.look import parse
from recoverd.simulate.clock import EPOCH

SHELLS = [s for s in ("dash", "bash", "busybox") if shutil.which(s)]
UNIT = """Id={name}.service
LoadState={load}
ActiveState={active}
SubState={sub}
Result=exit-code
StateChangeTimestampMonotonic={at}
NRestarts={n}
"""
FATAL = "F1128 14:37:29.123456   12345 server.go:158] unknown flag: --network-plugin-gone"
JOURNALCTL = """#!/bin/sh
[ "$*" = "-u $2 -n 3000 -o short-unix -q --no-pager" ] || { echo "unknown option: $*" >&2; exit 1; }
echo "$2" >>HERE/asked
cat HERE/$2
"""


class Node:
    def __init__(self, here: Path, shell: str) -> None:
        self.here = here
        self._shell = [shell, *(["sh"] if shell == "busybox" else [])]
        (here / "bin").mkdir()
        self.joined = here / "kubernetes/kubelet.conf"
        self.joined.parent.mkdir()
        self.joined.touch()
        self.program("journalctl", JOURNALCTL)
        self.units(kubelet="active", containerd="active")

    def program(self, name: str, text: str) -> None:
        (self.here / "bin" / name).write_text(text.replace("HERE", str(self.here)))
        (self.here / "bin" / name).chmod(0o755)

    def units(self, since: int = 1000000, **active: str) -> None:
        """As `systemctl show` prints them, with docker installed and not in use."""
        subs = {"active": "running", "activating": "auto-restart", "failed": "failed", "inactive": "dead"}
        states = {**active, "docker": "inactive"}
        blocks = [UNIT.format(name=n, load="loaded", active=a, sub=subs[a], at=since, n=3) for n, a in states.items()]
        blocks.append(UNIT.format(name="crio", load="not-found", active="activating", sub="dead", at=0, n=0))
        (self.here / "units").write_text("\n".join(blocks))
        self.program("systemctl", "#!/bin/sh\ncat HERE/units\n")

    def says(self, unit: str, *lines: str, ago: float = 5.0) -> None:
        at = time.time() - ago
        with (self.here / f"{unit}.service").open("a") as file:
            file.writelines(f"{at:.6f} w1 {unit}[12345]: {line}\n" for line in lines)

    def look(self, journals: str = "", largest: str = "", mounts: str = "") -> HostView:
        given = f"M=@@ D={self.here}/etcd V= I= J='{journals}' F={largest} B='{mounts}'\n"
        given += f"R=\n{looks.PIDS}\n{looks.TOOL}\n"
        given += looks.SCRIPT.replace("K=/etc/kubernetes", f"K={self.joined.parent}")
        given = given.replace("/var/lib/kubelet/config.yaml ]", f"{self.here}/kubelet/config.yaml ]")
        for file in ("/etc/fstab", "/proc/mounts ]", "/proc/mounts || echo"):
            given = given.replace(file, f"{self.here}/{file.split('/')[-1]}")
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
        return parse(said.stdout, "@@", middle=EPOCH).view

    @property
    def asked(self) -> list[str]:
        file = self.here / "asked"
        return file.read_text().split() if file.exists() else []


@pytest.fixture(params=SHELLS)
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Node:
    return Node(tmp_path, request.param)


def test_a_machine_on_which_all_is_well_is_not_asked(node: Node) -> None:
    node.says("kubelet", FATAL)
    view = node.look()
    assert view.journals == {} and node.asked == []
    assert set(view.units) == {"kubelet", "containerd", "docker"}


def test_a_unit_that_fails_says_why_without_what_kubelet_repeats(node: Node) -> None:
    node.units(kubelet="activating", containerd="active")
    usage = [f"      --flag-{n} int   a flag of kubelet's usage" for n in range(150)]
    noise = [
        'E1128 14:37:28.000001   12345 kubelet.go:2183] node "w1" not found',
        'E1128 14:37:28.000002   12345 file.go:104] Unable to read config path "/etc/kubernetes/manifests": '
        "path does not exist, ignoring",
        'W1128 14:37:28.000003   12345 manager.go:949] Error getting perf_event cgroup path: "could '
        'not find path for resource"',
    ] * 30
    trace = [f"k8s.io/kubernetes/vendor/f{n}(0xc000128001)" for n in range(100)]
    node.says("kubelet", *noise, *usage, FATAL, "goroutine 1 [running]:", *trace)
    node.says("kubelet", "kubelet.service: Main process exited, code=exited, status=255/EXCEPTION")
    view = node.look()
    assert node.asked == ["kubelet.service"]
    assert view.journals["kubelet"] == (
        FATAL,
        "kubelet.service: Main process exited, code=exited, status=255/EXCEPTION",
    )


FSTAB = """# /etc/fstab
UUID=1 / ext4 errors=remount-ro 0 1
UUID=2 none swap sw 0 0
/dev/vg/kubelet /var/lib/kubelet/ xfs defaults,nofail 0 0
/dev/vg/etcd\t/var/lib/etcd ext4 nofail 0 0
/dev/vg/runtime /var/lib/containerd xfs nofail,noauto 0 0
/dev/vg/var /var xfs defaults 0 0
/dev/vg/home /home xfs defaults 0 0
"""


def test_what_is_to_be_mounted_where_kubernetes_keeps_something_and_is_not(node: Node) -> None:
    assert node.look().unmounted == ()
    (node.here / "fstab").write_text(FSTAB)
    (node.here / "mounts").write_text("/dev/sda1 / ext4 rw 0 0\n/dev/mapper/vg-var /var xfs rw 0 0\n")
    view = node.look()
    assert view.unmounted == ("/var/lib/kubelet", "/var/lib/etcd")
    assert unmounted_above(view, "/var/lib/etcd/member") == "/var/lib/etcd" and not unmounted_above(
        view, "/var/lib/etc"
    )
    with (node.here / "mounts").open("a") as file:
        file.write(
            "/dev/mapper/vg-etcd /var/lib/etcd ext4 rw 0 0\n/dev/mapper/vg-kubelet /var/lib/kubelet xfs rw 0 0\n"
        )
    assert node.look().unmounted == ()


def test_what_was_mounted_while_all_was_well_and_is_not_is_told_without_fstab_too(node: Node) -> None:
    """As by a unit of systemd, by ZFS, by a script."""
    (node.here / "fstab").unlink(missing_ok=True)
    assert node.look(mounts="/var/lib/etcd").unmounted == (), "what is mounted cannot be read"
    (node.here / "mounts").write_text("/dev/sda1 / ext4 rw 0 0\ntank/kubelet /var/lib/kubelet zfs rw 0 0\n")
    assert node.look(mounts="/var/lib/etcd /var/lib/kubelet").unmounted == ("/var/lib/etcd",)
    (node.here / "fstab").write_text("UUID=1 /var/lib/etcd ext4 nofail 0 0\n")
    assert node.look(mounts="/var/lib/etcd").unmounted == ("/var/lib/etcd",), "told once"


def test_a_unit_that_systemd_refuses_says_which_setting(node: Node) -> None:
    """As with a drop-in whose ExecStart= comes beside the unit's own (systemd 252): it is inactive, and not loaded."""
    text = (
        (node.here / "units")
        .read_text()
        .replace("LoadState=loaded\nActiveState=active", "LoadState={}\nActiveState={}", 1)
    )
    said = "kubelet.service: Service has more than one ExecStart= setting, which is only allowed for Type=oneshot"
    said = f"{said} services. Refusing."
    node.says("kubelet", said)
    for load, active, read in (
        ("bad-setting", "inactive", True),
        ("masked", "inactive", False),
        ("loaded", "inactive", False),
    ):
        (node.here / "units").write_text(text.format(load, active))
        view = node.look()
        assert refused(view.units["kubelet"]) is read
        assert view.journals == ({"kubelet": (said,)} if read else {})


def test_a_proxy_that_refuses_is_no_api_server_that_is_not_there_yet(node: Node) -> None:
    at = 'E1128 14:37:29.1   12345 x.go:92] Unable to register: Post "https://k8s-api:6443/api/v1/nodes": '
    node.says("kubelet", f"{at}dial tcp 10.0.0.1:6443: connect: connection refused")
    proxied = f"{at}proxyconnect tcp: dial tcp 10.0.0.9:3128: connect: connection refused"
    node.says("kubelet", proxied)
    node.units(since=0, kubelet="failed", containerd="active")
    assert node.look("kubelet").journals == {"kubelet": (proxied,)}


def test_what_a_unit_said_last_is_told_in_whatever_words(node: Node) -> None:
    """A program that nobody knows, in the place of kubelet's (seen on the lab)."""
    node.units(kubelet="activating", containerd="active")
    node.says("kubelet", "I1130 01:43:29.428731      96 server.go:10] Started", "a word of long before", "nobody knows")
    with (node.here / "kubelet.service").open("a") as file:
        at = f"{time.time() - 4:.6f} w1 systemd[1]:"
        file.write(f"{at} kubelet.service: Main process exited, code=exited, status=3/NOTIMPLEMENTED\n")
        file.write(f"{at} kubelet.service: Scheduled restart job, restart counter is at 3.\n")
    node.says("kubelet", "a word of the one that runs now", ago=3.0)
    said = node.look().journals["kubelet"]
    assert said[-3:] == (
        "a word of long before",
        "nobody knows",
        "kubelet.service: Main process exited, code=exited, status=3/NOTIMPLEMENTED",
    )
    assert len(said) == 3, said


def test_a_static_pod_that_kubelet_does_not_let_in_is_told(node: Node) -> None:
    """kubelet's own level for it is information (kubernetes/kubernetes #138391)."""
    at = "I0414 16:35:50.929430   12113"
    denied = f'{at} allocation_manager.go:706] "Pod admission denied" pod="kube-system/etcd-w1" reason="OutOfcpu"'
    evicted = f'{at} eviction_manager.go:592] "Eviction manager: pod is evicted successfully" pod="kube-system/etcd-w1"'
    node.says("kubelet", denied, f'{at} kubelet.go:2547] "SyncLoop ADD" source="file"', evicted)
    node.units(since=0, kubelet="active", containerd="active")
    assert node.look("kubelet").journals == {"kubelet": (denied, evicted)}


def test_a_machine_that_is_no_node_yet_is_not_asked(node: Node) -> None:
    """kubeadm's unit ends itself there every ten seconds, for ever."""
    node.units(kubelet="activating", containerd="active")
    node.says("kubelet", FATAL)
    node.joined.unlink()
    assert node.look("kubelet").journals == {} and node.asked == []


def test_a_unit_that_runs_is_read_when_it_is_asked_for(node: Node) -> None:
    node.says("containerd", 'time="2026-03-05T19:10:00Z" level=error msg="failed to do something"')
    assert list(node.look("containerd").journals) == ["containerd"]
    assert node.asked == ["containerd.service"]


def test_what_was_said_long_ago_or_before_its_start_is_not_about_now(node: Node) -> None:
    node.units(kubelet="failed", containerd="active")
    node.says("kubelet", "Error: old", ago=700)
    node.says("kubelet", "Error: young", ago=30)
    assert node.look().journals == {"kubelet": ("Error: young",)}
    node.says("kubelet", "Error: of the cause before", ago=150)
    assert len(node.look().journals["kubelet"]) == 2, "it was given up, and says no more"
    node.units(kubelet="activating", containerd="active")
    assert node.look().journals == {"kubelet": ("Error: young",)}
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    node.units(since=int((time.time() - 20 - boot) * 1e6), kubelet="active", containerd="active")
    assert node.look("kubelet").journals == {}, "it has been up for 20 s since then"


def test_what_a_journal_holds_is_text_and_little_of_it(node: Node) -> None:
    node.units(kubelet="failed", containerd="active")
    node.says("kubelet", *(f"Error number {chr(97 + n)}" for n in range(26)), "@@ end")
    node.says("kubelet", "Error: \x1b[31m $(touch /tmp/owned) `id` '\"; rm -rf \\ " + "x" * 5000)
    lines = node.look().journals["kubelet"]
    assert len(lines) == LINES and all(len(x) <= LINE and x.isprintable() for x in lines)
    assert lines[-1].startswith("Error:  [31m $(touch /tmp/owned)"), "the newest are kept, and nothing of them is run"


def test_a_journal_that_does_not_answer_costs_a_second_and_nothing_else(node: Node) -> None:
    node.units(kubelet="failed", containerd="active")
    node.program("journalctl", "#!/bin/sh\nexec sleep 3600\n")
    view = node.look()
    assert view.journals == {} and "kubelet" in view.units


def test_a_file_system_that_is_mounted_read_only_is_known(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    root = next(d.path for d in node.look().disks)
    assert not any(d.read_only for d in node.look().disks)
    assert any(d.inodes for d in node.look().disks), "df -Pi, of this very machine"
    lines = (
        "proc /proc proc rw,relatime",
        f"/dev/sda1 {root} ext4 ro,relatime,errors=remount-ro",
        "/dev/sdb /mnt ext4 rw,errors=remount-ro",
    )
    (node.here / "mounts").write_text("".join(f"{line} 0 0\n" for line in lines))
    monkeypatch.setattr(looks, "SCRIPT", looks.SCRIPT.replace("/proc/mounts", str(node.here / "mounts")))
    assert [d.path for d in node.look().disks if d.read_only] == [root]


def test_the_largest_files_are_told_where_they_are_asked_for(node: Node) -> None:
    (node.here / "etcd").mkdir()
    with (node.here / "etcd/audit.log").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 30 << 20)
    assert node.look().largest == ()
    assert any(f.endswith("etcd/audit.log") and f.startswith("30 MiB") for f in node.look(largest="1").largest)


def test_a_node_that_has_lost_kubelet_conf_alone_is_one_all_the_same(node: Node) -> None:
    """What `kubeadm reset` leaves is none: it takes pki and kubelet's configuration as well."""
    kubelets = node.here / "kubelet"
    node.joined.unlink()
    assert not node.look().joined
    kubelets.mkdir()
    (kubelets / "config.yaml").touch()
    assert not node.look().joined
    (node.joined.parent / "pki").mkdir()
    (node.joined.parent / "pki/ca.crt").touch()
    assert node.look().joined


def test_the_kernel_is_asked_where_it_is_wanted(node: Node) -> None:
    node.program("journalctl", '#!/bin/sh\n[ "$1" = -k ] && cat HERE/kernel.service\nexit 0\n')
    killed = "Out of memory: Killed process 12345 (etcd) total-vm:11024864kB, anon-rss:812344kB"
    node.says("kernel", "usb 1-1: new device", killed)
    assert node.look().journals == {}
    assert node.look("kernel").journals == {"kernel": (killed,)}
