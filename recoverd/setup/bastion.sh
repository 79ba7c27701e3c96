# `recoverd init` assigns program, directory and kubeconfig above this. It may be run again at any time.
# shellcheck disable=SC2154
# It makes the user, gives it what it has to read, and installs the unit; nothing is started.
set -eu
umask 022
if [ "$(id -u)" != 0 ]; then
    echo "run this as root on the bastion" >&2
    exit 1
fi
if [ "$directory" != /etc/recoverd ]; then
    echo "the unit reads /etc/recoverd, and this is $directory: run recoverd init on the bastion without --directory" >&2
    exit 1
fi
if ! getent passwd recoverd >/dev/null; then
    "$program" example-config recoverd.sysusers >/usr/lib/sysusers.d/recoverd.conf
    systemd-sysusers
fi
for name in recoverd recoverctl; do
    if ! command -v "$name" >/dev/null 2>&1 && [ ! -e "/usr/local/bin/$name" ]; then
        ln -sfn "$(dirname "$program")/$name" "/usr/local/bin/$name"
    fi
done
if [ -n "$kubeconfig" ]; then
    chown recoverd:recoverd "$kubeconfig"
    chmod 0400 "$kubeconfig"
fi
if ! systemctl cat recoverd.service >/dev/null 2>&1; then
    "$program" example-config recoverd.service | sed "s|/opt/recoverd/bin/recoverd|$program|" >/etc/systemd/system/recoverd.service
    chmod 0644 /etc/systemd/system/recoverd.service
    systemctl daemon-reload
fi
echo "the user recoverd and the unit recoverd.service are there; nothing was started"
