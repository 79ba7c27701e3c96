"""What is done about the certificates of a control plane, as data. Everything is kept on the machine itself; no private key leaves it.

Sources: kubeadm's pages on certificates (`kubeadm certs renew` renews leaf certificates and kubeconfigs and no CA, and not kubelet.conf; before 1.20
it was `kubeadm alpha certs renew`), and on kubelet's client certificate (kubelet-client-current.pem, rotated by kubelet itself; when it is over,
kubelet does not even start).
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Literal

from recoverd.model.etcd_guards import not_anew
from recoverd.model.shell import PIDS, complain

KUBERNETES = "/etc/kubernetes"
KUBELET_PKI = "/var/lib/kubelet/pki"
KEPT = "/var/lib/recoverd/pki"
"""Where copies are kept on a control plane, each in a directory of its own, for root only."""
KEPT_COPIES = 5
"""Copies of the healthy time that stay, the newest; those that a plan made stay as well, for a person to delete."""
RESERVE = 65536
"""KiB that stay free beside a copy."""
STATIC_PODS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")

_END = f"{PIDS}\nfor c in {' '.join(STATIC_PODS)}; do for p in $(pids $c); do kill ${{p##*/}} 2>/dev/null || :; done; done"


def _same(source: str, kubernetes: str) -> str:
    """A shell condition: is every file of the copy in place, as it is in the copy?"""
    return (
        f"( cd {shlex.quote(source)} 2>/dev/null || exit 1; test -d pki || exit 1; for f in $(find pki -type f) *.conf; do "
        f'[ ! -e "$f" ] || cmp -s "$f" {shlex.quote(kubernetes)}/"$f" || exit 1; done )'
    )


_RENEWING = f"""renewing() {{
  for c in /proc/[0-9]*/comm; do
    n=; read -r n 2>/dev/null <$c && [ "$n" = kubeadm ] && tr '\\0' ' ' <${{c%comm}}cmdline 2>/dev/null | grep -q 'certs renew' && return 0
  done
  return 1
}}
i=0; while renewing; do
  i=$((i+1)); [ $i -lt 100 ] || {complain("another kubeadm is renewing certificates here, and has not ended")}; sleep 1
done"""
"""Two at once would leave a certificate of the one with a key of the other. The first is somebody's by hand, or this very step's before a crash of
the bastion: while it waits for an API server that is down, it takes a minute before it begins."""


_LEAVES = ("apiserver.crt", "apiserver-etcd-client.crt", "etcd/server.crt", "etcd/peer.crt")
"""Without any of them etcd or the API server does not start."""


def _over(source: str) -> str:
    """A shell loop that refuses a copy that etcd or an API server could not start with, where there is openssl to tell."""
    s = shlex.quote(source)
    refusal = (
        f"{{ echo {shlex.quote(source)}/${{f#{s}/}}' has expired meanwhile: nothing starts with this copy, so it is not put back' >&2; exit 3; }}"
    )
    # by words, since openssl fails for a file that it cannot read, too
    ask = 'case $(openssl x509 -noout -checkend 0 -in "$f" 2>/dev/null) in *"will expire"*)'
    return f"if command -v openssl >/dev/null; then for f in {' '.join(f'{s}/pki/{leaf}' for leaf in _LEAVES)}; do\n{ask} {refusal} ;; esac\ndone; fi"


def _good(pki: str) -> str:
    """A shell condition: would what is in this directory start, as far as openssl can tell?"""
    files = " ".join(f"{pki}/{leaf}" for leaf in _LEAVES)
    ask = 'case $(openssl x509 -noout -checkend 0 -in "$f" 2>/dev/null) in *"will not expire"*) ;; *) exit 1 ;; esac'
    return f"( command -v openssl >/dev/null || exit 1; for f in {files}; do {ask}; done )"


@dataclass(frozen=True, slots=True)
class KeepPki:
    """Copy /etc/kubernetes/pki and the kubeconfigs to a directory on the same machine: under another name first, so that one that exists is whole.

    Where there is a symbolic link, what it points to is copied: a link in the copy would lead to the very file that the copy is to replace. Only
    one that leads nowhere is kept as it is.
    """

    target: str
    prune: bool = False
    """Delete the oldest copies of the healthy time but a few (their names are 16 hexadecimal digits; others are nobody's to delete)."""
    kubernetes: str = KUBERNETES
    kind: Literal["keep-pki"] = "keep-pki"
    repeatable = True

    @property
    def title(self) -> str:
        return f"keeping the certificates in {self.target}"

    def command(self) -> str:
        t, k, parent = shlex.quote(self.target), shlex.quote(self.kubernetes), shlex.quote(self.target.rsplit("/", 1)[0])
        name, incomplete = "[0-9a-f]" * 16, complain(f"not all of {self.kubernetes}/pki could be copied")
        prune = (
            f'\ncd {parent}\nls -1dt {name} 2>/dev/null | tail -n +{KEPT_COPIES + 1} | while read -r old; do rm -rf ./"$old"; done'
            if self.prune
            else ""
        )
        return (
            f"set -eu\numask 077\n{self.check()} && {{ touch {t}; exit 0; }}\n"
            f"test -d {k}/pki || {complain(f'{self.kubernetes}/pki does not exist')}\n"
            f"mkdir -p -m 700 {parent}\nchmod 700 {parent}\n"
            f"set -- $(du -skL {k}/pki)\nneeded=$1\nset -- $(df -Pk {parent} | tail -n 1)\n"
            f'test "$4" -gt $((needed + {RESERVE})) || {complain(f"there is no room for a copy of the certificates in {KEPT}")}\n'
            # cp fails for a link that leads nowhere, once it has copied the rest; whether it has is asked afterwards
            f"rm -rf {t}.part\nmkdir -m 700 {t}.part {t}.part/pki\ncp -aL {k}/pki/. {t}.part/pki/ || :\n"
            f"( cd {k}/pki && find . -type l ! -exec test -e {{}} \\; -exec cp -P {{}} {t}.part/pki/{{}} \\; )\n"
            f'( cd {k}/pki && find -L . -type f | while read -r f; do cmp -s "$f" {t}.part/pki/"$f" || {incomplete}; done )\n'
            f'for f in {k}/*.conf; do [ ! -f "$f" ] || cp -p "$f" {t}.part/; done\n'
            # pki keeps its own mode, for when it is put back: the directories around it are root's alone
            f"sync\nmv {t}.part {t}{prune}"
        )

    def check(self) -> str:
        return f"test -d {shlex.quote(self.target)}/pki"


@dataclass(frozen=True, slots=True)
class PutBackPki:
    """Put a kept copy into place: pki as a whole by renaming, each kubeconfig by renaming; what was there before is copied to `aside` first.

    Files take the place of what were symbolic links: what these point to is not kubeadm's, and outside of /etc/kubernetes nothing is written to.
    May be broken off anywhere and begun again: what is aside already is not copied twice, and the rest ends in the same place.
    """

    source: str
    aside: str = ""
    """"" where what is in place is of no use, as when it is this very plan's that is taken back."""
    restart: bool = False
    """Where it put anything back, end the static pods' processes, for kubelet to start others with it."""
    marks: tuple[str, ...] = ()
    """Files that say `done` of what this takes back."""
    kubernetes: str = KUBERNETES
    kind: Literal["put-back-pki"] = "put-back-pki"
    repeatable = True

    @property
    def title(self) -> str:
        return f"putting back the certificates from {self.source}"

    def command(self) -> str:
        s, k = shlex.quote(self.source), shlex.quote(self.kubernetes)
        keep = KeepPki(self.aside, kubernetes=self.kubernetes).command() if self.aside else ":"
        unless = "" if self.aside else f"! {_good(f'{k}/pki')} || "
        new, old = f"{k}/.pki.recoverd-new", f"{k}/.pki.recoverd-old"
        marks = "".join(f"\nrm -f {shlex.quote(m)}" for m in self.marks)
        ended = f"\nif test -e {self._begun}; then\n{_END}\nrm -f {self._begun}\nfi" if self.restart else f"\nrm -f {self._begun}"
        return (
            f"set -eu\numask 077\ntest -d {s}/pki || {complain(f'there is no copy of the certificates in {self.source}')}\n"
            f"test ! -L {k}/pki || {complain(f'{self.kubernetes}/pki is a symbolic link; put {self.source}/pki back by hand')}\n"
            f"{not_anew('ending the static pods') if self.restart else ''}"
            # begun before, it is only ended; and taking back what was kept must not end what would go on
            f"test -e {self._begun} || {unless}{{ {_over(self.source)}; }}\n"
            # moved away by hand, there is nothing to keep
            f"test ! -d {k}/pki || ( {keep} )\n"
            f"{_same(self.source, self.kubernetes)} || {{\n: > {self._begun}\nrm -rf {new}\ncp -a {s}/pki {new}\nsync\n"
            f"rm -rf {old}\ntest ! -e {k}/pki || mv {k}/pki {old}\nmv {new} {k}/pki\n"
            f'for f in {s}/*.conf; do [ -f "$f" ] || continue\ncp -p "$f" {k}/.conf.recoverd-new\n'
            f'mv -f {k}/.conf.recoverd-new {k}/"${{f##*/}}"\ndone\n'
            f"rm -rf {old}\nsync\n}}{marks}{ended}"
        )

    def check(self) -> str:
        return f"{{ {_same(self.source, self.kubernetes)} && test ! -e {self._begun}; }}"

    @property
    def _begun(self) -> str:
        """There while it is at work, so that a broken-off one is not taken for done."""
        return shlex.quote(f"{self.source}/putting-back")


@dataclass(frozen=True, slots=True)
class RenewLeaves:
    """`kubeadm certs renew all` (`kubeadm alpha certs renew all` where the binary has only that): every leaf and kubeconfig but kubelet's, no CA."""

    kept: str
    """The copy that was made before; without it nothing is renewed."""
    kind: Literal["renew-leaves"] = "renew-leaves"
    repeatable = True

    @property
    def title(self) -> str:
        return "kubeadm certs renew all"

    @property
    def mark(self) -> str:
        return f"{self.kept}/renewed"

    def command(self) -> str:
        return (
            f"set -eu\ntest -d {shlex.quote(self.kept)}/pki || {complain(f'nothing was kept in {self.kept}, so nothing is renewed')}\n"
            f"command -v kubeadm >/dev/null || {complain('there is no kubeadm here')}\n{_RENEWING}\n"
            "for words in 'certs renew' 'alpha certs renew'; do\nif kubeadm $words all --help >/dev/null 2>&1; then\n"
            f"kubeadm $words all </dev/null\n: > {shlex.quote(self.mark)}\nexit 0\nfi\ndone\n"
            f"{complain('this kubeadm has neither `kubeadm certs renew` nor `kubeadm alpha certs renew`')}"
        )

    def check(self) -> str:
        return f"test -e {shlex.quote(self.mark)}"


@dataclass(frozen=True, slots=True)
class RepairKubeletClient:
    """Have the CA in place sign a new client certificate for this machine's kubelet, and let kubelet.conf use it and trust that CA.

    What `kubeadm init phase kubeconfig kubelet` would write, without a change of the server or of anything else in kubelet.conf.
    """

    node: str
    """Name of the Node."""
    kept: str
    kubernetes: str = KUBERNETES
    kubelet_pki: str = KUBELET_PKI
    kind: Literal["repair-kubelet-client"] = "repair-kubelet-client"
    repeatable = True

    @property
    def title(self) -> str:
        return "renewing kubelet's client certificate"

    @property
    def mark(self) -> str:
        return f"{self.kept}/kubelet-client-repaired"

    def command(self) -> str:
        k, p, conf = shlex.quote(self.kubernetes), shlex.quote(self.kubelet_pki), shlex.quote(f"{self.kubernetes}/kubelet.conf")
        current = f"{p}/kubelet-client-current.pem"
        extensions = (
            "basicConstraints=critical,CA:FALSE\\nkeyUsage=critical,digitalSignature,keyEncipherment\\n"
            "extendedKeyUsage=clientAuth\\nauthorityKeyIdentifier=keyid\\n"
        )
        return (
            f"set -eu\numask 077\ncommand -v openssl >/dev/null || {complain('there is no openssl here')}\n"
            f"test -d {shlex.quote(self.kept)}/pki || {complain(f'nothing was kept in {self.kept}, so nothing is changed')}\n"
            f"test -s {k}/pki/ca.key || {complain(f'the key of the CA ({self.kubernetes}/pki/ca.key) is not on this machine')}\n"
            f"test -f {conf} || {complain(f'{self.kubernetes}/kubelet.conf does not exist')}\n"
            f"mkdir -p {p}\nw=$(mktemp -d)\ntrap 'rm -rf \"$w\"' EXIT\n"
            f"openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out $w/key\n"
            f"openssl req -new -key $w/key -subj {shlex.quote(f'/O=system:nodes/CN=system:node:{self.node}')} -out $w/csr\n"
            f"printf '{extensions}' > $w/ext\n"
            f"openssl x509 -req -in $w/csr -CA {k}/pki/ca.crt -CAkey {k}/pki/ca.key -set_serial 0x$(openssl rand -hex 8) -days 365 -sha256 "
            "-extfile $w/ext -out $w/crt\n"
            f"cat $w/crt $w/key > {p}/kubelet-client-recoverd.pem.new\nmv -f {p}/kubelet-client-recoverd.pem.new {p}/kubelet-client-recoverd.pem\n"
            f"rm -f {current}.new\nln -s {p}/kubelet-client-recoverd.pem {current}.new\nmv -f {current}.new {current}\n"
            f"ca=$(base64 < {k}/pki/ca.crt | tr -d '\\n')\n"
            f's="s|^\\( *certificate-authority-data:\\).*|\\1 $ca|;s|^\\( *client-certificate\\)-data:.*|\\1: {current}|;'
            f's|^\\( *client-key\\)-data:.*|\\1: {current}|"\n'
            f'sed "$s" {conf} > {k}/.conf.recoverd-new\nmv -f {k}/.conf.recoverd-new {conf}\nsync\n: > {shlex.quote(self.mark)}'
        )

    def check(self) -> str:
        return f"test -e {shlex.quote(self.mark)}"


PkiOperation = KeepPki | PutBackPki | RenewLeaves | RepairKubeletClient
