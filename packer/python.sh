# shellcheck shell=bash disable=SC2154 # what is not set here, install.sh sets
# Sourced by install.sh: the agent, its locked dependencies, and what makes its start fast.

wheelhouse() {
    [[ -n ${WHEELHOUSE:-} ]] || die "set WHEELHOUSE to the folder of wheels"
    [[ -d $WHEELHOUSE ]] || die "WHEELHOUSE=$WHEELHOUSE is not a folder"
}

# pip runs from the distribution's wheel of it and is no part of the venv: a node installs nothing.
venv_pip() {
    local pip
    pip=$(compgen -G '/usr/share/python*-wheels/pip-*.whl' | tail -n 1) || die "no wheel of pip in /usr/share"
    PYTHONPATH=$pip PIP_CONFIG_FILE=/dev/null PIP_ROOT_USER_ACTION=ignore \
        "$venv/bin/python" -m pip install --quiet --no-index --no-cache-dir --disable-pip-version-check "$@"
}

# Amazon Linux' own is 3.9, with newer ones beside it.
new_python() {
    local name
    for name in python3 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
            command -v "$name"
            return
        fi
    done
    die "no Python 3.11 or newer"
}

install_python() {
    local python
    wheelhouse
    python=$(new_python)
    install -d -m 0755 "$prefix"
    ! venv_is_of "$python" || return 0
    rm -rf "$venv"
    "$python" -m venv --without-pip "$venv"
    venv_pip --find-links "$WHEELHOUSE" --only-binary :all: --require-hashes -r "$WHEELHOUSE/requirements.txt"
    install -m 0644 "$WHEELHOUSE/requirements.txt" "$venv/requirements.txt" # last: only a whole venv has it
}

venv_is_of() {
    local version='import sys; print(sys.version)'
    cmp --silent "$WHEELHOUSE/requirements.txt" "$venv/requirements.txt" &&
        [[ $("$venv/bin/python" -I -c "$version") == "$("$1" -I -c "$version")" ]]
}

# A boot compiles nothing, compares no pyc with its source, and finds its modules in one file instead of 500. In this
# order: the file of modules counts only while nothing is added to site-packages, and a pyc may make a __pycache__ there.
compile_venv() {
    "$venv/bin/python" -m compileall -q -f --invalidation-mode unchecked-hash "$venv/lib"
    "$venv/bin/python" -I -m agent.make_modules --files "$prefix/readahead.list"
}

# What every node runs next, after what the agent itself is made of. Again after `assets`: they bring the kubelet.
read_ahead() {
    local list=$prefix/readahead.list name file
    {
        cat "$list"
        for name in systemctl containerd containerd-shim-runc-v2 ctr runc; do
            readlink -f "$(command -v "$name")" || die "there is no $name to read ahead"
        done
        baked_kubelets
        readlink -f "$(command -v etcd)" || die "there is no etcd to read ahead" # last: workers have no use for it
    } | awk '!seen[$0]++' | while read -r file; do
        [[ ! -e $file ]] || printf '%s\n' "$file"
    done > "$list.partial"
    if cmp --silent "$list" "$list.partial"; then rm "$list.partial"; else mv "$list.partial" "$list"; fi
}

install_wheel() {
    local wheel sha256
    wheel=$(compgen -G "$WHEELHOUSE/bootwright-*.whl") || die "no wheel of bootwright in $WHEELHOUSE"
    sha256=$(sha256sum "$wheel" | cut -d' ' -f1)
    [[ $(cat "$venv/bootwright.sha256" 2> /dev/null) != "$sha256" ]] || return 0
    rm -f "$venv/bootwright.sha256"
    venv_pip --no-deps --force-reinstall "$wheel"
    echo "$sha256" > "$venv/bootwright.sha256"
}

install_bootwright() {
    wheelhouse
    install_wheel
    if "$venv/bin/python" -I -c 'import boto3' 2> /dev/null; then
        die "boto3 is in the venv: importing tuf would import it too, +300 ms a boot"
    fi
    [[ -s $prefix/readahead.list && -z $("$venv/bin/python" -I "$here/compiled.py" 2>&1) ]] || compile_venv
    read_ahead
    ln -sfn "$venv/bin/agent" /usr/local/bin/agent
    install -d -m 0755 "$prefix/assets" /etc/bootwright
    cp -r --no-preserve=ownership,timestamps "$here/rootfs/." /
    systemctl enable --quiet bootwright-boot.service bootwright-readahead.service bootwright-sync.timer
    verify_units
}

verify_units() {
    local complaints
    # The exit code is 0 for a misspelt key: any line is a failure.
    complaints=$(SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no --recursive-errors=no \
        /etc/systemd/system/bootwright-*.service /etc/systemd/system/bootwright-*.socket \
        /etc/systemd/system/bootwright-*.timer 2>&1) || true
    [[ -z $complaints ]] || die "systemd-analyze verify: $complaints"
}
