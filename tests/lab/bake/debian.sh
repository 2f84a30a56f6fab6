#!/bin/bash
# debian.sh ROOT: a Debian that boots: systemd, udev, networking by kernel argument, ssh.
# From the environment: SUITE, MIRROR, KEYRING, APT_CACHE, MODULES (User-Mode Linux's modules, one release).
set -euo pipefail
. "$(dirname "$0")/chroot.bash"

include=systemd,systemd-sysv,dbus,udev,kmod,iproute2,netbase,ca-certificates,procps
include+=,openssh-server,openssh-sftp-server,curl,less,nano,iputils-ping

mkdir -p "$APT_CACHE/partial"
debootstrap --variant=minbase --keyring="$KEYRING" --cache-dir="$APT_CACHE" --include="$include" "$SUITE" "$1" "$MIRROR" \
    || { tail -n 20 "$1/debootstrap/debootstrap.log"; exit 1; }

cat > "$1/etc/apt/sources.list" << SOURCES
deb $MIRROR $SUITE main
deb $MIRROR $SUITE-updates main
deb $MIRROR-security $SUITE-security main
SOURCES

# What a node's kernel offers, without the drivers of machines that this one will never be.
release=$(basename "$MODULES")
target=$1/usr/lib/modules/$release
mkdir -p "$target/kernel/fs" "$target/kernel/drivers"
cp -a "$MODULES"/modules.{builtin,builtin.modinfo,order} "$target/"
cp -a "$MODULES"/kernel/{net,lib,crypto,block} "$target/kernel/"
for part in fs/{overlayfs,fuse,autofs,binfmt_misc.ko,configfs,xfs,isofs,fat,nls} drivers/{net,block}; do
    [[ ! -e $MODULES/kernel/$part ]] || cp -a "$MODULES/kernel/$part" "$target/kernel/$(dirname "$part")/"
done

open_chroot "$1"
inside depmod "$release"
