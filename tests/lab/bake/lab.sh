#!/bin/bash
# lab.sh ROOT: bootwright itself, by packer/install.sh, then what only the lab's machines need.
# From the environment: PACKER, WHEELHOUSE, ASSETS (lines of "SHA256 PATH"), OVERLAY (tests/lab/rootfs), SSH (a folder
# with host_key, host_key.pub and operator_key.pub).
set -euo pipefail
. "$(dirname "$0")/chroot.bash"

open_chroot "$1"
install_steps bootwright clean

while read -r name path; do
    target=$root/opt/bootwright/assets/sha256/${name:0:2}/$name
    install -D -m 0755 "$path" "$target"
    echo "$name  $target" | sha256sum --check --quiet
done < "$ASSETS"

cp -r --no-preserve=ownership,timestamps "$OVERLAY/." "$root/"
install -d -m 0700 "$root/root/.ssh"
install -m 0600 "$SSH/operator_key.pub" "$root/root/.ssh/authorized_keys"
rm -f "$root"/etc/ssh/ssh_host_*
install -m 0600 "$SSH/host_key" "$root/etc/ssh/ssh_host_ed25519_key"
install -m 0644 "$SSH/host_key.pub" "$root/etc/ssh/ssh_host_ed25519_key.pub"
inside bash -eu << 'INSIDE'
passwd -q -d root
systemctl enable -q systemd-networkd.service ssh.socket lab-cpuinfo.service lab-clock.service lab-console.service
systemctl disable -q ssh.service
# A clock from the host, no graphics, no TPM, no swap, nobody at the keyboard; each costs its part of a second at boot.
systemctl mask -q chrony.service modprobe@drm.service modprobe@efi_pstore.service getty@tty1.service \
    systemd-networkd-persistent-storage.service e2scrub_reap.service e2scrub_all.timer fstrim.timer \
    dpkg-db-backup.timer systemd-pcrlock.socket systemd-hwdb-update.service systemd-binfmt.service
systemctl set-default -q multi-user.target
echo localhost > /etc/hostname
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' > /etc/hosts
: > /etc/fstab
# Without a name server queries fail at once instead of after 5 s.
rm -f /etc/resolv.conf
: > /etc/resolv.conf
INSIDE
touch -r "$root/usr" "$root/etc/.updated" "$root/var/.updated"
