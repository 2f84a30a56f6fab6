#!/bin/bash
# python.sh ROOT: the Python environment of the node image. From the environment: PACKER, WHEELHOUSE.
set -euo pipefail
. "$(dirname "$0")/chroot.bash"

open_chroot "$1"
install_steps python
