#!/bin/bash
# Looks at the finished image, on the machine it is made on, and names everything that is wrong or missing at once.
#
#   [NAME=VALUE...] validate.sh      with the variables that install.sh was run with; exit code 1 if anything is amiss
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
prefix=/opt/bootwright
venv=$prefix/venv
wrong=0

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

files_are_in_place() {
    local file
    while read -r file; do
        expect "/$file is not what rootfs/ has" cmp "$here/rootfs/$file" "/$file"
    done < <(cd "$here/rootfs" && find . -type f -printf '%P\n')
}

units_are_right() {
    local unit
    for unit in bootwright-boot.service bootwright-readahead.service bootwright-sync.timer; do
        [[ $(systemctl is-enabled "$unit" 2> /dev/null) == enabled ]] || amiss "$unit is not enabled: nothing would start the agent"
    done
    for unit in containerd.service etcd.service kubelet.service bootwright-issuer.socket bootwright-etcd-backup.timer; do
        [[ $(systemctl is-enabled "$unit" 2> /dev/null) != enabled ]] || amiss "$unit is enabled: it would start before the agent"
    done
    for unit in swap.target apt-daily.timer apt-daily-upgrade.timer unattended-upgrades.service; do
        [[ $(systemctl is-enabled "$unit" 2> /dev/null) == masked ]] || amiss "$unit is not masked"
    done
    expect "containerd.service is missing" test -e /usr/lib/systemd/system/containerd.service -o \
        -e /etc/systemd/system/containerd.service
}

python_is_right() {
    local uncompiled
    expect "the agent does not run: $venv/bin/python -I -m agent --help" "$venv/bin/python" -I -m agent --help
    expect "/usr/local/bin/agent is missing" test -x /usr/local/bin/agent
    ! "$venv/bin/python" -I -c 'import boto3' 2> /dev/null || amiss "boto3 is in the venv: +300 ms a boot"
    uncompiled=$("$venv/bin/python" -I - "$venv/lib" << 'PYTHON'
import importlib.util, pathlib, sys
sources = [path for path in pathlib.Path(sys.argv[1]).rglob("*.py") if "lib2to3" not in path.parts]
def right(path):
    compiled = pathlib.Path(importlib.util.cache_from_source(path))
    return compiled.exists() and compiled.read_bytes()[4:8] == b"\1\0\0\0"  # PEP 552: by hash, not checked
print(sum(not right(path) for path in sources) if sources else "all")
PYTHON
    )
    [[ $uncompiled == 0 ]] || amiss "$uncompiled modules in $venv are not byte-compiled (unchecked hash): each costs time at every boot"
    expect "$prefix/readahead.list is missing or empty" test -s "$prefix/readahead.list"
}

recorded() {
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1])).get(sys.argv[2]) or "")' "$prefix/image.json" "$1" \
        2> /dev/null
}

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
    for name in loopback host-local bridge portmap; do
        expect "the CNI plugin $name is missing in /opt/cni/bin" test -x "/opt/cni/bin/$name"
    done
    for name in etcdctl etcdutl ctr conntrack mkfs.ext4 blkid; do
        [[ $name == etcdutl && -z ${ETCD%%:*} ]] && continue # Debian's etcd-client has none before 3.5.16-5
        command -v "$name" > /dev/null || amiss "$name is missing"
    done
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
    expect "$prefix/sbom.json does not name bootwright and containerd" python3 -c '
import json, sys
names = {component["name"] for component in json.load(open(sys.argv[1]))["components"]}
sys.exit(not {"bootwright", "containerd"} <= names)' "$prefix/sbom.json"
}

nothing_is_left() {
    local keys
    absent /etc/ssh/ssh_host_* /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys /root/.bash_history \
        /var/lib/cloud/instance /var/lib/cloud/data /var/log/cloud-init.log /var/log/cloud-init-output.log \
        /var/lib/systemd/random-seed /var/lib/dbus/machine-id /etc/netplan/50-cloud-init.yaml \
        /var/lib/bootwright /etc/bootwright/agent.json /etc/kubernetes/pki /usr/sbin/policy-rc.d
    [[ -e /etc/machine-id && ! -s /etc/machine-id ]] || amiss "/etc/machine-id is not empty: all nodes would have one identity"
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
    [[ -z $(awk -F: '$2 == "" || $2 ~ /^[^!*]/ {print $1}' /etc/shadow) ]] || amiss "a user has a password, or an empty one"
}

system_is_right() {
    local journal
    [[ $(stat --file-system --format %T /sys/fs/cgroup) == cgroup2fs ]] || amiss "/sys/fs/cgroup is not cgroup v2"
    [[ $(wc -l < /proc/swaps) == 1 ]] || amiss "swap is on"
    ! grep -qE '^[^#]\S*\s+\S+\s+swap\s' /etc/fstab || amiss "/etc/fstab mounts swap"
    journal=$(systemd-analyze cat-config systemd/journald.conf 2> /dev/null)
    grep -q '^Storage=persistent' <<< "$journal" || amiss "the journal is not persistent"
    grep -q '^SystemMaxUse=' <<< "$journal" || amiss "the journal has no limit"
    grep -q '^server 169.254.169.123 ' /etc/chrony.conf /etc/chrony/chrony.conf 2> /dev/null ||
        amiss "chrony does not ask Amazon's clock"
    systemctl is-enabled chrony.service chronyd.service 2> /dev/null | grep -qx enabled || amiss "chrony is not enabled"
    if [[ -e /boot/grub/grub.cfg ]]; then
        grep -q nvme_core.io_timeout=4294967295 /boot/grub/grub.cfg || amiss "the kernel gets no nvme_core.io_timeout"
    fi
}

main() {
    [[ $EUID -eq 0 ]] || { printf 'validate.sh: must run as root\n' >&2; exit 2; }
    : "${ETCD:=}" "${KUBELET:=}"
    shopt -s nullglob
    files_are_in_place
    units_are_right
    python_is_right
    versions_are_right
    assets_are_right
    nothing_is_left
    sshd_refuses_passwords
    system_is_right
    ((wrong == 0)) || { printf 'validate.sh: this image is not fit for use: %d faults\n' "$wrong" >&2; exit 1; }
    printf 'validate.sh: the image is as it should be\n' >&2
}

main "$@"
