#!/bin/bash
# Looks at the finished image, on the machine it is made on, and names everything that is wrong or missing at once.
#
#   [NAME=VALUE...] validate.sh [CHECK...]      with the variables that install.sh was run with; exit code 1 if anything
#                                               is amiss. Checks: files, units, python, versions, assets, images, clean, ssh,
#                                               system
set -uo pipefail
export LC_ALL=C # what comes last is cloud-init's last, by code point: 99_a after 99-b

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
prefix=/opt/bootwright
venv=$prefix/venv
wrong=0

pins=$prefix/pins

# shellcheck source=preload.sh
. "$here/preload.sh"
# shellcheck source=binaries.sh
. "$here/binaries.sh"

say() { printf 'validate.sh: %s\n' "$*" >&2; }

amiss() {
    printf 'validate.sh: %s\n' "$*" >&2
    wrong=$((wrong + 1))
}

# expect WHAT-IS-WRONG COMMAND...: the command must succeed.
expect() {
    local what=$1
    shift
    "$@" > /dev/null 2>&1 || amiss "$what"
}

absent() {
    local path
    for path in "$@"; do
        [[ ! -e $path && ! -L $path ]] || amiss "$path is left over from this machine"
    done
}

# Root's own, and nobody else may write it, nor does it give anybody more rights than they have.
roots_alone() {
    local path
    while read -r path; do
        amiss "$path is not root's alone: $(stat --format '%U, mode %a' "$path")"
    done < <(find "$@" ! -type l \( ! -user root -o -perm /6022 \) 2> /dev/null)
}

files_are_in_place() {
    local file files folders
    mapfile -t files < <(cd "$here/rootfs" && find . -type f -printf '/%P\n')
    mapfile -t folders < <(cd "$here/rootfs" && find . -type d -printf '/%P\n')
    for file in "${files[@]}"; do
        expect "$file is not what rootfs/ has" cmp "$here/rootfs$file" "$file"
    done
    roots_alone "${files[@]}" "${folders[@]}" /etc/bootwright -maxdepth 0
    roots_alone "$prefix"
}

units_are_right() {
    local unit
    for unit in bootwright-boot.service bootwright-readahead.service bootwright-sync.timer; do
        [[ $(systemctl is-enabled "$unit" 2> /dev/null) == enabled ]] || amiss "$unit is not enabled: nothing would start the agent"
    done
    for unit in containerd.service etcd.service kubelet.service bootwright-issuer.socket bootwright-etcd-backup.timer; do
        [[ $(systemctl is-enabled "$unit" 2> /dev/null) != enabled ]] || amiss "$unit is enabled: it would start before the agent"
    done
    for unit in swap.target apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service \
        unattended-upgrades.service dnf-makecache.timer dnf-automatic.timer; do
        [[ $(systemctl is-enabled "$unit" 2> /dev/null) == masked ]] || amiss "$unit is not masked"
    done
    if [[ -n ${CONTAINERD%%:*} ]]; then
        expect "containerd.service is not the pinned release's" cmp "$here/pinned/containerd.service" \
            /etc/systemd/system/containerd.service
    else
        expect "containerd.service is missing" test -e /usr/lib/systemd/system/containerd.service
        absent /etc/systemd/system/containerd.service
    fi
}

python_is_right() {
    local compiled fault file
    expect "the agent does not run: $venv/bin/python -I -m agent --help" "$venv/bin/python" -I -m agent --help
    [[ $(readlink -f /usr/local/bin/agent) == "$venv/bin/agent" ]] || amiss "/usr/local/bin/agent is not $venv/bin/agent"
    ! "$venv/bin/python" -I -c 'import boto3' 2> /dev/null || amiss "boto3 is in the venv: +300 ms a boot"
    compiled=$("$venv/bin/python" -I "$here/compiled.py" 2>&1) || amiss "compiled.py ended with ${compiled##*$'\n'}"
    [[ -z $compiled ]] || while read -r fault; do amiss "$fault"; done <<< "$compiled"
    while read -r fault; do
        amiss "$fault"
    done < <("$venv/bin/python" -I "$here/libraries.py" "${WHEELHOUSE:-$venv}/requirements.txt" 2>&1)
    expect "$prefix/readahead.list does not name $venv/agent.modules" grep -qx "$venv/agent.modules" "$prefix/readahead.list"
    while read -r file; do
        file=$(readlink -f "$file")
        expect "$prefix/readahead.list does not name $file" grep -qxF "$file" "$prefix/readahead.list"
    done < <(type -P systemctl containerd containerd-shim-runc-v2 ctr runc etcd; baked_kubelets)
    while read -r file; do
        [[ -r $file ]] || amiss "$prefix/readahead.list names $file, which is not there"
    done < <(cat "$prefix/readahead.list" 2> /dev/null)
}

recorded() {
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1])).get(sys.argv[2]) or "")' "$prefix/image.json" "$1" \
        2> /dev/null
}

at_least() { [[ -z $2 || $(printf '%s\n' "$1" "$2" | sort --version-sort | head -n 1) == "$1" ]]; }

# What image.json says is what the program says; a pinned version is the one that is there.
versions_are_right() {
    local name pin said version
    for name in containerd runc etcd; do
        pin=${name^^}
        pin=${!pin:-}
        pin=${pin%%:*}
        version=$(recorded "$name")
        [[ -n $version ]] || amiss "$prefix/image.json has no version of $name"
        said=$("$name" --version 2> /dev/null) || amiss "$name does not run"
        # 1.7.24~ds1-6 and v1.7.24 are one version to us.
        [[ $said == *"$(sed 's/^[0-9]*://; s/[~+-].*//' <<< "$version")"* ]] ||
            amiss "$name is recorded as $version, but says: ${said%%$'\n'*}"
        [[ -z $pin || $version == "$pin" ]] || amiss "$name $pin is pinned, but $version is recorded"
    done
    for name in cni kubelet; do
        pin=${name^^}
        pin=${!pin:-}
        pin=${pin%%:*}
        version=$(recorded "$name")
        [[ -z $pin || $version == "$pin" ]] || amiss "$name $pin is pinned, but ${version:-nothing} is recorded"
    done
    # Older ones do not start with what the agent writes for them (units/etcd_versions.py, units/services/containerd.py).
    at_least 3.5 "$(recorded etcd)" || amiss "etcd $(recorded etcd) is too old for a node: 3.5 or newer"
    at_least 1.7 "$(recorded containerd)" || amiss "containerd $(recorded containerd) is too old for a node: 1.7 or newer"
    for name in loopback host-local bridge portmap; do
        # Every plugin says what it speaks when it is asked without a network (CNI specification, VERSION).
        said=$(echo '{"cniVersion":"1.0.0"}' | CNI_COMMAND=VERSION "/opt/cni/bin/$name" 2> /dev/null)
        [[ $said == *supportedVersions* ]] || amiss "the CNI plugin $name is missing in /opt/cni/bin, or does not run"
        [[ -z ${CNI%%:*} || ! -L /opt/cni/bin/$name ]] || amiss "the CNI plugin $name is the distribution's, not the pinned one"
    done
    for name in etcdctl etcdutl ctr conntrack mkfs.ext4 blkid; do
        [[ $name == etcdutl && -z ${ETCD%%:*} ]] && continue # Debian's etcd-client has none before 3.5.16-5
        command -v "$name" > /dev/null || amiss "$name is missing"
    done
    for name in containerd containerd-shim-runc-v2 ctr runc etcd etcdctl; do
        roots_alone "$(readlink -f "$(command -v "$name")")"
    done
    roots_alone /opt/cni
    while read -r said; do
        amiss "$said"
    done < <(python3 "$here/inventory.py" "$prefix" --check 2>&1)
}

assets_are_right() {
    local path name
    for path in "$prefix"/assets/sha256/??/*; do
        [[ -e $path ]] || continue
        name=${path##*/}
        echo "$name  $path" | sha256sum --check --status || amiss "$path does not have the sha256 that is its name"
    done
    while read -r name _; do
        expect "asset $name of SHA256SUMS is not in the store" test -f "$prefix/assets/sha256/${name:0:2}/$name"
    done < "${ASSETS:-$here/assets}/SHA256SUMS"
    [[ -z ${KUBELET%%:*} ]] || expect "the pinned kubelet is not in the store" test -f \
        "$prefix/assets/sha256/${KUBELET:${#KUBELET}-64:2}/${KUBELET##*:}"
    [[ -z ${ROOT_JSON:-} ]] || expect "root.json is not baked in" cmp \
        <(base64 --decode <<< "$ROOT_JSON") /usr/share/bootwright/trust/root.json
}

# containerd itself is asked, as on a node: what it does not know, or knows otherwise, would be loaded at every first boot.
images_are_right() {
    local said fault
    if [[ -z $(preload list "$prefix/assets") && ! -e $prefix/images.json ]]; then return; fi
    if [[ -S /run/containerd/containerd.sock ]]; then
        amiss "containerd runs, and on an image it never has: it cannot be asked what a node would find"
        return
    fi
    said=$(with_containerd preload check "$prefix/assets" "$prefix/images.json") || [[ -n $said ]] ||
        amiss "containerd cannot be asked for the preloaded images"
    while read -r fault; do
        [[ -z $fault ]] || amiss "$fault"
    done <<< "$said"
}

nothing_is_left() {
    local keys user
    absent /etc/ssh/ssh_host_* /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys /root/.*_history \
        /home/*/.*_history /var/lib/cloud/instance /var/lib/cloud/instances /var/lib/cloud/data /var/lib/cloud/seed \
        /var/log/cloud-init.log /var/log/cloud-init-output.log /var/lib/systemd/random-seed /var/lib/dbus/machine-id \
        /var/lib/containerd/io.containerd.grpc.v1.introspection/uuid \
        /etc/netplan/50-cloud-init.yaml /etc/network/interfaces.d/50-cloud-init /var/lib/etcd/* /var/lib/dhcp/* \
        /var/lib/bootwright /etc/bootwright/agent.json /etc/kubernetes/pki /usr/sbin/policy-rc.d \
        /etc/sudoers.d/90-cloud-init-users /etc/sudoers.d/ssm-agent-users /var/lib/amazon/ssm
    while read -r user; do
        amiss "user $user is left over from this machine"
    done < <(awk -F: '$3 >= 1000 && $3 < 60000 {print $1}' /etc/passwd)
    ! grep -vE '^\s*(#|$)|\blocalhost\b|\sip6-' /etc/hosts > /dev/null ||
        amiss "/etc/hosts names this machine: $(grep -vE '^\s*(#|$)|\blocalhost\b|\sip6-' /etc/hosts | head -n 1)"
    [[ -e /etc/machine-id && ! -s /etc/machine-id ]] || amiss "/etc/machine-id is not empty: all nodes would have one identity"
    [[ $(< /etc/hostname) == localhost ]] || amiss "/etc/hostname is $(< /etc/hostname): every node would begin with it"
    [[ -z $(find /var/log/journal -type f 2> /dev/null) ]] || amiss "/var/log/journal holds this machine's journal"
    [[ -z $(find /var/lib/apt/lists -type f -size +0 2> /dev/null) ]] || amiss "/var/lib/apt/lists holds package lists"
    keys=$(grep -rlIs --exclude-dir=site-packages -e '-----BEGIN.*PRIVATE KEY-----' \
        /etc /root /home /opt /var/lib /var/tmp /tmp 2> /dev/null | grep -v "^$here/")
    [[ -z $keys ]] || amiss "private keys: ${keys//$'\n'/, }"
}

sshd_refuses_passwords() {
    local key settings
    key=$(mktemp -d)
    mkdir -p /run/sshd
    ssh-keygen -q -t ed25519 -N '' -f "$key/host"
    settings=$(/usr/sbin/sshd -T -h "$key/host" 2>&1)
    rm -rf "$key"
    grep -qx 'passwordauthentication no' <<< "$settings" || amiss "sshd takes passwords"
    grep -qx 'kbdinteractiveauthentication no' <<< "$settings" || amiss "sshd takes keyboard-interactive logins"
    grep -qx 'permitemptypasswords no' <<< "$settings" || amiss "sshd takes empty passwords"
    grep -qxE 'permitrootlogin (no|prohibit-password|without-password)' <<< "$settings" || amiss "sshd lets root in with a password"
    [[ -z $(awk -F: '$2 == "" || $2 ~ /^[^!*]/ {print $1}' /etc/shadow) ]] || amiss "a user has a password, or an empty one"
}

system_is_right() {
    local journal last clock
    [[ $(stat --file-system --format %T /sys/fs/cgroup) == cgroup2fs ]] || amiss "/sys/fs/cgroup is not cgroup v2"
    [[ $(wc -l < /proc/swaps) == 1 ]] || amiss "swap is on"
    ! grep -qE '^[^#]\S*\s+\S+\s+swap\s' /etc/fstab || amiss "/etc/fstab mounts swap"
    journal=$(systemd-analyze cat-config systemd/journald.conf 2> /dev/null)
    # The last one counts.
    [[ $(grep '^Storage=' <<< "$journal" | tail -n 1) == Storage=persistent ]] || amiss "the journal is not persistent"
    grep -q '^SystemMaxUse=' <<< "$journal" || amiss "the journal has no limit"
    clock=/etc/chrony/chrony.conf
    [[ ! -e /etc/amazon-linux-release ]] || clock=/etc/chrony.conf
    cmp --silent "$here/rootfs/etc/chrony/chrony.conf" "$clock" || amiss "chrony does not ask Amazon's clock: $clock is not ours"
    systemctl is-enabled chrony.service chronyd.service 2> /dev/null | grep -qx enabled || amiss "chrony is not enabled"
    # Later files win in cloud-init, and it would hand root to whoever writes user-data (docs/trust.md).
    last=$(grep -lE '^(allow_userdata|datasource_list|datasource|package_(update|upgrade)|manage_etc_hosts)\b' \
        /etc/cloud/cloud.cfg /etc/cloud/cloud.cfg.d/*.cfg 2> /dev/null | tail -n 1)
    [[ $last == /etc/cloud/cloud.cfg.d/99-bootwright.cfg ]] || amiss "cloud-init goes by $last in what it does with user-data"
    nothing_makes_swap
    kernel_gets nvme_core.io_timeout=4294967295
}

nothing_makes_swap() {
    local unit generator=/system-generators/zram-generator
    for unit in /etc/systemd/system/*.swap /usr/lib/systemd/system/*.swap; do
        [[ $(systemctl is-enabled "${unit##*/}" 2> /dev/null) == masked ]] || amiss "$unit makes swap"
    done
    [[ ! -e /usr/lib/systemd$generator || $(readlink "/etc/systemd$generator") == /dev/null ]] ||
        amiss "zram-generator makes swap"
}

# Of whichever file the boot loader reads: one for each kernel, which may name a variable of grubenv, or grub's own.
kernel_gets() {
    local file line lines files=(/boot/loader/entries/*.conf)
    for file in /boot/grub/grub.cfg /boot/grub2/grub.cfg; do
        [[ ! -e $file ]] || ((${#files[@]})) || files=("$file")
    done
    ((${#files[@]})) || [[ -z $(compgen -G '/boot/vmlinu[xz]-*') ]] || amiss "no file gives the kernel in /boot its arguments"
    for file in "${files[@]}"; do
        lines=$(grep -E '^(options|[[:space:]]*linux(efi)?[[:space:]]+[^[:space:]]*vmlinu[xz])' "$file")
        while read -r line; do
            # shellcheck disable=SC2016 # grub's variable, not ours
            line=${line//'$kernelopts'/$(sed -n 's/^kernelopts=//p' /boot/grub2/grubenv 2> /dev/null)}
            [[ " $line " == *" $1 "* ]] || amiss "the kernel gets no ${1%%=*} of $file"
        done <<< "$lines"
    done
}

run_check() {
    case $1 in
        files) files_are_in_place ;;
        units) units_are_right ;;
        python) python_is_right ;;
        versions) versions_are_right ;;
        assets) assets_are_right ;;
        images) images_are_right ;;
        clean) nothing_is_left ;;
        ssh) sshd_refuses_passwords ;;
        system) system_is_right ;;
        *) amiss "no check $1; there are files, units, python, versions, assets, images, clean, ssh, system" ;;
    esac
}

main() {
    local check
    [[ $EUID -eq 0 ]] || { printf 'validate.sh: must run as root\n' >&2; exit 2; }
    : "${CONTAINERD:=}" "${CNI:=}" "${ETCD:=}" "${KUBELET:=}"
    shopt -s nullglob
    (($#)) || set -- files units python versions assets images clean ssh system
    for check in "$@"; do
        run_check "$check"
    done
    ((wrong == 0)) || { printf 'validate.sh: this image is not fit for use: %d faults\n' "$wrong" >&2; exit 1; }
    printf 'validate.sh: the image is as it should be\n' >&2
}

main "$@"; exit # read no further: bash reads a script as it goes on, and this one may be edited meanwhile
