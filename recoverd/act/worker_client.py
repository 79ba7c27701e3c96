"""The client certificate of a worker's kubelet: asked for there, signed on a control plane, put in place there.

The bastion carries a request and a certificate, and neither is a secret: the key is made on the worker and stays there.
"""

from __future__ import annotations

from recoverd.act.begin import begin
from recoverd.act.carry import Carry, hand
from recoverd.act.host import GUARD_STATUS, HostRunner, tail
from recoverd.clients.hosts import HostUnseen
from recoverd.model.call import Call
from recoverd.model.pki_operations import RenewWorkerClient
from recoverd.model.plan import StepResult


class NotDone(Exception):  # noqa: N818
    """Why nothing was put in place, for the operator."""


async def renew(o: RenewWorkerClient, at: Carry) -> StepResult:
    """Ask, sign, put in place. The one write is the last; until then nothing that kubelet reads is another."""
    name = f"renewing the client certificate of kubelet on {at.host}"
    runner = HostRunner(at.reach.hosts, at.host)
    if at.resume and (settled := await runner.resumed(o, name, at.until)):
        return settled
    if at.ask:
        return StepResult(False, f"{name} has not been done yet", undone=True)
    try:
        asked = Call.of("request_kubelet_client", o.node, o.work, o.kubernetes, o.kubelet_pki)
        request = await _said(at, at.host, asked)
        signed = await _said(at, o.signer, Call.of("sign_kubelet_client", o.node, request, o.kubernetes))
    except NotDone as failed:
        return StepResult(False, f"{name}: {failed}; nothing that kubelet reads was changed", untouched=True)
    put = Call.of("put_kubelet_client", signed, o.work, o.kept, o.kubernetes, o.kubelet_pki)
    try:
        await _said(at, at.host, put)
    except NotDone as failed:
        # whether it came that far is told by the mark that it leaves last
        return await runner.resumed(o, name, at.until) or StepResult(False, f"{name}: {failed}")
    return StepResult(True, f"{name}: signed on {o.signer} and put in place; the old one is in {o.kept}")


async def _said(at: Carry, host: str, call: Call) -> str:
    """What it prints, without the blank lines around it."""
    try:
        result = await begin(at.reach.hosts, host, call, at.until)
    except HostUnseen as unseen:
        raise NotDone(str(unseen)) from None
    if result.exit_status != 0:
        said = tail(result.stderr, 3) or "it said nothing"
        how = "refused" if result.exit_status == GUARD_STATUS else f"ended with status {result.exit_status}"
        raise NotDone(f"{call.function} on {host} {how}: {said}")
    return result.stdout.strip()


hand(RenewWorkerClient)(renew)
