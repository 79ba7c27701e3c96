"""One machine: a systemd-nspawn container with its own systemd, sshd, containerd and kubelet."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from .host import CACHE, CGROUPS, CLUSTERS, KEY, PATIENCE, LabError, attempt, remove_tree, run, unmount_below
from .network import add_bridge, add_namespace, plug, remove_namespace
from .suites import INIT_WORDS

HOST_KEY = "etc/ssh/ssh_host_ed25519_key"
REBOOT_REQUESTED = 133
"""systemd-nspawn's exit status when the container asked to be rebooted."""
# at a load of 40 a machine's sshd took more than 3 s for its first word (observed)
SSH_OPTIONS = (
    "StrictHostKeyChecking=no UserKnownHostsFile=/dev/null LogLevel=ERROR ConnectTimeout=10 IdentitiesOnly=yes".split()
)


class Node:
    """A machine of a cluster. Its disk is a directory; on and off, in the network and out of it, as a real one."""

    def __init__(self, cluster: int, name: str, number: int) -> None:
        self.cluster, self.name, self.number = cluster, name, number
        self.address, self.pods = f"10.99.{cluster}.{number}", f"10.{200 + cluster}.{number}.0/24"
        self.id = f"rd{cluster}-{name}"
        self.dir = CLUSTERS / str(cluster) / name

    # --- talking to it ---

    def ssh(self, *options: str) -> list[str]:
        """The ssh command line as root; the remote command is to be added."""
        settings = [word for option in SSH_OPTIONS for word in ("-o", option)]
        return ["ssh", "-i", str(KEY), *settings, *options, f"root@{self.address}"]

    def sh(self, script: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a bash script on the machine; raises CalledProcessError when it fails, unless `check=False`."""
        options.setdefault("stdin", subprocess.DEVNULL)
        return run([*self.ssh(), "bash -ec " + shlex.quote(script)], **options)

    def answers(self, command: str = "true") -> bool:
        """Whether sshd answers and the command succeeds there."""
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.run([*self.ssh(), command], **quiet).returncode == 0

    def boot_id(self) -> str:
        return self.sh("cat /proc/sys/kernel/random/boot_id", capture_output=True).stdout.strip()

    def known_hosts(self) -> str:
        """The machine's line for a known_hosts file."""
        disks = (self.dir / "upper", *self.layers)
        key = next(file for disk in disks if (file := disk / f"{HOST_KEY}.pub").exists()).read_text().split()
        return f"{self.address} {key[0]} {key[1]}\n"

    # --- power ---

    def processes(self) -> set[int]:
        """Ids of every process of the machine, from its control groups: nothing that
        belongs to it is outside of them.
        """
        found: set[int] = set()
        for group in CGROUPS.glob(f"*/{self.id}"):
            for directory, _, _ in os.walk(group):  # groups may go while they are read, which os.walk minds as little
                with suppress(OSError):
                    found.update(map(int, Path(directory, "cgroup.procs").read_text().split()))
        return found - {os.getpid()}

    @property
    def running(self) -> bool:
        return bool(self.processes())

    def boot(
        self, containerd: Path, peers: Sequence[Node] = (), *, layers: Sequence[Path] = (), kept: bool = False
    ) -> None:
        """Make the machine out of whatever is left of it, with `containerd` as its image store,
        and wait until its services run.

        `layers`: disks that lie below its own, the uppermost first. `kept`: it has been one of `peers` before, and its
        settings are on them.
        """
        (self.dir / "upper").mkdir(parents=True, exist_ok=True)
        if layers:
            (self.dir / "layers").write_text("\n".join(map(str, layers)))
        if not kept:
            self._write_settings(peers)
        self._mount()
        add_bridge(self.cluster)
        add_namespace(self.cluster, self.id, self.address)
        (self.dir / "containerd-path").write_text(str(containerd))
        self.power_on()

    def power_on(self) -> None:
        """Press the button, and wait until sshd and containerd answer."""
        if self.running:
            return
        self._mount()
        plug(self.id, True)
        containerd = (self.dir / "containerd-path").read_text().strip()
        # nspawn ends when the machine asks for a reboot, and has to be started again
        loop = f'while "$@"; [ $? -eq {REBOOT_REQUESTED} ]; do :; done'
        nspawn = [
            "systemd-nspawn",
            "-q",
            "-D",
            str(self.dir / "root"),
            "-M",
            self.id,
            f"--hostname={self.name}",
            "--register=no",
            "--keep-unit",
        ]
        nspawn += ["--resolv-conf=off"]
        nspawn += [f"--network-namespace-path=/run/netns/{self.id}", "--capability=all", "--system-call-filter=@known"]
        nspawn += [f"--bind={containerd}:/var/lib/containerd", "--bind=/dev/kmsg", "--console=pipe", "--boot"]
        words = self.dir / "root" / INIT_WORDS
        nspawn += words.read_text().split() if words.exists() else []
        settings = {
            "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "0",
            "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "1",
            "SYSTEMD_NSPAWN_USE_CGNS": "1",
        }
        enter = enter_cgroups(self.id)
        with (self.dir / "console.log").open("ab") as log:
            process = subprocess.Popen(
                ["bash", "-c", loop, "systemd-nspawn-loop", *nspawn],
                env={**os.environ, **settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=enter,  # one thread starts one machine; nothing but system calls in it
            )
        (self.dir / "pid").write_text(str(process.pid))
        self.wait_for(lambda: self.answers("systemctl is-active -q containerd"), "did not come up", 60)

    def power_off(self) -> None:
        """Pull the plug: everything is killed at once, and nothing answers at its address. The disk stays."""
        plug(self.id, False)
        deadline = time.monotonic() + 20
        while pids := self.processes():
            if time.monotonic() > deadline:
                raise LabError(f"node {self.name} has processes that cannot be killed: {sorted(pids)}")
            self._kill(pids)
            time.sleep(0.1)

    def _kill(self, pids: set[int]) -> None:
        """By descriptors that were opened while the ids were the machine's: one that was read earlier
        may be another process's by now.
        """
        with ExitStack() as opened:
            held = {}
            for pid in pids:
                with suppress(ProcessLookupError):
                    held[pid] = os.pidfd_open(pid)
                    opened.callback(os.close, held[pid])
            for pid in self.processes() & held.keys():
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(held[pid], signal.SIGKILL)

    def shut_down(self) -> None:
        """Switch it off as a person would, and unmount its disk; one that does not end in time is cut off."""
        if self.running:
            self.sh("systemctl poweroff", check=False)
            try:
                self.wait_for(lambda: not self.running, "did not power off", 30)
            except LabError:
                self.power_off()
        unmount_below(self.dir / "root")

    def reboot(self) -> None:
        """Reboot as a person would, and wait until the machine is up again with a new boot id."""
        before = self.boot_id()
        self.sh("systemctl reboot", check=False)
        self.wait_for(
            lambda: self.answers(
                f"systemctl is-active -q containerd && ! grep -q {before} /proc/sys/kernel/random/boot_id"
            ),
            "did not reboot",
            180,
        )

    def destroy(self) -> None:
        """Power off and remove every trace; right for a machine that was never whole, too."""
        self.power_off()
        remove_namespace(self.id)
        remove_tree(self.dir)
        for group in CGROUPS.glob(f"*/{self.id}"):
            attempt(f"find {group} -depth -type d -exec rmdir {{}} \\;")

    def wait_for(self, condition: Callable[[], bool], complaint: str, seconds: float, every: float = 0.3) -> None:
        """Wait until `condition` holds; raises LabError with the complaint and where the machine's log is."""
        deadline = time.monotonic() + seconds * PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise LabError(
                    f"node {self.name} {complaint} in {seconds * PATIENCE:.0f} s; see {self.dir}/console.log"
                )
            time.sleep(every)

    # --- its disk ---

    def _mount(self) -> None:
        for directory in ("work", "root"):
            (self.dir / directory).mkdir(parents=True, exist_ok=True)
        nspawn = Path("/run/systemd/nspawn")  # nspawn's reboot handling wants a tmpfs there
        nspawn.mkdir(parents=True, exist_ok=True)
        if not nspawn.is_mount():
            run(["mount", "-t", "tmpfs", "tmpfs", nspawn])
        if not (self.dir / "root").is_mount():
            lower = ":".join(map(str, self.layers))
            layers = f"lowerdir={lower},upperdir={self.dir}/upper,workdir={self.dir}/work"
            run(["mount", "-t", "overlay", "overlay", "-o", layers, self.dir / "root"])

    @property
    def layers(self) -> list[Path]:
        """What lies below its own disk, the uppermost first."""
        file = self.dir / "layers"
        return [Path(line) for line in file.read_text().split()] if file.exists() else [CACHE / "base"]

    def _write_settings(self, peers: Sequence[Node]) -> None:
        """Names, routes to the other nodes' pods, the pod network, and an SSH host key of its own."""
        etc = self.dir / "upper/etc"
        (etc / "cni/net.d").mkdir(parents=True, exist_ok=True)
        (etc / "ssh").mkdir(exist_ok=True)
        (etc / "hostname").write_text(self.name + "\n")
        # the file system of all machines has one, and nodes that share it are told
        (etc / "machine-id").write_text(hashlib.md5(self.id.encode(), usedforsecurity=False).hexdigest() + "\n")
        # a name server that is silent costs kubelet 5 s at each start (observed on 1.20.2: it asks for the name
        # of a cloud's metadata service)
        (etc / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        names = "".join(f"{p.address} {p.name}\n" for p in (self, *peers))
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n10.99.{self.cluster}.10 k8s-api\n{names}")
        (etc / "lab-routes").write_text("".join(f"ip route replace {p.pods} via {p.address}\n" for p in peers))
        ipam = {"type": "host-local", "ranges": [[{"subnet": self.pods}]], "routes": [{"dst": "0.0.0.0/0"}]}
        plugins = [
            {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True, "hairpinMode": True, "ipam": ipam},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ]
        (etc / "cni/net.d/10-lab.conflist").write_text(
            json.dumps({"cniVersion": "0.3.1", "name": "lab", "plugins": plugins})
        )
        if not (self.dir / "upper" / HOST_KEY).exists():
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.id, "-f", self.dir / "upper" / HOST_KEY])


def enter_cgroups(name: str) -> Callable[[], None]:
    """Make a control group `name` in every hierarchy and return what moves a new process into all of them."""
    groups = []
    for hierarchy in CGROUPS.iterdir():
        # the unified one too: nspawn takes from it where in systemd's own it makes the machine's root, and machines
        # that shared one root would take each other's pods for their own leftovers
        if not (hierarchy / "cgroup.procs").exists():
            continue
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems") if (group / "cpuset.cpus").exists() else ():
            (group / file).write_text((hierarchy / file).read_text())
        groups.append(str(group / "cgroup.procs"))

    def enter() -> None:
        for path in groups:
            descriptor = os.open(path, os.O_WRONLY)
            os.write(descriptor, b"0")  # 0 is the writer itself
            os.close(descriptor)

    return enter
