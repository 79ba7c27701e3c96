"""The files that a configuration points to: there, readable, private where they must be, and what they should be."""

from __future__ import annotations

import os
from pathlib import Path

import asyncssh

from recoverd.config import kubeconfigs, sandbox
from recoverd.config.kubeconfigs import Entries
from recoverd.model.places import ip_of
from recoverd.model.settings import HostSettings

PUBLIC = (b"ssh-", b"ecdsa-", b"sk-", b"---- BEGIN SSH2 PUBLIC KEY", b"-----BEGIN PUBLIC KEY")
"""How public keys begin, in each of their formats."""
PLACES = ("CREDENTIALS_DIRECTORY", "STATE_DIRECTORY", "RUNTIME_DIRECTORY")


def resolve(text: str, beside: Path) -> Path:
    """Fill in $CREDENTIALS_DIRECTORY, $STATE_DIRECTORY and $RUNTIME_DIRECTORY (systemd.exec(5)); relative to
    the configuration's own folder. Outside the unit, credentials are those in the folder `credentials` there, from
    which the unit loads them.
    """
    places = {name: os.environ[name] for name in PLACES if name in os.environ}
    if (beside / "credentials").is_dir():
        places.setdefault("CREDENTIALS_DIRECTORY", str(beside / "credentials"))
    for name, place in places.items():
        for form in (f"${{{name}}}", f"${name}"):
            text = text.replace(form, place)
    path = Path(text).expanduser()
    return path if path.is_absolute() else beside / path


def check_key(path: Path) -> str | None:
    """What is wrong with an SSH private key, or None."""
    if (content := _read(path)) is None:
        return _unreadable(path)
    if content.startswith(PUBLIC):
        return f"{path} is the public key; name the private one, which is beside it without .pub"
    if path.stat().st_mode & 0o077 and not _is_credential(path):
        return f"{path} can be read by others (mode {path.stat().st_mode & 0o777:04o}); chmod 600 {path}"
    try:
        asyncssh.import_private_key(content)
    except (asyncssh.KeyEncryptionError, asyncssh.KeyImportError) as error:
        if isinstance(error, asyncssh.KeyEncryptionError) or "assphrase" in str(error):
            return (
                f"{path} is protected by a passphrase, and nobody is there to type it; make recoverd a key of its own: "
                "ssh-keygen -t ed25519 -N ''"
            )
        return f"{path} is no SSH private key: {error}"
    return None


def check_known_hosts(path: Path, port: int, hosts: list[HostSettings]) -> tuple[str | None, list[str]]:
    """What is wrong with a known_hosts file, or None; and the hosts that it does not hold."""
    content = _read(path)
    if content is None:
        return _unreadable(path), []
    try:
        known = asyncssh.import_known_hosts(content.decode(errors="replace"))
        missing = [h for h in hosts if not any(known.match(h.address, ip_of(h.address), port)[:3])]
    except (ValueError, asyncssh.Error) as error:
        return f"{path} is no known_hosts file: {error}", []
    option = f"-p {port} " if port != 22 else ""
    return None, [
        f"{path} holds no key of {h.name}; after checking its fingerprint: ssh-keyscan {option}{h.address} >> {path}"
        for h in missing
    ]


def check_kubeconfig(path: Path) -> tuple[str | None, Entries | None]:
    """What is wrong with a kubeconfig, or None and what it names."""
    content = _read(path)
    if content is None:
        return _unreadable(path), None
    if problem := open_to_all(path):
        return problem, None
    try:
        return None, kubeconfigs.parse(path, content)
    except ValueError as error:
        return str(error), None


def open_to_all(path: Path) -> str | None:
    """That everybody can read a file that holds a secret, or None."""
    if path.stat().st_mode & 0o007 and not _is_credential(path):
        return (
            f"{path} can be read by everybody (mode {path.stat().st_mode & 0o777:04o}) and holds "
            f"credentials; chmod 600 {path}"
        )
    return None


def read_text(path: Path) -> str:
    """What is in the file. Raises `ValueError` with why that cannot be had."""
    content = _read(path)
    if content is None:
        raise ValueError(_unreadable(path))
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8") from None


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _unreadable(path: Path) -> str:
    if unset := next((name for name in PLACES if f"${name}" in str(path) or f"${{{name}}}" in str(path)), None):
        return (
            f"{path} cannot be read: {unset} is not set; systemd sets it for the unit, by hand: sudo {unset}=DIRECTORY "
            "recoverd check-config FILE"
        )
    try:
        path.read_bytes()
    except OSError as error:
        hidden = sandbox.hidden(path) if "INVOCATION_ID" in os.environ else ""  # as systemd sets it
        return f"{path} cannot be read: {error.strerror}{f'. {hidden}' if hidden else ''}"
    return f"{path} cannot be read"


def _is_credential(path: Path) -> bool:
    """systemd's credentials are guarded by the directory they are in, whatever their mode says."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    return bool(directory) and path.is_relative_to(directory or "/")
