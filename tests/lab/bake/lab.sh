#!/bin/bash
# lab.sh ROOT: bootwright itself, by packer/install.sh, then what only the lab's machines need.
# From the environment: PACKER, WHEELHOUSE, ASSETS (lines of "SHA256 PATH"), OVERLAY (tests/lab/rootfs), SSH (a folder
# with host_key, host_key.pub and operator_key.pub).
set -euo pipefail
. "$(dirname "$0")/chroot.bash"
. "$(dirname "$0")/dress.bash"

open_chroot "$1"
while read -r name path; do
    target=$root/opt/bootwright/assets/sha256/${name:0:2}/$name
    install -D -m 0755 "$path" "$target"
    echo "$name  $target" | sha256sum --check --quiet
done < "$ASSETS"
install_steps bootwright assets images harden inventory clean

dress
# The host keeps the time.
inside systemctl mask -q chrony.service
inside passwd -q -d root
install -d -m 0700 "$root/root/.ssh"
install -m 0600 "$SSH/operator_key.pub" "$root/root/.ssh/authorized_keys"
install -m 0600 "$SSH/host_key" "$root/etc/ssh/ssh_host_ed25519_key"
install -m 0644 "$SSH/host_key.pub" "$root/etc/ssh/ssh_host_ed25519_key.pub"
