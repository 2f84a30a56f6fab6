#!/bin/bash
# Turns a Debian 13 system into the node image. Packer runs it on an EC2 instance, the lab in a chroot; both as root.
#
#   WHEELHOUSE=DIR install.sh [STEP...]      without a step: all of them, in this order
#
#   packages    Debian packages (the only step that needs the network); none of their services starts by itself
#   python      /opt/bootwright/venv with the locked dependencies of requirements/agent.txt, from the wheelhouse
#   bootwright  the bootwright wheel, the files of rootfs/, units enabled, image.json
#   clean       nothing of this machine stays in the image: machine id, logs, package lists
#
# WHEELHOUSE holds requirements.txt (every file's sha256), its wheels, and bootwright-*.whl (python -m tests.lab.wheelhouse).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
prefix=/opt/bootwright
venv=$prefix/venv

say() { printf 'install.sh: %s\n' "$*" >&2; }

wheelhouse() {
    : "${WHEELHOUSE:?install.sh: set WHEELHOUSE to the folder of wheels}"
    [[ -d $WHEELHOUSE ]] || { say "WHEELHOUSE=$WHEELHOUSE is not a folder"; exit 2; }
}

install_packages() {
    # Exit code 101: maintainer scripts must not start anything, neither here nor in a chroot (policy-rc.d(8)).
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
    chmod 0755 /usr/sbin/policy-rc.d
    # The presets have to be there first: packages enable their units as they are configured.
    install -D -m 0644 "$here/rootfs/etc/systemd/system-preset/10-bootwright.preset" \
        /etc/systemd/system-preset/10-bootwright.preset
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    # shellcheck disable=SC2046 # one word a package
    apt-get install -q -y --no-install-recommends -o Dpkg::Options::=--force-confold \
        $(sed 's/#.*//' "$here/packages.txt")
    systemctl disable containerd.service etcd.service  # the agent starts them, once their configuration is there
    systemctl mask apt-daily.timer apt-daily-upgrade.timer  # packages change by a new image, never on a node
    link_cni_plugins
    rm -f /usr/sbin/policy-rc.d
    trap - EXIT
}

# A folder of its own, because network add-ons drop their plugins into it; Debian's lie in /usr/lib/cni.
link_cni_plugins() {
    install -d -m 0755 /opt/cni/bin
    local plugin
    for plugin in /usr/lib/cni/*; do
        ln -sfn "$plugin" "/opt/cni/bin/${plugin##*/}"
    done
}

# pip runs from Debian's wheel of it and is no part of the venv: a node installs nothing.
venv_pip() {
    local pip
    pip=$(echo /usr/share/python-wheels/pip-*.whl)
    PYTHONPATH=$pip PIP_CONFIG_FILE=/dev/null PIP_ROOT_USER_ACTION=ignore \
        "$venv/bin/python" -m pip install --quiet --no-index --no-cache-dir --disable-pip-version-check "$@"
}

install_python() {
    wheelhouse
    install -d -m 0755 "$prefix"
    rm -rf "$venv"
    python3 -m venv --without-pip "$venv"
    venv_pip --find-links "$WHEELHOUSE" --only-binary :all: --require-hashes -r "$WHEELHOUSE/requirements.txt"
}

# A boot compiles nothing, compares no pyc with its source, and finds its modules in one file instead of 500. In this
# order: the file of modules counts only while nothing is added to site-packages, and a pyc may make a __pycache__ there.
compile_venv() {
    "$venv/bin/python" -m compileall -q -f --invalidation-mode unchecked-hash "$venv/lib"
    "$venv/bin/python" -I -m agent.make_modules --files "$prefix/readahead.list"
    # What every node runs next, after what the agent itself is made of.
    local name
    for name in systemctl containerd ctr runc; do
        readlink -f "$(command -v "$name")" >> "$prefix/readahead.list"
    done
}

install_bootwright() {
    wheelhouse
    venv_pip --no-deps --force-reinstall "$WHEELHOUSE"/bootwright-*.whl
    if "$venv/bin/python" -I -c 'import boto3' 2> /dev/null; then
        say "boto3 is in the venv: importing tuf would import it too, +300 ms a boot"
        exit 1
    fi
    compile_venv
    ln -sfn "$venv/bin/agent" /usr/local/bin/agent
    install -d -m 0755 "$prefix/assets" /etc/bootwright
    cp -r --no-preserve=ownership,timestamps "$here/rootfs/." /
    systemctl enable --quiet bootwright-boot.service bootwright-readahead.service bootwright-sync.timer
    describe_image > "$prefix/image.json"
    verify_units
}

describe_image() {
    python3 - "$venv" << 'PYTHON'
import glob, json, os, subprocess, sys, time

def package(name):
    return subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Version}", name], check=True, capture_output=True, text=True
    ).stdout

wheel = glob.glob(f"{sys.argv[1]}/lib/python3*/site-packages/bootwright-*.dist-info")
kernels = sorted(os.listdir("/usr/lib/modules")) if os.path.isdir("/usr/lib/modules") else []
print(json.dumps({
    "built": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    "bootwright": os.path.basename(wheel[0]).removeprefix("bootwright-").removesuffix(".dist-info"),
    "containerd": package("containerd"),
    "debian": open("/etc/debian_version").read().strip(),
    "etcd": package("etcd-server"),
    "kernel": kernels[-1] if kernels else None,
    "python": sys.version.split()[0],
    "runc": package("runc"),
}, indent=1))
PYTHON
}

verify_units() {
    local complaints
    # The exit code is 0 for a misspelt key: any line is a failure.
    complaints=$(SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no --recursive-errors=no \
        /etc/systemd/system/bootwright-*.service /etc/systemd/system/bootwright-*.socket \
        /etc/systemd/system/bootwright-*.timer 2>&1) || true
    if [[ -n $complaints ]]; then
        say "systemd-analyze verify: $complaints"
        exit 1
    fi
}

clean() {
    apt-get clean
    rm -rf /var/lib/apt/lists/* /var/log/journal/* /var/lib/cloud /var/lib/systemd/random-seed /var/lib/etcd/*
    find /var/log -type f -delete
    # Empty, not missing: a missing one makes the next boot a "first boot", which starts every preset's unit.
    : > /etc/machine-id
    # ldconfig, journal catalogue and sysusers would run again on first boot, 1 s together.
    touch -r /usr /etc/.updated /var/.updated
}

main() {
    local step
    [[ $EUID -eq 0 ]] || { say "must run as root"; exit 2; }
    for step in "${@:-packages python bootwright clean}"; do
        # shellcheck disable=SC2086 # the default is four words
        for step in $step; do
            case $step in
                packages) say "Debian packages"; install_packages ;;
                python) say "Python packages"; install_python ;;
                bootwright) say "bootwright"; install_bootwright ;;
                clean) say "cleaning up"; clean ;;
                *) say "no step $step; there are packages, python, bootwright, clean"; exit 2 ;;
            esac
        done
    done
}

main "$@"
