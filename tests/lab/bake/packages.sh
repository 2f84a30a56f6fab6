#!/bin/bash
# packages.sh ROOT: the Debian packages of the node image. From the environment: PACKER, APT_CACHE, PINNED (words
# NAME=VERSION:SHA256, whose packages are left out).
set -euo pipefail
. "$(dirname "$0")/chroot.bash"

open_chroot "$1"
open_network
mkdir -p "$root/run/packer"
mount --bind -o ro "$PACKER" "$root/run/packer"
# shellcheck disable=SC2086 # several words
inside env ${PINNED:-} bash /run/packer/install.sh packages
