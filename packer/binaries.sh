# shellcheck shell=bash disable=SC2154 # what is not set here, install.sh sets
# Sourced by install.sh: releases of pinned versions, and the content-addressed store. Nothing gets in unchecked.

# obtain FILE SHA256 URL: the path of a file that has this sha256, and of no other.
obtain() {
    local file=$1 sha256=$2 url=$3 path found
    [[ $sha256 =~ ^[0-9a-f]{64}$ ]] || die "$file: '$sha256' is no sha256; a pinned version needs that of its release file"
    path=${DOWNLOADS:-/nonexistent}/$file
    if [[ ! -e $path ]]; then
        path=$work/$file
        command -v curl > /dev/null || die "$file is not in DOWNLOADS, and there is no curl to fetch it with"
        curl --fail --silent --show-error --location --retry 3 --connect-timeout 20 --max-time 900 \
            --proto =https --output "$path" "$url" || die "$file: cannot be fetched from $url"
    fi
    found=$(sha256sum "$path" | cut -d' ' -f1)
    [[ $found == "$sha256" ]] || die "$file has sha256 $found, but $sha256 is pinned: it is not what was meant"
    printf '%s' "$path"
}

install_binaries() {
    local name pin archive arch
    arch=$(architecture)
    work=$(mktemp -d /var/tmp/bootwright-binaries.XXXXXX)
    trap 'rm -rf "$work"' EXIT
    install -d -m 0755 "$pins"
    rm -f /etc/systemd/system/containerd.service # of a release that was pinned before
    for name in containerd runc cni etcd kubelet; do
        pin=${name^^}
        pin=${!pin:-}
        [[ $(cat "$pins/$name" 2> /dev/null) == "${pin/:/ }" ]] || rm -f "$pins/$name"
        [[ -n ${pin%%:*} ]] || continue
        say "$name ${pin%%:*}"
        # An assignment of its own: set -e does not see a failure inside another command's arguments.
        archive=$(obtain_release "$name" "${pin%%:*}" "${pin#*:}" "$arch")
        "unpack_$name" "$archive" "${pin%%:*}"
        [[ -e $pins/$name ]] || echo "${pin/:/ }" > "$pins/$name"
    done
    rm -rf "$work"
    trap - EXIT
}

obtain_release() {
    local name=$1 version=$2 sha256=$3 arch=$4 github=https://github.com
    case $name in
        containerd) set -- "containerd-$version-linux-$arch.tar.gz" \
            "$github/containerd/containerd/releases/download/v$version/containerd-$version-linux-$arch.tar.gz" ;;
        runc) set -- "runc.$arch" "$github/opencontainers/runc/releases/download/v$version/runc.$arch" ;;
        cni) set -- "cni-plugins-linux-$arch-v$version.tgz" \
            "$github/containernetworking/plugins/releases/download/v$version/cni-plugins-linux-$arch-v$version.tgz" ;;
        etcd) set -- "etcd-v$version-linux-$arch.tar.gz" \
            "$github/etcd-io/etcd/releases/download/v$version/etcd-v$version-linux-$arch.tar.gz" ;;
        kubelet) set -- kubelet "https://dl.k8s.io/release/v$version/bin/linux/$arch/kubelet" ;;
    esac
    obtain "$1" "$sha256" "$2"
}

# unpacked ARCHIVE PROGRAM...: a folder with what is in it, and with these programs.
unpacked() {
    local folder archive=$1 program
    shift
    folder=$(mktemp -d "$work/unpacked.XXXXXX")
    python3 -I "$here/unpack.py" "$archive" "$folder" || die "${archive##*/} is not unpacked"
    for program in "$@"; do
        [[ -x $folder/$program ]] || die "${archive##*/} lacks $program"
    done
    printf '%s' "$folder"
}

unpack_containerd() {
    local folder program programs=(containerd containerd-shim-runc-v2 ctr)
    folder=$(unpacked "$1" "${programs[@]/#/bin/}")
    for program in "${programs[@]}"; do
        install -m 0755 "$folder/bin/$program" "/usr/bin/$program"
    done
    install -m 0644 "$here/pinned/containerd.service" /etc/systemd/system/containerd.service
}

unpack_runc() { install -m 0755 "$1" /usr/sbin/runc; }

unpack_cni() {
    local folder plugin
    folder=$(unpacked "$1" loopback host-local bridge portmap)
    # Not one of the distribution's beside them: two of a kind, and nobody could say which ones a node has.
    install -d -m 0755 /opt/cni/bin
    find /opt/cni/bin -type l -delete
    for plugin in "$folder"/*; do
        [[ ! -f $plugin || ! -x $plugin ]] || install -m 0755 "$plugin" "/opt/cni/bin/${plugin##*/}"
    done
}

unpack_etcd() {
    local folder program programs=(etcd etcdctl etcdutl)
    folder=$(unpacked "$1" "${programs[@]/#/etcd-v$2-linux-$(architecture)/}")
    for program in "${programs[@]}"; do
        install -m 0755 "$folder/etcd-v$2-linux-$(architecture)/$program" "/usr/bin/$program"
    done
    id -u etcd > /dev/null 2>&1 || useradd --system --home-dir /var/lib/etcd --shell /usr/sbin/nologin etcd
}

unpack_kubelet() { store_asset "$1"; }

# Under the digest by which the manifest names it; whole or not there.
store_asset() {
    local sha256 target
    sha256=$(sha256sum "$1" | cut -d' ' -f1)
    target=$prefix/assets/sha256/${sha256:0:2}/$sha256
    [[ ! -e $target ]] || return 0
    install -D -m 0755 "$1" "$target.partial"
    mv "$target.partial" "$target"
}

install_assets() {
    local folder=${ASSETS:-$here/assets} sha256 file count=0
    [[ -f $folder/SHA256SUMS ]] || die "$folder has no SHA256SUMS: it names the files to bake"
    while read -r sha256 file; do
        file=${file#\*}
        [[ $sha256 =~ ^[0-9a-f]{64}$ && $file != */* && -n $file ]] ||
            die "$folder/SHA256SUMS: '$sha256 $file' is not a sha256 and the name of a file beside it"
        [[ -f $folder/$file ]] || die "$folder lacks $file, which its SHA256SUMS names"
        echo "$sha256  $folder/$file" | sha256sum --check --status ||
            die "$file has another sha256 than $sha256, which $folder/SHA256SUMS gives it"
        store_asset "$folder/$file"
        count=$((count + 1))
    done < "$folder/SHA256SUMS"
    say "$count files in the asset store"
    [[ ! -e $prefix/readahead.list ]] || read_ahead
    trust_root
}

# The kubelet that was pinned, and those that SHA256SUMS calls so, as they lie in the store.
baked_kubelets() {
    local sums=${ASSETS:-$here/assets}/SHA256SUMS sha256 file
    {
        [[ ! -e $pins/kubelet ]] || awk '{print $2}' "$pins/kubelet"
        [[ ! -e $sums ]] || awk '$2 ~ /^[*]?([0-9a-z.-]*[-_])?kubelet$/ {print $1}' "$sums"
    } | while read -r sha256; do
        file=$prefix/assets/sha256/${sha256:0:2}/$sha256
        [[ ! -e $file ]] || printf '%s\n' "$file"
    done
}

# Where the agent looks for it (agent/trust_state.py).
trust_root() {
    local target=/usr/share/bootwright/trust/root.json
    rm -f "$target"
    [[ -n ${ROOT_JSON:-} ]] || return 0
    install -d -m 0755 "${target%/*}"
    base64 --decode <<< "$ROOT_JSON" > "$target.partial"
    python3 -c 'import json, sys; assert json.load(open(sys.argv[1]))["signed"]["_type"] == "root"' "$target.partial" \
        2> /dev/null || die "ROOT_JSON is not the base64 of a TUF root.json"
    mv "$target.partial" "$target"
}
