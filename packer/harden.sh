# shellcheck shell=bash disable=SC2154 # what is not set here, install.sh sets
# Sourced by install.sh: what an image must not leave open.

# Files do most of it (rootfs/: sshd, journald, chrony, nvme, apt); this is what has to be done to the system.
harden() {
    local user unit
    while IFS=: read -r user _; do
        # Not `passwd -l`: an sshd without PAM takes that for an account nobody may use, key or not.
        usermod --password '*' "$user"
    done < <(awk -F: '$2 == "" || $2 ~ /^[^!*]/' /etc/shadow)
    # In a chroot the swap would be the host's.
    [[ ! -d /run/systemd/system ]] || swapoff --all
    sed -i '/^[^#].*[[:space:]]swap[[:space:]]/d' /etc/fstab
    for unit in /etc/systemd/system/*.swap /usr/lib/systemd/system/*.swap; do
        [[ -e $unit ]] || continue
        rm -f "/etc/systemd/system/${unit##*/}" # mask puts its link there
        systemctl mask --quiet "${unit##*/}"
    done
    install -d -m 0755 /etc/systemd/system-generators
    ln -sfn /dev/null /etc/systemd/system-generators/zram-generator
    systemctl mask --quiet swap.target
    link_chrony_config
    kernel_arguments nvme_core.io_timeout=4294967295 systemd.unified_cgroup_hierarchy=1
}

# A volume that is slow for once must not become an error of its file system (EC2 user guide, "NVMe I/O timeout").
kernel_arguments() {
    if command -v grubby > /dev/null; then
        grubby --update-kernel=ALL --args="$*"
    elif command -v update-grub > /dev/null; then
        install -d -m 0755 /etc/default/grub.d
        # shellcheck disable=SC2016 # grub's variable, not ours
        printf 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX %s"\n' "$*" > /etc/default/grub.d/90-bootwright.cfg
        update-grub
    else
        say "no boot loader here: the kernel's arguments are whoever's boots it"
    fi
    ! command -v update-initramfs > /dev/null || update-initramfs -u
}
