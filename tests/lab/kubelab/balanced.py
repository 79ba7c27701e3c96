"""haproxy and keepalived on the control planes themselves, as static pods: what kubeadm's guide to high availability
writes (https://github.com/kubernetes/kubeadm/blob/main/docs/ha-considerations.md), with the API servers on a port of
their own beside it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from .images import write
from .node import Node

BALANCED, BEHIND = 6443, 8443
"""The port of the cluster's address, where haproxy listens, and that of the API servers."""
IMAGE = "docker.io/lab/balancer:1"
ARCHIVE = "usr/local/share/lab/balancer_1.tar"
"""On each machine's disk, from which its containerd has it."""
PROGRAMS = ("/usr/sbin/haproxy", "/usr/sbin/keepalived", "/usr/bin/curl", "/bin/sh")
HAPROXY_CFG, KEEPALIVED_CONF = "/etc/haproxy/haproxy.cfg", "/etc/keepalived/keepalived.conf"
CHECK, MANIFESTS = "/etc/keepalived/check_apiserver.sh", "/etc/kubernetes/manifests"
HAPROXY = """global
    log stdout format raw local0
defaults
    mode tcp
    log global
    option tcplog
    option dontlognull
    timeout connect 5s
    timeout client 35s
    timeout server 35s
    timeout check 10s
frontend apiserver
    bind *:{balanced}
    default_backend apiserverbackend
backend apiserverbackend
    option httpchk
    http-check connect ssl
    http-check send meth GET uri /healthz
    http-check expect status 200
    balance roundrobin
{servers}"""
KEEPALIVED = """global_defs {{
    router_id LVS_DEVEL
    script_user root
}}
vrrp_script check_apiserver {{
  script "{check}"
  interval 3
  weight -2
  fall 10
  rise 2
}}
vrrp_instance VI_1 {{
    state {state}
    interface host0
    virtual_router_id 51
    priority {priority}
    authentication {{
        auth_type PASS
        auth_pass 42
    }}
    virtual_ipaddress {{
        {address}
    }}
    track_script {{
        check_apiserver
    }}
}}
"""
CHECK_SCRIPT = """#!/bin/sh
errorExit() {{
    echo "*** $*" 1>&2
    exit 1
}}

curl -sfk --max-time 2 https://localhost:{balanced}/healthz -o /dev/null ||
    errorExit "Error GET https://localhost:{balanced}/healthz"
"""
HAPROXY_POD = """apiVersion: v1
kind: Pod
metadata:
  name: haproxy
  namespace: kube-system
spec:
  containers:
  - image: {image}
    name: haproxy
    command: [/usr/sbin/haproxy, -W, -db, -f, /usr/local/etc/haproxy/haproxy.cfg]
    livenessProbe:
      failureThreshold: 8
      httpGet:
        host: localhost
        path: /healthz
        port: {balanced}
        scheme: HTTPS
    volumeMounts:
    - mountPath: /usr/local/etc/haproxy/haproxy.cfg
      name: haproxyconf
      readOnly: true
  hostNetwork: true
  volumes:
  - hostPath:
      path: {config}
      type: FileOrCreate
    name: haproxyconf
status: {{}}
"""
KEEPALIVED_POD = """apiVersion: v1
kind: Pod
metadata:
  name: keepalived
  namespace: kube-system
spec:
  containers:
  - image: {image}
    name: keepalived
    command: [/usr/sbin/keepalived, --dont-fork, --log-console, --vrrp, -f, /usr/local/etc/keepalived/keepalived.conf]
    resources: {{}}
    securityContext:
      capabilities:
        add:
        - NET_ADMIN
        - NET_BROADCAST
        - NET_RAW
    volumeMounts:
    - mountPath: /usr/local/etc/keepalived/keepalived.conf
      name: config
    - mountPath: {check}
      name: check
  hostNetwork: true
  volumes:
  - hostPath:
      path: {config}
    name: config
  - hostPath:
      path: {check}
    name: check
status: {{}}
"""
# a network namespace outlives its machine, and with it the address that a real one loses as it is switched off
BOOT = """[Service]
ExecStartPost=/bin/sh -c 'for a in $(ip -o -4 addr show dev host0 | grep -o "[0-9.]*/32"); do \\
    ip addr del $a dev host0; done'
"""
TEXTS = (HAPROXY, KEEPALIVED, CHECK_SCRIPT, HAPROXY_POD, KEEPALIVED_POD, BOOT, IMAGE, *PROGRAMS)


def make_image(root: Path) -> None:
    """Make the image of both programs out of a machine's root file system, which has their packages, and leave it
    there.
    """
    held = {"/etc/passwd": "/etc/passwd"}
    for program in PROGRAMS:
        listed = subprocess.run(["chroot", root, "ldd", program], capture_output=True, text=True, check=True).stdout
        held |= {word: word for word in listed.split() if word.startswith("/")}
        held[program] = program
    archive = root / ARCHIVE
    archive.parent.mkdir(parents=True)
    write(archive.parent, IMAGE, [], {f"{root}{path}": path for path in held})
    drop_in = root / "etc/systemd/system/lab-boot.service.d"
    drop_in.mkdir()
    (drop_in / "address.conf").write_text(BOOT)


def prepare(planes: Sequence[Node]) -> None:
    """Give each of the control planes, spare ones too, both static pods and what they read, before kubeadm comes."""
    servers = "".join(f"    server {n.name} {n.address}:{BEHIND} check verify none\n" for n in planes)
    for node in planes:
        first = node is planes[0]
        texts = {
            HAPROXY_CFG: HAPROXY.format(balanced=BALANCED, servers=servers),
            KEEPALIVED_CONF: KEEPALIVED.format(
                check=CHECK,
                state="MASTER" if first else "BACKUP",
                priority=101 if first else 100,
                address=address(node.cluster),
            ),
            CHECK: CHECK_SCRIPT.format(balanced=BALANCED),
            f"{MANIFESTS}/haproxy.yaml": HAPROXY_POD.format(image=IMAGE, balanced=BALANCED, config=HAPROXY_CFG),
            f"{MANIFESTS}/keepalived.yaml": KEEPALIVED_POD.format(image=IMAGE, check=CHECK, config=KEEPALIVED_CONF),
        }
        for path, text in texts.items():
            node.sh(f"mkdir -p {Path(path).parent}; cat >{path}", input=text, stdin=None)
        node.sh(f"chmod +x {CHECK}; ctr -n k8s.io images import /{ARCHIVE} >/dev/null")


def address(cluster: int) -> str:
    """The cluster's, behind the name k8s-api: that of the balancer of other profiles."""
    return f"10.99.{cluster}.10"


def holders(planes: Sequence[Node]) -> list[str]:
    """Names of the machines that are on and have the cluster's address."""
    return [n.name for n in planes if n.answers(f"ip -4 addr show dev host0 | grep -qF 'inet {address(n.cluster)}/'")]
