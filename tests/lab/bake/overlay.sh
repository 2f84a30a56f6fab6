#!/bin/bash
# overlay.sh IMAGE FOLDERS: what stdin says, in a copy of IMAGE that writes nothing to it (tests/lab/chroot.py).
# FOLDERS: "UPPER:LOWER:LOWER...", each with what was changed over the ones after it; changes go to UPPER.
# In namespaces that its caller has made. From the environment: PACKER, WHEELHOUSE, GIVEN (a folder, /run/given inside).
set -euo pipefail
. "$(dirname "$0")/chroot.bash"

image=$1 upper=${2%%:*} lowers=${2#"${2%%:*}"}
mounts=$upper.mounts
mkdir -p "$upper" "$upper.work" "$mounts/base" "$mounts/root"
# noload: an image that others copy from must not change, not even by its journal.
mount -o loop,ro,noload "$image" "$mounts/base"
mount -t overlay -o "lowerdir=${lowers:+${lowers#:}:}$mounts/base,upperdir=$upper,workdir=$upper.work" copy "$mounts/root"

open_chroot "$mounts/root"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mkdir -p "$root/run/packer" "$root/run/wheelhouse" "$root/run/given"
mount --bind -o ro "$PACKER" "$root/run/packer"
mount --bind -o ro "$WHEELHOUSE" "$root/run/wheelhouse"
[[ -z ${GIVEN:-} ]] || mount --bind -o ro "$GIVEN" "$root/run/given"
WHEELHOUSE_INSIDE=/run/wheelhouse inside bash -s
