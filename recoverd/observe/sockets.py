"""What the kernel says of a machine's connections: /proc/net/tcp, by its documentation (proc_net_tcp.rst)."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address

CONNECTED = "01"
WORD = 8
"""Hexadecimal digits of one of the 32-bit words that an address is printed as, each in the machine's byte order, which
is the little one on all that kubeadm is built for but s390x.
"""


def peers(lines: Iterable[str]) -> dict[str, bool]:
    """By IP address whether somebody there has answered, of lines `ADDRESS:PORT STATE` in hexadecimal. Raises
    `ValueError` for what is no such line.
    """
    found: dict[str, bool] = {}
    for line in filter(None, map(str.strip, lines)):
        remote, state = line.split()
        address = _address(remote.partition(":")[0])
        found[address] = found.get(address, False) or state == CONNECTED
    return found


def _address(digits: str) -> str:
    words = (digits[at : at + WORD] for at in range(0, len(digits), WORD))
    address = ip_address(b"".join(bytes.fromhex(w)[::-1] for w in words))
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(address)
