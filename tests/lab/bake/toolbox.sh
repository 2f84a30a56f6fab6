#!/bin/bash
# toolbox.sh ROOT: wheels of the source packages in SOURCES, compiled against this image's Python and libraries.
# The image is thrown away afterwards. From the environment: SOURCES, WHEELS (where the wheels go), APT_CACHE.
set -euo pipefail
. "$(dirname "$0")/chroot.bash"

open_chroot "$1"
open_network
inside apt-get update -q
DEBIAN_FRONTEND=noninteractive inside apt-get install -q -y --no-install-recommends \
    gcc libc6-dev libsystemd-dev pkgconf python3-dev python3-pip python3-setuptools python3-wheel
mkdir "$root/run/sources" "$root/run/wheels"
mount --bind -o ro "$SOURCES" "$root/run/sources"
mount --bind "$WHEELS" "$root/run/wheels"
inside sh -c 'python3 -m pip wheel --no-index --no-deps --no-build-isolation --no-cache-dir -w /run/wheels /run/sources/*'
