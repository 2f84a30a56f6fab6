# shellcheck disable=SC2154 # root: chroot.bash sets it
# Sourced after chroot.bash: `dress`, what every machine of the lab has, whichever image it is.
# From the environment: OVERLAY (tests/lab/rootfs).

dress() {
    cp -r --no-preserve=ownership,timestamps "$OVERLAY/." "$root/"
    inside bash -eu << 'INSIDE'
systemctl enable -q systemd-networkd.service ssh.socket lab-cpuinfo.service lab-clock.service lab-console.service
systemctl disable -q ssh.service
# No graphics, no TPM, no swap, nobody at the keyboard; each costs its part of a second at boot.
systemctl mask -q modprobe@drm.service modprobe@efi_pstore.service getty@tty1.service \
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
}
