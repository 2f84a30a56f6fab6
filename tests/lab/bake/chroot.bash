# Sourced by the layer scripts: `open_chroot ROOT`, then `inside COMMAND...`. All of it ends with the mount namespace.

open_chroot() {
    root=$1
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro sysfs "$root/sys"
    mount -t tmpfs -o mode=0755 dev "$root/dev"
    mknod -m 666 "$root/dev/null" c 1 3
    mknod -m 666 "$root/dev/zero" c 1 5
    mknod -m 666 "$root/dev/full" c 1 7
    mknod -m 666 "$root/dev/random" c 1 8
    mknod -m 666 "$root/dev/urandom" c 1 9
    mknod -m 666 "$root/dev/tty" c 5 0
    ln -s /proc/self/fd "$root/dev/fd"
    mkdir "$root/dev/shm"
    mount -t tmpfs -o mode=1777 tmp "$root/tmp"
    mount -t tmpfs -o mode=0755 run "$root/run"
}

# Name resolution and downloaded packages for apt, none of which stays in the image.
open_network() {
    cp --remove-destination /etc/resolv.conf "$root/run/resolv.conf"
    touch "$root/etc/resolv.conf"
    mount --bind "$root/run/resolv.conf" "$root/etc/resolv.conf"
    mkdir -p "$APT_CACHE/partial"
    mount --bind "$APT_CACHE" "$root/var/cache/apt/archives"
    # Hundreds of fsyncs, for an image that counts only as a whole.
    printf 'force-unsafe-io\n' > "$root/run/unsafe-io"
    mkdir -p "$root/etc/dpkg/dpkg.cfg.d"
    touch "$root/etc/dpkg/dpkg.cfg.d/lab-unsafe-io"
    mount --bind "$root/run/unsafe-io" "$root/etc/dpkg/dpkg.cfg.d/lab-unsafe-io"
    trap 'umount "$root/etc/dpkg/dpkg.cfg.d/lab-unsafe-io" && rm -f "$root/etc/dpkg/dpkg.cfg.d/lab-unsafe-io"' EXIT
}

# With the bake's own variables only: neither the host's Python nor its certificates mean anything in there.
inside() {
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
        ${http_proxy:+"http_proxy=$http_proxy"} ${WHEELHOUSE_INSIDE:+"WHEELHOUSE=$WHEELHOUSE_INSIDE"} \
        chroot "$root" "$@"
}

# install_steps STEP...: packer/install.sh, as Packer runs it.
install_steps() {
    mkdir -p "$root/run/packer" "$root/run/wheelhouse"
    mount --bind -o ro "$PACKER" "$root/run/packer"
    [[ -z ${WHEELHOUSE:-} ]] || mount --bind -o ro "$WHEELHOUSE" "$root/run/wheelhouse"
    WHEELHOUSE_INSIDE=/run/wheelhouse inside bash /run/packer/install.sh "$@"
}
