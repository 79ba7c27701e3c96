# `recoverd init` assigns account, key, line and sudoers above this. It may be run again at any time, and leaves what is right
# as it is.
# shellcheck disable=SC2154
# It prints the fingerprints of this machine's host keys, for the file of `recoverd init --accept-host-keys`.
set -eu
umask 022
PATH=$PATH:/usr/sbin
if [ "$(id -u)" != 0 ]; then
    echo "run this as root on the node" >&2
    exit 1
fi
if ! id "$account" >/dev/null 2>&1; then
    useradd --system --create-home --shell /bin/sh "$account"
fi
home=$(getent passwd "$account" | cut -d: -f6)
group=$(id -gn "$account")
install -d -o "$account" -g "$group" -m 0700 "$home/.ssh"
keys=$home/.ssh/authorized_keys
new=$(mktemp "$keys.XXXXXX")
# other keys stay; an older line of this one may name other ports
if [ -e "$keys" ]; then
    grep -vF "$key" "$keys" >"$new" || true
fi
printf '%s\n' "$line" >>"$new"
chown "$account:$group" "$new"
chmod 0600 "$new"
mv "$new" "$keys"
if [ -n "$sudoers" ]; then
    if ! command -v visudo >/dev/null 2>&1 || [ ! -d /etc/sudoers.d ]; then
        echo "sudo is not installed on $(hostname), and $account becomes root through it: install it and run this again," >&2
        echo "or give recoverd init --ssh-user root" >&2
        exit 1
    fi
    new=$(mktemp /etc/sudoers.d/.recoverd.XXXXXX)
    printf '%s\n' "$sudoers" >"$new"
    chmod 0440 "$new"
    if ! visudo -cqf "$new"; then
        rm -f "$new"
        echo "sudo refuses the file for $account; nothing was put into /etc/sudoers.d" >&2
        exit 1
    fi
    mv "$new" /etc/sudoers.d/recoverd
fi
if command -v sshd >/dev/null 2>&1; then
    # without a user to match, this is what holds for everybody
    if sshd -T 2>/dev/null | grep -qi '^allowtcpforwarding no$'; then
        echo "sshd on $(hostname) says AllowTcpForwarding no: allow it for $account (Match User), or etcd is not seen" >&2
    fi
fi
for file in /etc/ssh/ssh_host_*_key.pub; do
    if [ -e "$file" ]; then
        ssh-keygen -lf "$file"
    fi
done
