# shellcheck shell=bash disable=SC2154 # what is not set here, install.sh sets
# Sourced by install.sh and validate.sh: the image archives of the asset store, in containerd before a node boots.
# The archives stay in the store: a node whose containerd has lost its own loads them again, without a download.

# As on a node, but for where it is reached: root directory, snapshotter and (agent/linux/images.py) namespace and labels.
containerd_root=${CONTAINERD_ROOT:-/var/lib/containerd}

containerd_config() {
    cat << TOML
version = 2
root = "$containerd_root"
state = "$1/state"
required_plugins = ["io.containerd.snapshotter.v1.overlayfs"]
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
  "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs",
]
[grpc]
  address = "$1/containerd.sock"
[ttrpc]
  address = "$1/containerd.sock.ttrpc"
TOML
}

preload() { "$venv/bin/python" -I -m agent.preload "$@"; }

preload_images() {
    local archives
    archives=$(preload list "$prefix/assets") || die "the asset store cannot be read"
    [[ ! -S /run/containerd/containerd.sock ]] || die "containerd runs here: this is no machine to make an image of"
    # What another build left would be held for preloaded, and never be used.
    rm -f "$prefix/images.json"
    [[ ! -d $containerd_root ]] || find "$containerd_root" -mindepth 1 -delete
    if [[ -z $archives ]]; then
        say "none of the assets is an image archive"
        return
    fi
    with_containerd preload load "$prefix/assets" "$prefix/images.json" >&2 || die "the images are not preloaded"
    # A node would take it for its own, and unmounted it is empty.
    ! grep -F " $containerd_root/" /proc/self/mountinfo >&2 || die "containerd has left something mounted"
}

# with_containerd COMMAND...: COMMAND --address SOCKET while the image's containerd runs; nothing of it stays but its root.
with_containerd() (
    work=$(mktemp -d "${CONTAINERD_RUN:-/run}/bootwright-containerd.XXXXXX") || exit 1
    trap 'rm -rf "$work"' EXIT
    containerd_config "$work" > "$work/config.toml"
    # The unit does it, too; a chroot has no modules to load, and its host's kernel has it.
    modprobe --quiet overlay || true
    containerd --config "$work/config.toml" > "$work/log" 2>&1 < /dev/null &
    pid=$!
    trap 'kill -KILL "$pid" 2> /dev/null || true; rm -rf "$work"' EXIT
    status=1
    if answers "$pid" "$work/containerd.sock"; then
        "$@" --address "$work/containerd.sock"
        status=$?
    fi
    ends "$pid" || status=1
    trap 'rm -rf "$work"' EXIT
    # Its name for this machine, which no node is.
    rm -f "$containerd_root/io.containerd.grpc.v1.introspection/uuid"
    ((status == 0)) || grep -E 'level=(error|fatal|warning)|^containerd:' "$work/log" | tail -n 15 >&2
    exit "$status"
)

answers() {
    local left
    for ((left = 600; left > 0; left--)); do # a minute
        [[ ! -S $2 ]] || return 0
        kill -0 "$1" 2> /dev/null || break
        sleep 0.1
    done
    say "containerd does not start"
    return 1
}

# By itself, so that its data base is whole.
ends() {
    local left
    kill -TERM "$1" 2> /dev/null
    for ((left = 300; left > 0; left--)); do
        kill -0 "$1" 2> /dev/null || break
        sleep 0.1
    done
    if ((left == 0)); then
        kill -KILL "$1" 2> /dev/null
        say "containerd does not end"
        return 1
    fi
    wait "$1" || { say "containerd ended with $?"; return 1; }
}
