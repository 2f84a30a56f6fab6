#!/bin/bash
# Turns Debian 12 or 13, Ubuntu 24.04 or Amazon Linux 2023 into the node image. Packer runs it on an EC2 instance, the lab
# in a chroot; both as root. Every step can be run again: what is right already stays as it is.
#
#   WHEELHOUSE=DIR [NAME=VALUE...] install.sh [STEP...]      without a step: all of them but services, in this order
#
#   check       this is a system that the other steps know, with room for what they put there
#   packages    the distribution's packages (the network is asked only for those that are missing); none starts by itself
#   binaries    containerd, runc, CNI plugins, etcd, kubelet of the versions that are pinned, each checked against its sha256
#   python      /opt/bootwright/venv with the locked dependencies of requirements/agent.txt, from the wheelhouse
#   bootwright  the bootwright wheel, the files of rootfs/, units enabled
#   assets      the files of ASSETS into the content-addressed store, each checked; a root.json to trust
#   images      the image archives among them into containerd: no node imports what its image has
#   services    what runs already takes up the configuration of rootfs/: for a machine that is no image (on_stock_image.py)
#   harden      no password opens anything; no swap; the kernel waits for a volume instead of failing it
#   inventory   image.json (versions, so that no node has to ask) and sbom.json (CycloneDX)
#   clean       nothing of this machine stays in the image: keys, machine id, cloud-init's state, logs, package lists
#
# WHEELHOUSE holds requirements.txt (every file's sha256), its wheels, and bootwright-*.whl (python -m tests.lab.wheelhouse).
# CONTAINERD, RUNC, CNI, ETCD, KUBELET   VERSION:SHA256 of the release for this architecture; empty: the distribution's
#                                        package (kubelet: none; the node fetches it by its digest)
# DOWNLOADS   a folder to look for release files in before the network, named as their publishers name them
# ASSETS      a folder with SHA256SUMS, which names every file in it that is to be baked
# ROOT_JSON   base64 of the cluster's root.json
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
prefix=/opt/bootwright
venv=$prefix/venv
pins=$prefix/pins
room_mib=1024 # what the steps put there, with room for the node's own first writes

say() { printf 'install.sh: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}

# shellcheck source=binaries.sh
. "$here/binaries.sh"
# shellcheck source=python.sh
. "$here/python.sh"
# shellcheck source=preload.sh
. "$here/preload.sh"
# shellcheck source=harden.sh
. "$here/harden.sh"

is_amazon() { [[ -e /etc/amazon-linux-release ]]; }

architecture() {
    case $(uname -m) in
        x86_64) echo amd64 ;;
        aarch64) echo arm64 ;;
        *) die "no node image for $(uname -m): x86_64 and aarch64" ;;
    esac
}

# --- check -----------------------------------------------------------------------------------------------------------

check() {
    local id version free
    # shellcheck source=/dev/null
    id=$(. /etc/os-release && echo "$ID-${VERSION_ID:-}")
    version=${id#*-}
    case $id in
        debian-12 | debian-13 | ubuntu-24.04 | amzn-2023) ;;
        *) die "this is ${id%%-*} $version: debian 12, debian 13, ubuntu 24.04 and amzn 2023 are known" ;;
    esac
    architecture > /dev/null
    free=$(df --output=avail --block-size=1M / | tail -n 1)
    ((free >= room_mib)) || die "/ has $free MiB free; the image needs $room_mib: start from a larger root volume"
    require_pins "$id"
}

# What these bases have of it is too old for a node (units/etcd_versions.py, units/services/containerd.py): better now
# than on its first boot. docs/image.md has the table.
require_pins() {
    local has=() pin=()
    case $1 in
        debian-12 | ubuntu-24.04) has+=("etcd 3.4") pin+=(ETCD) ;;
        amzn-2023) has+=("no etcd") pin+=(ETCD) ;;
    esac
    [[ -z ${ETCD%%:*} ]] || has=() pin=()
    if [[ $1 == debian-12 && -z ${CONTAINERD%%:*} ]]; then
        has+=("containerd 1.6") pin+=(CONTAINERD)
    fi
    ((${#has[@]} == 0)) || die "$1 has ${has[0]}${has[1]:+ and ${has[1]}}, and a node needs etcd 3.5 and containerd 1.7" \
        "or newer: pin what your nodes get (${pin[*]/%/=VERSION:SHA256})"
}

# --- packages --------------------------------------------------------------------------------------------------------

# Not those that a pinned version takes the place of: two of a kind, and nobody could say which one runs.
package_list() {
    local file=$here/packages.txt replaced=(-e '^$')
    is_amazon && file=$here/packages-amazon-linux.txt
    [[ -z ${CONTAINERD:-} || $CONTAINERD == : ]] || replaced+=(-e '^containerd$')
    [[ -z ${RUNC:-} || $RUNC == : ]] || replaced+=(-e '^runc$')
    [[ -z ${CNI:-} || $CNI == : ]] || replaced+=(-e '^containernetworking-plugins$' -e '^cni-plugins$')
    [[ -z ${ETCD:-} || $ETCD == : ]] || replaced+=(-e '^etcd-server$' -e '^etcd-client$')
    sed 's/#.*//' "$file" | tr -s ' \t' '\n' | grep -v "${replaced[@]}"
}

install_packages() {
    local list wanted missing
    # An assignment of its own: in <(...) a failure would be an empty list, and nothing would be installed.
    list=$(package_list)
    mapfile -t wanted <<< "$list"
    quiet_package_timers
    # The presets have to be there first: packages enable their units as they are configured.
    install -D -m 0644 "$here/rootfs/etc/systemd/system-preset/10-bootwright.preset" \
        /etc/systemd/system-preset/10-bootwright.preset
    mapfile -t missing < <(missing_packages "${wanted[@]}")
    if ((${#missing[@]})); then
        say "${#missing[@]} of ${#wanted[@]} packages are missing"
        if is_amazon; then
            dnf install -q -y "${missing[@]}"
        else
            apt_install "${missing[@]}"
        fi
    fi
    disable_units
    link_cni_plugins
}

# On a distribution's image they run minutes after its first boot, and hold the lock that is needed here; on a node they
# never may. The lock still is waited for: cloud-init, or a run that was just stopped, may have it.
quiet_package_timers() {
    local units=(apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service
        unattended-upgrades.service dnf-makecache.timer dnf-automatic.timer)
    systemctl mask --quiet "${units[@]}"
    [[ ! -d /run/systemd/system ]] || systemctl stop "${units[@]}"
}

missing_packages() {
    local name
    for name in "$@"; do
        if is_amazon; then
            rpm --quiet -q --whatprovides "$name" || echo "$name"
        else
            dpkg-query --show --showformat='${db:Status-Status}\n' "$name" 2> /dev/null | grep -qx installed || echo "$name"
        fi
    done
}

apt_install() {
    # Exit code 101: maintainer scripts must not start anything, neither here nor in a chroot (policy-rc.d(8)).
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
    chmod 0755 /usr/sbin/policy-rc.d
    export DEBIAN_FRONTEND=noninteractive
    local patient=(-q -o Acquire::Retries=3 -o DPkg::Lock::Timeout=600)
    # What was stopped in the middle has to be finished first.
    dpkg --configure -a --force-confold
    # Without Error-Mode, `update` ends well with the lists of last month when it reaches nobody.
    apt-get update "${patient[@]}" -o APT::Update::Error-Mode=any
    apt-get install "${patient[@]}" -y --no-install-recommends -o Dpkg::Options::=--force-confold "$@"
    rm -f /usr/sbin/policy-rc.d
    trap - EXIT
}

# The agent starts these two, once their configuration is there.
disable_units() {
    local unit
    for unit in containerd.service etcd.service; do
        [[ ! -e /usr/lib/systemd/system/$unit ]] || systemctl disable --quiet "$unit"
    done
}

# A folder of its own, because network add-ons drop their plugins into it; the distributions have theirs elsewhere.
link_cni_plugins() {
    install -d -m 0755 /opt/cni/bin
    local plugin
    for plugin in /usr/lib/cni/* /usr/libexec/cni/*; do
        [[ ! -e $plugin ]] || ln -sfn "$plugin" "/opt/cni/bin/${plugin##*/}"
    done
}

# --- services --------------------------------------------------------------------------------------------------------

# policy-rc.d keeps a new package from starting, and one that runs since the boot has read its old configuration.
restart_services() {
    local unit
    link_chrony_config
    [[ -d /run/systemd/system ]] || return 0
    for unit in chrony chronyd systemd-journald; do
        [[ ! -e /usr/lib/systemd/system/$unit.service ]] || systemctl restart "$unit.service"
    done
    for unit in ssh sshd; do # which may wait for its socket, and then reads it anyway
        [[ ! -e /usr/lib/systemd/system/$unit.service ]] || systemctl try-reload-or-restart "$unit.service"
    done
}

# Amazon Linux' chronyd reads its own place.
link_chrony_config() { ! is_amazon || ln -sfn /etc/chrony/chrony.conf /etc/chrony.conf; }

# --- inventory and clean ---------------------------------------------------------------------------------------------

inventory() { python3 "$here/inventory.py" "$prefix"; }

clean() {
    if [[ -d /run/systemd/system ]]; then
        # The journal goes on in memory, and the seed is not saved again when this machine goes off.
        journalctl --relinquish-var
        systemctl stop systemd-random-seed.service
        # It holds this machine's registration, and would write it again.
        [[ ! -e /usr/lib/systemd/system/amazon-ssm-agent.service ]] || systemctl stop amazon-ssm-agent.service
    fi
    forget_login_users
    if is_amazon; then dnf clean -q all; else apt-get clean; fi
    rm -rf /var/lib/apt/lists/* /var/log/journal/* /var/lib/cloud /var/lib/systemd/random-seed /var/lib/etcd/* \
        /var/lib/dhcp/* /var/lib/bootwright /var/lib/amazon/ssm
    find /var/log -type f -delete
    # cloud-init writes these anew, for the instance that boots.
    rm -f /etc/ssh/ssh_host_* /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys /root/.*_history \
        /home/*/.*_history /etc/netplan/50-cloud-init.yaml /etc/network/interfaces.d/50-cloud-init
    echo localhost > /etc/hostname
    # cloud-init, as the distributions set it up, has written this machine's name and address into it.
    printf '%s\n' '127.0.0.1 localhost' '::1 localhost ip6-localhost ip6-loopback' > /etc/hosts
    # Empty, not missing: a missing one makes the next boot a "first boot", which starts every preset's unit.
    : > /etc/machine-id
    rm -f /var/lib/dbus/machine-id
    # ldconfig, journal catalogue and sysusers would run again on first boot, 1 s together.
    touch -r /usr /etc/.updated /var/.updated
}

# The ones that cloud-init and the SSM agent have made here for whoever builds: they make them again where they are needed.
forget_login_users() {
    local user uid made=(/etc/sudoers.d/90-cloud-init-users /etc/sudoers.d/ssm-agent-users)
    while read -r user _; do
        uid=$(id -u "$user" 2> /dev/null) || continue
        ((uid < 1000)) || userdel --force --remove "$user" 2> /dev/null || die "user $user cannot be removed"
    done < <(cat "${made[@]}" 2> /dev/null)
    rm -f "${made[@]}"
}

run_step() {
    case $1 in
        check) check ;;
        packages) say "packages"; install_packages ;;
        binaries) say "pinned binaries"; install_binaries ;;
        python) say "Python packages"; install_python ;;
        bootwright) say "bootwright"; install_bootwright ;;
        assets) say "assets"; install_assets ;;
        images) say "images"; preload_images ;;
        services) say "services"; restart_services ;;
        harden) say "hardening"; harden ;;
        inventory) say "inventory"; inventory ;;
        clean) say "cleaning up"; clean ;;
        *) die "no step $1; there are check, packages, binaries, python, bootwright, assets, images, services, harden, inventory, clean" ;;
    esac
}

main() {
    local step
    [[ $EUID -eq 0 ]] || die "must run as root"
    : "${CONTAINERD:=}" "${ETCD:=}"
    (($#)) || set -- check packages binaries python bootwright assets images harden inventory clean
    for step in "$@"; do
        run_step "$step"
    done
}

main "$@"; exit # read no further: bash reads a script as it goes on, and this one may be edited meanwhile
