"""The two commands: `recoverd`, the daemon, and `recoverctl`, which talks to it."""
