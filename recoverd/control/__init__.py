"""The control socket: an HTTP API on a Unix socket, for recoverctl."""
