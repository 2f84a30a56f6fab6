#!/bin/bash
# stock.sh ROOT: the image as a distribution publishes it for EC2 (cloud-init, sudo, sshd), for the lab's machines.
# From the environment: OVERLAY (tests/lab/rootfs), STOCK (tests/lab/rootfs-stock), SSH (a folder with host_key,
# host_key.pub and operator_key.pub), APT_CACHE.
set -euo pipefail
. "$(dirname "$0")/chroot.bash"
. "$(dirname "$0")/dress.bash"

open_chroot "$1"
open_network
inside apt-get update -q
inside env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends cloud-init sudo
umount "$root/etc/resolv.conf"
dress
cp -r --no-preserve=ownership,timestamps "$STOCK/." "$root/"
# The lab's keys are put in place at boot: an image made of this one has none where keys lie, as a published one.
install -d -m 0700 "$root/usr/local/lib/lab/ssh"
install -m 0600 "$SSH/operator_key.pub" "$SSH/host_key" "$SSH/host_key.pub" "$root/usr/local/lib/lab/ssh/"
rm -f "$root"/etc/ssh/ssh_host_* "$root"/root/.ssh/authorized_keys
inside systemctl enable -q lab-keys.service
rm -rf "$root"/var/lib/cloud/* "$root"/var/lib/apt/lists/*
: > "$root/etc/machine-id"
