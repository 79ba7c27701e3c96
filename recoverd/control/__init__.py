"""The control socket: an HTTP API on a Unix socket, for recoverctl."""

VERSION = "Recoverd-Version"
"""The header in which the daemon says what it is."""
SHOWN, ASKED = 200, 10_000
"""How many incidents or plans, and how many requests, are told where nobody says how many."""
