"""What goes wrong, and what people do about it, in the field's words. Each is a short function on the model cluster."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from recoverd.model.etcd import MemberEntry
from recoverd.playbooks.etcd_manifest import with_flag
from recoverd.simulate import (
    machine_faults,
    node_faults,
    person_faults,
    pki_faults,
    pod_file_faults,
    vip_faults,
    witness_faults,
)
from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.etcd import QUOTA
from recoverd.simulate.hosts import NONE
from recoverd.simulate.store import BEHIND, PAGES, SMALL, client_url, id_of
from recoverd.simulate.texts import ETCD_DIR, path_of

Fault = Callable[..., None]


def join(c: ModelCluster, name: str) -> None:
    """`kubeadm join --control-plane`: the member is added as a voter (kubeadm before
    1.29), then its etcd is started.
    """
    _join(c, name, learner=False)


def join_unpromoted(c: ModelCluster, name: str) -> None:
    """The same by kubeadm from 1.29 on, cut off before its last steps: the member is a learner, starts, and
    nobody gives it its vote.
    """
    _join(c, name, learner=True)


def _join(c: ModelCluster, name: str, *, learner: bool) -> None:
    c.etcd.add(name, learner=learner)
    joined = [n for n, m in c.machines.items() if m.control_plane and (m.joined or n == name)]
    c.give_files(name, joined, "existing")


def block_peer_port(c: ModelCluster, *names: str) -> None:
    """The firewall drops etcd's port 2380 on these machines."""
    c.network.blocked |= set(names)


def partition(c: ModelCluster, *names: str) -> None:
    """These machines see each other and nobody else; the bastion sees all."""
    c.network.groups = dict.fromkeys(names, 1)


def heal(c: ModelCluster) -> None:
    """Every network fault ends."""
    c.network.groups.clear()
    c.network.blocked.clear()
    c.network.hidden.clear()
    c.network.blind = c.network.vip_broken = False


def blind(c: ModelCluster) -> None:
    """The bastion's own network is down."""
    c.network.blind = True


def hide(c: ModelCluster, *names: str) -> None:
    """The bastion alone cannot reach these machines."""
    c.network.hidden |= set(names)


def break_vip(c: ModelCluster) -> None:
    """Nothing answers any more at the address in the kubeconfig."""
    c.network.vip_broken = True


def power_off(c: ModelCluster, *names: str) -> None:
    """These machines are off."""
    for name in names:
        c.power_off(name)


def power_on(c: ModelCluster, *names: str) -> None:
    """These machines are switched on, and boot."""
    for name in names:
        c.power_on(name)


def reboot(c: ModelCluster, name: str, down: str = "15") -> None:
    """Down for so many seconds, and then its boot."""
    c.power_off(name)
    c.power_on(name, float(down))


def hang(c: ModelCluster, name: str) -> None:
    """It accepts SSH and hangs on every command."""
    c.machines[name].hung = True


def unhang(c: ModelCluster, name: str) -> None:
    """It runs commands again."""
    c.machines[name].hung = False


def delete_manifest(c: ModelCluster, name: str, component: str) -> None:
    """A static pod's manifest is gone."""
    c.machines[name].files.pop(path_of(component), None)


def truncate_manifest(c: ModelCluster, name: str, component: str) -> None:
    """Cut short in the middle, as by a full disk."""
    text = c.machines[name].files.get(path_of(component), "")
    lines = text.splitlines(keepends=True)
    c.machines[name].files[path_of(component)] = "".join(lines[: max(1, len(lines) // 2)])


def mistype_flag(c: ModelCluster, name: str, component: str) -> None:
    """Valid YAML with a flag that the program does not know."""
    text = c.machines[name].files.get(path_of(component), "")
    wrong = {"etcd": ("--data-dir", "--data-dri"), "kube-apiserver": ("--secure-port", "--secure-prot")}
    c.machines[name].files[path_of(component)] = text.replace(
        *wrong.get(component, ("--leader-elect", "--leader-elct"))
    )


def move_data(c: ModelCluster, name: str, target: str = "/root/etcd-backup") -> None:
    """`mv /var/lib/etcd/member`, as before a restore by hand."""
    c.at(name).data[f"{target}/member"] = c.at(name).data.pop(f"{ETCD_DIR}/member")


def change_data_dir(c: ModelCluster, name: str, target: str = "/var/lib/etcd2") -> None:
    """Somebody edits --data-dir in etcd's manifest; the data stay where they are."""
    path, files = path_of("etcd"), c.machines[name].files
    files[path] = files[path].replace(f"--data-dir={ETCD_DIR}", f"--data-dir={target}")


def leave_force_flag(c: ModelCluster, name: str) -> None:
    """Somebody has made this member a cluster of its own by hand, and has not taken the flag out again."""
    text = c.machines[name].files[path_of("etcd")]
    c.machines[name].files[path_of("etcd")] = with_flag(text) or text


def copy_manifest(c: ModelCluster, name: str, component: str) -> None:
    """`cp COMPONENT.yaml COMPONENT.yaml.bak` beside it, before an edit; kubelet takes every file there."""
    files = c.machines[name].files
    if text := files.get(path_of(component)):
        files[f"{path_of(component)}.bak"] = text


def remove_copy(c: ModelCluster, name: str, component: str) -> None:
    """That copy is moved out of the directory."""
    c.machines[name].files.pop(f"{path_of(component)}.bak", None)


def lose_data(c: ModelCluster, name: str) -> None:
    """etcd's data directory is gone."""
    c.at(name).data.pop(f"{ETCD_DIR}/member", None)


def kubeadm_reset(c: ModelCluster, *names: str) -> None:
    """`kubeadm reset -f` on the wrong machine: its files of Kubernetes, kubelet's and etcd's data are gone."""
    for name in names:
        machine = c.machines[name]
        machine.units["kubelet"].stop(c.now)
        gone = ("/etc/kubernetes/manifests/", "/etc/kubernetes/kubelet.conf", "/var/lib/kubelet/")
        machine.files = {path: text for path, text in machine.files.items() if not path.startswith(gone)}
        machine.papers = {}
        # all that is in the directory, which kubeadm knows by the cluster's configuration or by etcd's manifest
        machine.data = {path: store for path, store in machine.data.items() if not path.startswith(f"{ETCD_DIR}/")}
        machine.pods.clear()
        for agent in machine.agents.values():
            agent.started_at = NONE
        for container in machine.containers.values():
            if container.running:
                container.running, container.ended_at = False, c.now


def delete_data(c: ModelCluster, *names: str) -> None:
    """`rm -rf /var/lib/etcd/*` while etcd runs, which does not survive it; what kubelet starts
    then finds an empty directory.
    """
    for name in names:
        c.at(name).data.pop(f"{ETCD_DIR}/member", None)
        c.exited(name, "etcd", "panic: open /var/lib/etcd/member/wal/1.tmp: no such file or directory")


def corrupt_data(c: ModelCluster, name: str) -> None:
    """Pages in the middle of etcd's database are overwritten."""
    path = f"{ETCD_DIR}/member"
    c.at(name).data[path] = replace(c.at(name).data[path], corrupt=PAGES)


def age_database(c: ModelCluster, *names: str) -> None:
    """A power cut: the disk has lost the last writes of etcd's database and not those of its log, so that no etcd that
    starts there finds the snapshot which its log begins with.
    """
    path = f"{ETCD_DIR}/member"
    for name in names:
        c.at(name).data[path] = replace(c.at(name).data[path], corrupt=BEHIND)
        c.exited(name, "etcd", "")


def diverge_data(c: ModelCluster, *names: str) -> None:
    """The data of these members are silently others than those of the rest, by a defect of etcd; its own check raises
    the CORRUPT alarm without naming a member (etcd from 3.4.23 and 3.5.7 on). Without names: it was raised, and all are
    the same by now.
    """
    c.etcd.odd |= {c.etcd.processes[n].id for n in names}
    leader = c.etcd.leaders()[0]
    c.etcd.write(leader.machine.name, lambda s: replace(s, differs=True))


def take_alarm_back(c: ModelCluster) -> None:
    """`etcdctl alarm disarm`, by a person."""
    leader = c.etcd.leaders()[0]
    c.etcd.write(leader.machine.name, lambda s: replace(s, alarms=(), differs=False))


def newer_etcd(c: ModelCluster) -> None:
    """The control planes run etcd 3.5.16, of which members' data can be compared by their hashes."""
    c.etcd.version = "3.5.16"


def fill_etcd(c: ModelCluster, live: str = "10") -> None:
    """Something writes until etcd has reached its quota: objects that take `live` MiB,
    and the rest is their history.
    """
    leader = c.etcd.leaders()[0]
    full = replace(leader.store, in_use=QUOTA, live=int(live) << 20, alarms=(leader.id,))
    c.etcd.write(leader.machine.name, lambda _: full)
    c.etcd.files.update(dict.fromkeys(c.etcd.processes, QUOTA))


def empty_etcd(c: ModelCluster) -> None:
    """A person deletes, compacts and defragments, and takes the alarm back, wherever an etcd leads."""
    for leader in c.etcd.leaders():
        c.etcd.write(leader.machine.name, lambda s: replace(s, in_use=SMALL, live=SMALL, alarms=()))
    c.etcd.files.clear()


def newer_etcdctl(c: ModelCluster) -> None:
    """The control planes' etcdctl is one that knows --bump-revision and --mark-compacted."""
    for machine in c.machines.values():
        machine.bumps = True


def stop(c: ModelCluster, name: str, unit: str = "kubelet") -> None:
    """`systemctl stop`."""
    c.at(name).units[unit].stop(c.now)


def break_unit(c: ModelCluster, name: str, unit: str = "kubelet") -> None:
    """It is stopped, and does not start any more: somebody has switched swap on."""
    c.at(name).units[unit].refuses = "running with swap on is not supported"
    stop(c, name, unit)


def mend_unit(c: ModelCluster, name: str, unit: str = "kubelet") -> None:
    """`swapoff -a; systemctl start kubelet`."""
    c.at(name).units[unit].refuses = ""
    c.restart_unit(name, unit)


def upgrade_manifest(c: ModelCluster, name: str, component: str, version: str = "v1.21.0") -> None:
    """`kubeadm upgrade`: the manifest names the image of a newer version."""
    path, files = path_of(component), c.machines[name].files
    files[path] = re.sub(r"(image: \S+):v\S+", rf"\1:{version}", files[path])


def misname_image(c: ModelCluster, name: str, component: str, version: str = "v1.20.99") -> None:
    """The manifest names an image that no registry has."""
    upgrade_manifest(c, name, component, version)
    c.machines[name].unpulled.add(f"k8s.gcr.io/{component}:{version}")


def put_snapshot(c: ModelCluster, name: str) -> None:
    """`etcdctl snapshot restore` by hand, of what `take-snapshot` took; it refuses a directory that is there."""
    path = f"{ETCD_DIR}/member"
    if c.saved is None or path in c.at(name).data:
        raise ValueError(f"there is no snapshot, or {path} is there")
    c.at(name).data[path] = replace(c.saved, began=c.saved.revision)


def put_snapshot_beyond(c: ModelCluster, name: str) -> None:
    """The same with `--bump-revision 1000000000 --mark-compacted`."""
    put_snapshot(c, name)
    path, machine = f"{ETCD_DIR}/member", c.at(name)
    store, revision = machine.data[path], machine.data[path].revision + 1_000_000_000
    machine.data[path] = replace(store, revision=revision, began=revision, compacted=revision)


def restore_alone(c: ModelCluster, name: str) -> None:
    """The same without a name and a list of members, as a page's one-liner has it: wherever it is done it makes the
    same member of the same cluster (seen with 3.4.23).
    """
    put_snapshot(c, name)
    path, machine = f"{ETCD_DIR}/member", c.at(name)
    store, alone = machine.data[path], id_of("http://localhost:2380")
    row = MemberEntry(alone, name, ("http://localhost:2380",), (client_url(machine.address),))
    made = f"{store.history}+restored on {name}"
    machine.data[path] = replace(store, cluster_id=alone, member_id=alone, members=(row,), history=made)


def end(c: ModelCluster, name: str, component: str) -> None:
    """Its process ends by itself, once."""
    c.kubelets[name].exited(component, c.now, "error: listen tcp 0.0.0.0:6443: bind: address already in use")


def cordon(c: ModelCluster, name: str) -> None:
    """`kubectl cordon` by a person."""
    c.api.write(lambda s: replace(s, cordons={**s.cordons, name: ""}))


def uncordon(c: ModelCluster, *names: str) -> None:
    """`kubectl uncordon` by a person."""
    c.api.write(lambda s: replace(s, cordons={n: by for n, by in s.cordons.items() if n not in names}))


def end_etcd(c: ModelCluster, name: str) -> None:
    """`crictl stop`: its container is ended by a person."""
    c.exited(name, "etcd", "received signal; shutting down")


def start(c: ModelCluster, name: str, unit: str = "kubelet") -> None:
    """`systemctl start`."""
    c.restart_unit(name, unit)


def take_snapshot(c: ModelCluster) -> None:
    """`etcdctl snapshot save`."""
    c.saved = c.etcd.leaders()[0].store


def roll_deployment(c: ModelCluster) -> None:
    """`kubectl rollout restart`: every pod is replaced."""
    c.nodes.roll()


def restore_snapshot(c: ModelCluster, name: str) -> None:
    """The only control plane is put back to the snapshot while the workers run on; revisions go back."""
    if c.saved is None or sum(m.control_plane and m.joined for m in c.machines.values()) != 1:
        raise ValueError("that takes a snapshot and one control plane")
    c.machines[name].data[f"{ETCD_DIR}/member"] = replace(c.saved, began=c.saved.revision)
    for component in ("etcd", "kube-apiserver"):
        c.kubelets[name].exited(component, c.now, "received signal; shutting down")


def by_name() -> dict[str, Fault]:
    """Every fault by the word for it in a story."""
    of = {
        __name__: globals(),
        node_faults.__name__: vars(node_faults),
        machine_faults.__name__: vars(machine_faults),
        person_faults.__name__: vars(person_faults),
        pki_faults.__name__: vars(pki_faults),
        pod_file_faults.__name__: vars(pod_file_faults),
        vip_faults.__name__: vars(vip_faults),
        witness_faults.__name__: vars(witness_faults),
    }
    found = [v for names in of.values() for k, v in names.items() if callable(v) and not k.startswith("_")]
    return {f.__name__.replace("_", "-"): f for f in found if f.__module__ in of and f is not by_name}
