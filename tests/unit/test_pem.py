"""Reading certificates."""

from __future__ import annotations

import base64
import warnings
from datetime import UTC, datetime

import pytest

from recoverd.model.pem import Description, describe, load
from recoverd.observe.pki import pki

CA = b"""-----BEGIN CERTIFICATE-----
MIIBbDCCARKgAwIBAgIBADAKBggqhkjOPQQDAjAVMRMwEQYDVQQDDAprdWJlcm5l
dGVzMB4XDTI2MTEyNTE4MzMxNloXDTM2MTEyMjE4MzMxNlowFTETMBEGA1UEAwwK
a3ViZXJuZXRlczBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABLEtCHnKczhNXPyk
aJN9YozPoZZ+Fb3m1Iec62QDOOb0Clydogk+a4PR4KydHyiFtfYVhbPN/fXGgs8J
z7G1DNGjUzBRMB0GA1UdDgQWBBQXX0twRrxGadquSyI7zHC2Cv+MXzAfBgNVHSME
GDAWgBQXX0twRrxGadquSyI7zHC2Cv+MXzAPBgNVHRMBAf8EBTADAQH/MAoGCCqG
SM49BAMCA0gAMEUCIGmHeHW5ynXbvTrJbbraVfCi+Cg8nWUAlAaDt3uAV6glAiEA
3Mj0wAMhcvc0ge5rruh934JcPtjau8Fxpcv+c2oiyYU=
-----END CERTIFICATE-----
"""
"""As kubeadm makes its CAs before 1.30: with the serial number 0, about which `cryptography` warns."""
ODD = b"""-----BEGIN CERTIFICATE-----
MIIBQDCB/qADAgECAhROgH5pGYQ8J0yy8xcRYZWSbjeZoTAKBggqhkjOPQQDAjAO
MQwwCgYDVQQDDANvZGQwIBcNMjYxMTI1MTkwOTA0WhgPMjEyNjExMDExOTA5MDRa
MA4xDDAKBgNVBAMMA29kZDA+MBAGByqGSM49AgEGBSuBBAAIAyoABAfjhExz/KvT
wUkqHAD/B1nz+rd6JS6GtkMc8DP5EccqL6/bBmI0gxejUzBRMB0GA1UdDgQWBBRg
zJqNlaCVsVA5Pzi5/OpiKUoFRDAfBgNVHSMEGDAWgBRgzJqNlaCVsVA5Pzi5/Opi
KUoFRDAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCAzEAMC4CFQCkOMhvULyS
A2IWW4ThRzMTH8Y1FAIVAN4QJxUoe16WEbm4O+LeVgRstFyA
-----END CERTIFICATE-----
"""
"""A CA on the curve secp160r1: `openssl ecparam -name secp160r1 -genkey`. It is read, and its public key is not."""


def test_a_ca_with_the_serial_number_0_is_read_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (certificate,) = load(b"what stands before it\n" + CA)
        said = describe(certificate)
    begins, ends = datetime(2026, 11, 25, 18, 33, 16, tzinfo=UTC), datetime(2036, 11, 22, 18, 33, 16, tzinfo=UTC)
    assert said == Description("CN=kubernetes", "CN=kubernetes", "0", begins, ends)


def test_all_of_a_file_are_read_and_what_is_none_is_said() -> None:
    assert len(load(CA + CA)) == 2
    for text in (b"", b"no certificate", CA[:300]):
        with pytest.raises(ValueError, match="PEM"):
            load(text)


def test_a_certificate_on_a_curve_that_is_not_known_is_a_problem_and_hides_nothing_else() -> None:
    problems: list[str] = []
    folder = "/etc/kubernetes/pki"
    odd, conf = f"{folder}/front-proxy-ca.crt", "/etc/kubernetes/admin.conf"
    found = [
        ("cert", odd, ODD.decode()),
        ("cert", f"{folder}/ca.crt", CA.decode()),
        ("kubeconfig-ca", conf, base64.b64encode(ODD).decode()),
    ]
    views, keys = pki(found, problems)
    assert [v.path for v in views] == [f"{folder}/ca.crt"] and set(keys.authorities) == {f"{folder}/ca.crt"}
    assert len(problems) == 2
    for path in (odd, conf):
        assert any(
            p.startswith(f"the certificate in {path} could not be read:") and "is not supported" in p for p in problems
        ), problems
