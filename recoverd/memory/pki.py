"""What is remembered of a control plane's certificates while the cluster is healthy: digests, so that a change
is recognised afterwards. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from recoverd.model.catalogue import Code
from recoverd.model.finding import Diagnosis, Severity
from recoverd.model.kubeadm import made_by_kubeadm
from recoverd.model.memory import ACCOUNTS_KEY, KUBERNETES, KnownPki
from recoverd.model.observation import HostView, Observation

SETTLE = 60.0
"""Seconds of health with renewed certificates before they replace the known ones."""
MEANT = 86400.0
"""The same for a CA or a service account key that was replaced, and for files that are gone: until then it
may be undone, then it was meant.
"""
CHANGED = (Code.PKI_REPLACED, Code.CERTIFICATE_MISSING)
UNSOUND = (Code.CERTIFICATE_MISMATCH, Code.CERTIFICATE_EXPIRED)

Sights = Mapping[tuple[str, str, str], datetime]


def pki_of(view: HostView, before: KnownPki | None, at: datetime) -> KnownPki | None:
    """What is in place on a machine; None where it was not looked at or there is nothing."""
    ours = (c for c in view.certificates if c.path.startswith(f"{KUBERNETES}/") and made_by_kubeadm(c.path))
    certificates = {c.path: c.sha256 for c in ours if c.sha256}
    if view.pki is None or not certificates:
        return None
    authorities = {
        p: keys for p, keys in view.pki.authorities.items() if p.startswith(f"{KUBERNETES}/pki/") and made_by_kubeadm(p)
    }
    # where openssl was not asked this time, nothing says that the key has changed
    accounts = view.pki.keys.get(ACCOUNTS_KEY, before.accounts if before else "")
    return KnownPki(certificates, authorities, accounts, at)


def known_pki(
    observation: Observation, diagnosis: Diagnosis, known: Mapping[str, KnownPki], sights: Sights
) -> tuple[Mapping[str, KnownPki], dict[tuple[str, str, str], datetime]]:
    """The known certificates after a healthy sweep, and those being watched. What does not
    fit together is never taken in.
    """
    new, watched = dict(known), dict[tuple[str, str, str], datetime]()
    found = {(f.code, f.facts.host) for f in diagnosis.findings if f.severity is not Severity.NOTICE}
    for host in observation.etcd:
        view, before = observation.hosts.get(host), known.get(host)
        if (
            not isinstance(view, HostView)
            or any("certificate" in p for p in view.problems)
            or any((code, host) in found for code in UNSOUND)
        ):
            continue
        there = pki_of(view, before, observation.at)
        if there is None or (before and before.alike(there)):
            continue
        key = (host, "pki", there.digest)
        since = sights.get(key, observation.at)
        settle = 0.0 if before is None else MEANT if any((code, host) in found for code in CHANGED) else SETTLE
        if (observation.at - since).total_seconds() >= settle:
            new[host] = there
        else:
            watched[key] = since
    return new, watched
