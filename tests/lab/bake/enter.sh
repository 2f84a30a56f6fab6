#!/bin/bash
# enter.sh IMAGE SCRIPT LOG: SCRIPT with IMAGE mounted, in namespaces that its caller has made (tests/lab/layers.py).
# SCRIPT's output goes to LOG; the end of it to stderr when SCRIPT fails.
set -euo pipefail
image=$1 script=$2 log=$3

root=$image.root
mkdir -p "$root"
trap 'umount --recursive "$root" 2> /dev/null || true; rmdir "$root" 2> /dev/null || true' EXIT

# No barriers: until the image gets its final name, nobody minds if the power takes it.
mount -o loop,noatime,nobarrier,commit=600 "$image" "$root"

if ! bash "$script" "$root" > "$log" 2>&1 < /dev/null; then
    tail -n 40 "$log" >&2
    echo "the whole log: $log" >&2
    exit 1
fi
umount --recursive "$root"
sync "$image"
