"""A new client certificate for a worker's kubelet: the functions under each shell with the real openssl, and the whole
way from the request to the file in place over a real sshd.
"""

from __future__ import annotations

import shutil
import stat
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from recoverd.model.call import Call
from recoverd.model.pki_operations import RenewWorkerClient
from tests.shells import SHELLS, command, sent

from .conftest import Sshd
from .test_act import Hands

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is needed")
CURRENT = "kubelet-client-current.pem"
OLD = "/O=system:nodes/CN=system:node:w1"


def openssl(*words: object) -> str:
    return subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, check=True).stdout


def lasting(days: int) -> tuple[object, ...]:
    """The words for a certificate of so many days; OpenSSL 3.5 wants dates of one that is over."""
    told = subprocess.run(["openssl", "x509", "-help"], capture_output=True, text=True).stderr
    if days > 0 or "-not_after" not in told:
        return ("-days", days)
    return ("-not_before", "20250101000000Z", "-not_after", "20250102000000Z")


class Pair:
    """A control plane's and a worker's directories; the worker's certificate is over since yesterday."""

    def __init__(self, root: Path) -> None:
        self.plane, self.worker, self.kubelet = root / "cp1", root / "w1", root / "kubelet"
        self.kept, self.work = root / "kept/before-prod-1", root / "kept/before-prod-1.request"
        for folder in (self.plane / "pki", self.worker / "pki", self.kubelet):
            folder.mkdir(parents=True)
        self.authority(self.plane / "pki")
        shutil.copy(self.plane / "pki/ca.crt", self.worker / "pki/ca.crt")
        current = self.kubelet / CURRENT
        (self.worker / "kubelet.conf").write_text(f"client-certificate: {current}\nclient-key: {current}\n")
        self.dated = self.kubelet / "kubelet-client-2025-01-01.pem"
        self.dated.write_text(self.certificate(OLD, days=-1))
        current.symlink_to(self.dated)

    @staticmethod
    def authority(pki: Path, days: int = 30) -> None:
        key, csr = pki / "ca.key", pki.parent / "ca.csr"
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=kubernetes", "-keyout", key, "-out", csr)
        extensions = pki.parent / "ca.ext"
        extensions.write_text("basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,digitalSignature\n")
        # without a key identifier, as kubeadm before 1.19 made them; `req -x509` takes no days that are over
        signed = openssl("x509", "-req", "-in", csr, "-signkey", key, *lasting(days), "-extfile", extensions)
        (pki / "ca.crt").write_text(signed)

    def certificate(self, subject: str, days: int) -> str:
        key, csr, pki = self.plane / "k", self.plane / "r", self.plane / "pki"
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-subj", subject, "-out", csr)
        ca = ("-CA", pki / "ca.crt", "-CAkey", pki / "ca.key", "-set_serial", "7")
        return openssl("x509", "-req", "-in", csr, *ca, *lasting(days)) + key.read_text()

    def request(self, node: str = "w1") -> Call:
        return Call.of("request_kubelet_client", node, str(self.work), str(self.worker), str(self.kubelet))

    def sign(self, request: str, node: str = "w1") -> Call:
        return Call.of("sign_kubelet_client", node, request, str(self.plane))

    def put(self, certificate: str) -> Call:
        words = (self.work, self.kept, self.worker, self.kubelet)
        return Call.of("put_kubelet_client", certificate, *map(str, words))


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def ran(shell: str, call: Call) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(shell), input=sent(call), capture_output=True, text=True, check=False, timeout=60)


def said(shell: str, call: Call) -> str:
    done = ran(shell, call)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def refused(shell: str, call: Call) -> str:
    done = ran(shell, call)
    assert done.returncode == 3, (done.returncode, done.stderr)
    return done.stderr


def in_place(pair: Pair) -> str:
    """The subject of what kubelet would use, once it is of its key and signed by the CA."""
    current = pair.kubelet / CURRENT
    of_key = openssl("pkey", "-in", current, "-pubout")
    assert openssl("x509", "-in", current, "-noout", "-pubkey") == of_key
    openssl("verify", "-purpose", "sslclient", "-CAfile", pair.plane / "pki/ca.crt", current)
    openssl("x509", "-in", current, "-noout", "-checkend", 300 * 86400)
    return openssl("x509", "-in", current, "-noout", "-subject", "-nameopt", "RFC2253").strip()


@pytest.mark.parametrize("shell", SHELLS)
def test_asked_for_signed_and_put_in_place_and_the_key_stays(shell: str, pair: Pair) -> None:
    old = pair.dated.read_text()
    request = said(shell, pair.request())
    assert "PRIVATE" not in request and stat.S_IMODE((pair.work / "key").stat().st_mode) == 0o600
    assert stat.S_IMODE(pair.work.stat().st_mode) == 0o700
    again = said(shell, pair.request())
    assert again != request, "asked for once more, with another key"
    late = refused(shell, pair.put(said(shell, pair.sign(request))))
    assert "not of the key that was made here" in late and (pair.kubelet / CURRENT).readlink() == pair.dated
    signed = said(shell, pair.sign(again))
    said(shell, pair.put(signed))
    assert in_place(pair) == "subject=CN=system:node:w1,O=system:nodes"
    assert (pair.kept / CURRENT).read_text() == old == pair.dated.read_text() and not pair.work.exists()
    for file in (pair.kept / CURRENT, pair.kubelet / "kubelet-client-recoverd.pem"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(pair.kept.stat().st_mode) == 0o700
    assert "is valid" in refused(shell, pair.request()), "what was renewed meanwhile is left alone"
    assert not [*pair.plane.glob("pki/*.srl")]


EXPLICIT = "-pkeyopt ec_param_enc:explicit"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("told", "status"), [("*named_curve*", 0), ("never", 3)], ids=["1.0.2", "deaf"])
def test_the_key_names_its_curve_where_openssl_must_be_told(told: str, status: int, shell: str, pair: Pair) -> None:
    """OpenSSL 1.0.2 (CentOS 7) writes the curve's parameters out untold; Go does not take such a key."""
    instead = (
        f'openssl() {{ case "$1 $*" in {told}) ;; genpkey*) set -- "$@" {EXPLICIT} ;; esac; command openssl "$@"; }}'
    )
    done = subprocess.run(
        command(shell), input=sent(pair.request(), instead), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == status, done.stderr
    assert status or "ASN1 OID: prime256v1" in openssl("pkey", "-in", pair.work / "key", "-noout", "-text")


@pytest.mark.parametrize("shell", SHELLS)
def test_a_file_that_was_emptied_is_known_by_what_lies_beside_it(shell: str, pair: Pair) -> None:
    pair.dated.rename(pair.kubelet / "kubelet-client-2024-01-01.pem")
    (pair.kubelet / CURRENT).unlink()
    (pair.kubelet / CURRENT).write_text("")
    said(shell, pair.put(said(shell, pair.sign(said(shell, pair.request())))))
    assert in_place(pair) and (pair.kept / CURRENT).read_text() == ""


@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_refused_before_anything_is_changed(shell: str, pair: Pair) -> None:
    assert "no certificate in" in refused(shell, pair.request("w11"))
    assert "no certificate in" in refused(shell, pair.request("w"))
    request = said(shell, pair.request())
    assert "and not for the kubelet of w2" in refused(shell, pair.sign(request, "w2"))
    forged = openssl("req", "-new", "-key", pair.work / "key", "-subj", "/O=system:masters/CN=system:node:w1")
    assert "and not for the kubelet of w1" in refused(shell, pair.sign(forged))
    assert "no request" in refused(shell, pair.sign("nonsense"))
    (pair.plane / "pki/ca.key").rename(pair.plane / "ca.key")
    assert "ca.key) is not on this machine" in refused(shell, pair.sign(request))
    pair.authority(pair.plane / "pki")
    other = said(shell, pair.sign(request))
    assert "not of the CA that this machine trusts" in refused(shell, pair.put(other))
    pair.authority(pair.plane / "pki", days=-1)
    assert "is over" in refused(shell, pair.sign(request))
    (pair.worker / "kubelet.conf").write_text("client-certificate-data: eA==\n")
    assert "does not name" in refused(shell, pair.request())
    assert (pair.kubelet / CURRENT).readlink() == pair.dated and not pair.kept.exists()


@pytest.fixture
async def hands(sshd: Sshd, tmp_path: Path) -> AsyncIterator[Hands]:
    made = Hands(sshd, tmp_path / "state")
    yield made
    await made.pool.close()


async def test_the_bastion_carries_the_request_there_and_the_certificate_back(hands: Hands, pair: Pair) -> None:
    """Over a real sshd; that the two machines are one here, the functions do not know."""
    both = pair.plane
    (both / "kubelet.conf").write_text((pair.worker / "kubelet.conf").read_text())
    renew = RenewWorkerClient("w1", "cp1", str(pair.kept), str(both), str(pair.kubelet))
    asked = await hands.do(renew, resume=True)
    assert asked.undone and (pair.kubelet / CURRENT).readlink() == pair.dated
    elsewhere = await hands.do(replace(renew, node="w2"))
    assert not elsewhere.ok and elsewhere.untouched and "no certificate in" in elsewhere.detail
    done = await hands.do(renew)
    assert done.ok, done.detail
    assert in_place(pair) == "subject=CN=system:node:w1,O=system:nodes"
    again = await hands.do(renew, resume=True)
    assert again.ok and again.already_done
