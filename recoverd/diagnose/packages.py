"""Package managers by their command lines: which of them change what is installed on a machine. Pure.

An upgrade of containerd's package restarts it and kubelet falls meanwhile; one of kubelet's stops it for seconds. What
only lists, fetches or tries counts for nothing: monitoring and timers run `apt-get -s upgrade`, `dnf check-update` and
`rpm -qa` all day.
"""

from __future__ import annotations

import re

HANDS = r"^(?:\S*?(?:python|perl|bash|sh)[\d.]* (?:-\S+ )*)?(?:\S*/)?"
"""A script's interpreter stands before it."""


def _rule(name: str, does: str, *, unless: str = "") -> re.Pattern[str]:
    """`name NAME ... WORD ...` with one of the words that change something, and none of those that take that back."""
    not_so = rf"(?!(?: \S+)* (?:{unless})(?: |$))" if unless else ""
    return re.compile(rf"{HANDS}(?P<name>{name}){not_so}(?: \S+)* (?:{does})(?: |$)")


RULES = (
    _rule(
        "apt|apt-get|aptitude",
        "(?:re)?install|remove|purge|(?:(?:dist|full|safe)-)?upgrade|dselect-upgrade|auto-?remove|build-dep",
        unless="-[a-zA-Z]*[sd][a-zA-Z]*|--(?:simulate|just-print|dry-run|recon|no-act|print-uris|download-only)",
    ),
    _rule(
        "dpkg",
        "-[irPA]|--(?:install|remove|purge|unpack|configure|triggers-only)",
        unless="--(?:no-act|dry-run|simulate)",
    ),
    # its other program of that name waits for the machine's shutdown, on every Ubuntu and for ever
    re.compile(rf"{HANDS}(?P<name>unattended-upgrades?)(?: (?!--dry-run|--download-only)\S+)*$"),
    _rule(
        "rpm",
        "-[vh]*[iUFe][vh]*|--(?:install|upgrade|freshen|erase|reinstall|rebuilddb)",
        unless="-[a-zA-Z]*[qV][a-zA-Z]*|--(?:query|verify|test)",
    ),
    _rule(
        r"dnf|dnf-\d|dnf5|microdnf|tdnf|yum",
        "(?:re|local|group)?install|(?:group|groupinstall)?(?:update|upgrade)|up|(?:update|upgrade)-minimal|downgrade|"
        "remove|rm|erase|autoremove|distro-sync|dsync|swap|system-upgrade|offline-upgrade|undo|redo|rollback",
        unless="--assumeno|--downloadonly",
    ),
    re.compile(rf"{HANDS}(?P<name>dnf-automatic|yum-cron)(?: (?!--no-installupdates)\S+)*$"),
    _rule(
        "zypper", "in|install|inr|up|update|dup|dist-upgrade|patch|rm|remove", unless="-D|--dry-run|-d|--download-only"
    ),
    _rule("transactional-update", "up|dup|patch|pkg|migration|apply|rollback|run|shell"),
    _rule("rpm-ostree", "install|uninstall|upgrade|update|override|rebase|deploy|rollback|apply-live"),
    _rule("snap", "install|refresh|remove|revert|switch", unless="--list|--time"),
    _rule("apk", "add|del|upgrade|fix", unless="-s|--simulate"),
    _rule("pacman", "-(?:S(?![a-z]*[cgilps])|U|R)[a-z]*"),
)


def package_manager(command: str) -> str:
    """Its name where the command line is one's that changes what is installed; else ""."""
    return next((found["name"] for rule in RULES if (found := rule.search(command))), "")
