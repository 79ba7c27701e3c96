"""The control socket: an HTTP API on a Unix socket, for recoverctl."""

VERSION = "Recoverd-Version"
"""The header in which the daemon says what it is."""
