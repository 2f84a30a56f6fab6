#!/bin/bash
# packages.sh ROOT: the Debian packages of the node image. From the environment: PACKER, APT_CACHE.
set -euo pipefail
. "$(dirname "$0")/chroot.bash"

open_chroot "$1"
open_network
install_steps packages
