"""What programs say of a limit of the kernel that is used up. Pure.

Asked before what is said of disks: the kernel answers "no space left on device" for watches and control groups, too.
"""

from __future__ import annotations

from recoverd.diagnose.cause import KERNEL, KUBELET, PROGRAMS, RUNTIMES, SANDBOX, row

KILLED = "killed"
NO_PROCESS = frozenset({"no-memory-to-fork", "no-threads"})
"""With which a machine starts no program any more, for whoever comes by SSH either."""

CAUSES_OF_LIMITS = (
    row(
        KILLED,
        (KERNEL,),
        r"[Oo]ut of memory: Kill(?:ed)? process \d+ \(([\w.-]+)\)",
        "the kernel killed {0} for want of memory",
        "see what takes the memory (`free -m`, `dmesg`), and end it or move it away; a restart of {0} alone ends the "
        "same",
    ),
    row(
        "disk-errors",
        (KERNEL,),
        r"I/O error,? (?:on )?dev(?:ice)? ([\w-]+)|EXT4-fs error \(device (\w+)|"
        r"XFS \((\w+)\): .*(?:[Cc]orruption|I/O [Ee]rror|shut down)|EXT4-fs \((\w+)\): Remounting filesystem "
        r"read-only|BTRFS (?:error|critical) \(device (\w+)|nvme (\w+): controller is down",
        "the kernel has errors of a disk ({0})",
        "see `dmesg` and `smartctl -a`; replace the disk, and give etcd another one",
    ),
    row(
        "disk-hangs",
        (KERNEL,),
        r"task (\S+?):\d+ blocked for more than (\d+) seconds|nvme (\w+): I/O \d+ QID \d+ timeout",
        "the kernel has waited for a disk in vain ({0})",
        "see `dmesg` and what else uses that disk (`iostat -x 1`), or the storage behind it; a network file system "
        "that is gone does the same",
    ),
    row(
        "inotify",
        (KUBELET, *RUNTIMES, SANDBOX),
        r"(?:inotify_(?:init|add_watch)|fsnotify watcher).*(?:no space left on device|too many open files)",
        "the kernel's limit of watched files or of those who watch (fs.inotify) is used up; no disk is full",
        "`sysctl -w fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=8192`, and below /etc/sysctl.d "
        "for "
        "the next boot",
    ),
    row(
        "control-groups",
        (KUBELET, *RUNTIMES, SANDBOX),
        r"/sys/fs/cgroup\S*: (?:no space left on device|cannot allocate memory)",
        "the kernel makes no more control groups, as where it has leaked those of pods that are gone; no disk is full",
        "drain the machine and reboot it; a newer kernel does not leak them",
    ),
    row(
        "keys",
        (SANDBOX,),
        r"session key(?:ring)?: (?:unable to create session key: )?disk quota exceeded",
        "the kernel's limit of keys is used up, of which each container takes one; no disk is full",
        "`sysctl -w kernel.keys.maxkeys=20000 kernel.keys.maxbytes=400000`, and below /etc/sysctl.d for the next boot",
    ),
    row(
        "bpf-jit",
        (SANDBOX,),
        r"seccomp filter.*errno 524",
        "the kernel's room for compiled filters is used up, of which each container takes some (seccomp, errno 524)",
        "`sysctl -w net.core.bpf_jit_limit=528482304`, and below /etc/sysctl.d for the next boot; drain the machine "
        "and reboot it where its kernel leaks it",
    ),
    row(
        "no-ports-left",
        PROGRAMS,
        # ::1 is said so where the machine has no IPv6
        r"dial tcp (?!\[::1\])(\S+?): connect: cannot assign requested address",
        "the machine has no port left for one more connection to {0}",
        "see who has so many (`ss -tanp | sort | uniq -c`, as of a pod that opens one for each request), and end it; a "
        "wider net.ipv4.ip_local_port_range by `sysctl` helps for a while",
    ),
    row(
        "no-memory-to-fork",
        (*PROGRAMS, SANDBOX),
        r"(?:[Ff]ork(?:/exec \S+?)?|[Ff]ailed to (?:fork|spawn).*): (?:retry: )?[Cc]annot allocate memory",
        "the machine has no memory left to start one more process with",
        "see what takes it (`free -m`, `ps -eo rss,comm --sort -rss | head`) and end it or move it away; with "
        "vm.overcommit_memory 2 the kernel refuses while memory is free still",
    ),
    row(
        "no-threads",
        (*PROGRAMS, SANDBOX),
        r"failed to create new OS thread|pthread_create failed|"
        r"(?:[Ff]ork(?:/exec \S+?)?|[Cc]lone|[Ff]ailed to (?:fork|spawn).*): (?:retry: )?[Rr]esource temporarily "
        r"unavailable|: Cannot fork$",
        "the machine has no process or thread left to give",
        "see what takes them (`ps -eLo comm= | sort | uniq -c | sort -n | tail`) and end it; else raise "
        "kernel.pid_max, "
        "or TasksMax of the unit",
    ),
    row(
        "file-descriptors",
        PROGRAMS,
        r"too many open files",
        "it has no file descriptor left",
        "see who opens so many (`ss -tn`, /proc/PID/fd); its limit is LimitNOFILE of the container runtime's unit",
        weak=True,
    ),
)
