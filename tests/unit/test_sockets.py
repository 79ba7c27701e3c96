"""The kernel's own list of connections, as it prints addresses."""

from __future__ import annotations

import pytest

from recoverd.observe.sockets import peers


@pytest.mark.parametrize(
    ("digits", "address"),
    [
        ("0C01630A", "10.99.1.12"),
        ("0000000000000000FFFF00000C01630A", "10.99.1.12"),
        ("B80D0120000000000000000001000000", "2001:db8::1"),
    ],
    ids=["IPv4", "IPv4 by a socket of IPv6", "IPv6"],
)
def test_an_address_is_read_in_the_machines_byte_order(digits: str, address: str) -> None:
    assert peers([f"{digits}:094C 01 ", ""]) == {address: True}


def test_one_connection_is_enough_and_a_call_is_none() -> None:
    lines = ["0C01630A:094C 02 ", "0C01630A:094C 01 ", "0C01630A:094C 02 ", "0D01630A:094C 02 "]
    assert peers(lines) == {"10.99.1.12": True, "10.99.1.13": False}


@pytest.mark.parametrize("line", ["0C01630A:094C", "zz:094C 01", "0C01:094C 01"])
def test_what_is_no_address_is_an_error(line: str) -> None:
    with pytest.raises(ValueError):
        peers([line])
