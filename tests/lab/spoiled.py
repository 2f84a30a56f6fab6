"""Every single thing that can be wrong with an image: how it is broken, and how what validate.sh says begins."""

import hashlib
from dataclasses import dataclass

from tests.lab.spoiled_modules import MODULES, SITE, VENV, kept_time

ASSET = b"#!/bin/sh\necho an asset that the build was given\n"
ROOT_JSON = '{"signatures": [], "signed": {"_type": "root", "version": 3}}'


@dataclass(frozen=True, slots=True)
class Spoiled:
    """`command` breaks it, in bash; `check` is the one that sees it, and says one line for each of `complaints`."""

    check: str
    command: str
    complaints: tuple[str, ...]


def one(check: str, command: str, *complaints: str) -> Spoiled:
    return Spoiled(check, command, complaints)


FILES = (
    one("files", "echo >> /etc/chrony/chrony.conf", "/etc/chrony/chrony.conf is not what rootfs/ has"),
    one(
        "files",
        "rm /etc/systemd/system/bootwright-sync.timer",
        "/etc/systemd/system/bootwright-sync.timer is not what rootfs/ has",
    ),
    one(
        "files",
        "chmod 666 /etc/systemd/system/bootwright-boot.service",
        "/etc/systemd/system/bootwright-boot.service is not root's alone: root, mode 666",
    ),
    one("files", "chmod 777 /etc/systemd/system", "/etc/systemd/system is not root's alone: root, mode 777"),
    one("files", "chown 33 /etc/bootwright", "/etc/bootwright is not root's alone: www-data, mode 755"),
    one("files", f"chown 33 {VENV}/bin", f"{VENV}/bin is not root's alone: www-data, mode 755"),
    one("files", f"chmod 4755 {VENV}/bin/agent", f"{VENV}/bin/agent is not root's alone: root, mode 4755"),
)

ENABLED = ("bootwright-boot.service", "bootwright-readahead.service", "bootwright-sync.timer")
NOT_ENABLED = ("containerd.service", "etcd.service", "kubelet.service", "bootwright-issuer.socket")
MASKED = (
    "swap.target",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "apt-daily.service",
    "apt-daily-upgrade.service",
    "unattended-upgrades.service",
    "dnf-makecache.timer",
    "dnf-automatic.timer",
)
ENABLE = """
mkdir -p /etc/systemd/system/multi-user.target.wants
[[ -e /usr/lib/systemd/system/{0} || -e /etc/systemd/system/{0} ]] || echo '[Install]
WantedBy=multi-user.target' > /etc/systemd/system/{0}
systemctl enable -q {0} 2> /dev/null
[[ $(systemctl is-enabled {0}) == enabled ]] ||
    ln -s /etc/systemd/system/{0} /etc/systemd/system/multi-user.target.wants/
"""
UNITS = (
    *(
        one("units", f"systemctl disable -q {unit}", f"{unit} is not enabled: nothing would start the agent")
        for unit in ENABLED
    ),
    *(
        one("units", ENABLE.format(unit), f"{unit} is enabled: it would start before the agent")
        for unit in (*NOT_ENABLED, "bootwright-etcd-backup.timer")
    ),
    *(one("units", f"systemctl unmask -q {unit}", f"{unit} is not masked") for unit in MASKED),
    one("units", "rm /usr/lib/systemd/system/containerd.service", "containerd.service is missing"),
    one(
        "units",
        "echo > /etc/systemd/system/containerd.service",
        "/etc/systemd/system/containerd.service is left over from this machine",
    ),
)

PYTHON = (
    one("python", "rm /usr/local/bin/agent", f"/usr/local/bin/agent is not {VENV}/bin/agent"),
    one("python", "ln -sfn /bin/true /usr/local/bin/agent", f"/usr/local/bin/agent is not {VENV}/bin/agent"),
    one(
        "python",
        f"echo 'import os; os._exit(9)' > {SITE}/broken.pth",
        f"the agent does not run: {VENV}/bin/python -I -m agent --help",
        "compiled.py ended with ",
    ),
    one(
        "python",
        kept_time(
            f"mkdir {SITE}/boto3; echo > {SITE}/boto3/__init__.py; "
            f"{VENV}/bin/python -m compileall -q --invalidation-mode unchecked-hash {SITE}/boto3"
        ),
        "boto3 is in the venv: +300 ms a boot",
    ),
    one(
        "python",
        "sed -i /agent.modules/d /opt/bootwright/readahead.list",
        f"/opt/bootwright/readahead.list does not name {VENV}/agent.modules",
    ),
    one(
        "python",
        "echo /usr/lib/gone.so >> /opt/bootwright/readahead.list",
        "/opt/bootwright/readahead.list names /usr/lib/gone.so, which is not there",
    ),
    one(
        "python",
        f"rm {VENV}/agent.modules",
        f"{VENV}/agent.modules is missing: ",
        f"/opt/bootwright/readahead.list names {VENV}/agent.modules, which is not there",
    ),
    *(one("python", command, complaint) for command, complaint in MODULES.items()),
)

IMAGE = "/opt/bootwright/image.json"
OTHERWISE = f"{IMAGE} does not say what is in the image: "
BILL = "/opt/bootwright/sbom.json does not say what is in the image: "


def recorded(name: str, version: str) -> str:
    return f"""sed -i 's/"{name}": ".*"/"{name}": "{version}"/' {IMAGE}"""


VERSIONS = (
    one(
        "versions",
        f"sed -i '/\"runc\"/d' {IMAGE}",
        f"{IMAGE} has no version of runc",
        f"{OTHERWISE}runc is None, not ",
    ),
    one(
        "versions",
        recorded("runc", "9.9.9"),
        "runc is recorded as 9.9.9, but says: runc version ",
        f"{OTHERWISE}runc is 9.9.9, not ",
    ),
    one("versions", "chmod -x /usr/sbin/runc", "runc does not run", "runc is recorded as "),
    one(
        "versions",
        recorded("etcd", "3.4.23"),
        "etcd is recorded as 3.4.23, but says: etcd Version: 3.5.",
        "etcd 3.4.23 is too old for a node: ",
        f"{OTHERWISE}etcd is 3.4.23, not ",
    ),
    one(
        "versions",
        recorded("containerd", "1.6.20"),
        "containerd is recorded as 1.6.20, but says: containerd ",
        "containerd 1.6.20 is too old for a node: ",
        f"{OTHERWISE}containerd is 1.6.20, not ",
    ),
    one("versions", recorded("base", "debian-11"), f"{OTHERWISE}base is debian-11, not debian-13"),
    *(
        one("versions", f"rm /opt/cni/bin/{name}", f"the CNI plugin {name} is missing in /opt/cni/bin, or does not run")
        for name in ("loopback", "host-local", "bridge", "portmap")
    ),
    one("versions", "echo > /usr/lib/cni/bridge", "the CNI plugin bridge is missing in /opt/cni/bin, or does not run"),
    *(
        one("versions", f"rm $(command -v {name})", f"{name} is missing")
        for name in ("etcdctl", "ctr", "conntrack", "mkfs.ext4", "blkid")
    ),
    one("versions", "chmod 775 /usr/bin/ctr", "/usr/bin/ctr is not root's alone: root, mode 775"),
    one("versions", "chmod 777 /opt/cni/bin", "/opt/cni/bin is not root's alone: root, mode 777"),
    one("versions", "rm /opt/bootwright/sbom.json", f"{BILL}it is missing, or no JSON"),
    one(
        "versions",
        "sed -i 's/pypi.botocore/pypi\\/other/' /opt/bootwright/sbom.json",
        f"{BILL}without pkg:pypi/botocore@",
    ),
    one("versions", "dpkg --purge --force-depends chrony 2> /dev/null", f"{BILL}pkg:deb/debian/chrony@"),
)

SHA256 = hashlib.sha256(ASSET).hexdigest()
STORED = f"/opt/bootwright/assets/sha256/{SHA256[:2]}/{SHA256}"
ASSETS = (
    one("assets", f"echo x >> {STORED}", f"{STORED} does not have the sha256 that is its name"),
    one("assets", f"rm {STORED}", f"asset {SHA256} of SHA256SUMS is not in the store"),
    one("assets", "rm /usr/share/bootwright/trust/root.json", "root.json is not baked in"),
    one("assets", "echo >> /usr/share/bootwright/trust/root.json", "root.json is not baked in"),
)

LEFT = (
    "/etc/ssh/ssh_host_rsa_key.pub",
    "/root/.ssh/authorized_keys",
    "/home/admin/.ssh/authorized_keys",
    "/root/.bash_history",
    "/home/admin/.python_history",
    "/var/lib/cloud/instance",
    "/var/lib/cloud/instances",
    "/var/lib/cloud/data",
    "/var/lib/cloud/seed",
    "/var/log/cloud-init.log",
    "/var/log/cloud-init-output.log",
    "/var/lib/systemd/random-seed",
    "/var/lib/dbus/machine-id",
    "/var/lib/containerd/io.containerd.grpc.v1.introspection/uuid",
    "/etc/netplan/50-cloud-init.yaml",
    "/etc/network/interfaces.d/50-cloud-init",
    "/var/lib/etcd/member",
    "/var/lib/dhcp/dhclient.leases",
    "/var/lib/bootwright",
    "/etc/bootwright/agent.json",
    "/etc/kubernetes/pki",
    "/usr/sbin/policy-rc.d",
    "/etc/sudoers.d/90-cloud-init-users",
    "/etc/sudoers.d/ssm-agent-users",
    "/var/lib/amazon/ssm",
)
CLEAN = (
    *(
        one("clean", f"mkdir -p $(dirname {path}) && echo > {path}", f"{path} is left over from this machine")
        for path in LEFT
    ),
    one(
        "clean",
        "mkdir -p /var/lib/cloud; ln -s /run/instance /var/lib/cloud/instance",
        "/var/lib/cloud/instance is left over",
    ),
    one("clean", "echo 0123456789abcdef0123456789abcdef > /etc/machine-id", "/etc/machine-id is not empty: "),
    one("clean", "rm /etc/machine-id", "/etc/machine-id is not empty: "),
    one("clean", "useradd --uid 1234 somebody", "user somebody is left over from this machine"),
    one("clean", "echo 127.0.1.1 ip-10-0-0-1 >> /etc/hosts", "/etc/hosts names this machine: 127.0.1.1 ip-10-0-0-1"),
    one("clean", "echo ip-10-0-0-1 > /etc/hostname", "/etc/hostname is ip-10-0-0-1: "),
    one("clean", "mkdir -p /var/log/journal/0 && echo > /var/log/journal/0/a", "/var/log/journal holds "),
    one("clean", "echo x > /var/lib/apt/lists/a", "/var/lib/apt/lists holds package lists"),
    *(
        one(
            "clean",
            f"openssl genpkey -algorithm ed25519 -out {folder}/stolen.pem",
            f"private keys: {folder}/stolen.pem",
        )
        for folder in ("/etc", "/root", "/opt/bootwright", "/var/tmp")
    ),
)

# Before ours in the alphabet: the first word counts in sshd.
SSHD = "echo '{}' > /etc/ssh/sshd_config.d/00-other.conf"
SSH = (
    one("ssh", SSHD.format("PasswordAuthentication yes"), "sshd takes passwords"),
    one("ssh", SSHD.format("KbdInteractiveAuthentication yes"), "sshd takes keyboard-interactive logins"),
    one("ssh", SSHD.format("PermitEmptyPasswords yes"), "sshd takes empty passwords"),
    one("ssh", SSHD.format("PermitRootLogin yes"), "sshd lets root in with a password"),
    one("ssh", "echo root:secret | chpasswd", "a user has a password, or an empty one"),
    one("ssh", "passwd -q -d root", "a user has a password, or an empty one"),
)

JOURNAL = "printf '[Journal]\n{}\n' > /etc/systemd/journald.conf.d/99-other.conf"
SYSTEM = (
    one("system", "umount /sys/fs/cgroup", "/sys/fs/cgroup is not cgroup v2"),
    one(
        "system",
        "printf 'Filename\n/swapfile file 1 0 -2\n' > /tmp/swaps; mount --bind /tmp/swaps /proc/swaps",
        "swap is on",
    ),
    one("system", "echo '/swapfile none swap sw 0 0' >> /etc/fstab", "/etc/fstab mounts swap"),
    one("system", JOURNAL.format("Storage=volatile"), "the journal is not persistent"),
    one(
        "system",
        "rm /etc/systemd/journald.conf.d/10-bootwright.conf; " + JOURNAL.format("Storage=persistent"),
        "the journal has no limit",
    ),
    one("system", "sed -i /169.254/d /etc/chrony/chrony.conf", "chrony does not ask Amazon's clock"),
    one("system", "systemctl disable -q chrony.service", "chrony is not enabled"),
    one(
        "system",
        "echo 'allow_userdata: true' > /etc/cloud/cloud.cfg.d/99_other.cfg",
        "cloud-init goes by /etc/cloud/cloud.cfg.d/99_other.cfg in what it does with user-data",
    ),
    one("system", "rm /etc/cloud/cloud.cfg.d/99-bootwright.cfg", "cloud-init goes by "),
    one(
        "system",
        "mkdir -p /boot/grub; echo ' linux /boot/vmlinuz-6.12 root=LABEL=root' > /boot/grub/grub.cfg",
        "the kernel gets no nvme_core.io_timeout of /boot/grub/grub.cfg",
    ),
    one(
        "system",
        "mkdir -p /boot/loader/entries; echo 'options root=LABEL=root' > /boot/loader/entries/a.conf",
        "the kernel gets no nvme_core.io_timeout of /boot/loader/entries/a.conf",
    ),
    one("system", "mkdir -p /boot; echo > /boot/vmlinuz-6.12", "no file gives the kernel in /boot its arguments"),
    one(
        "system",
        "printf '[Swap]\\nWhat=/swapfile\\n' > /etc/systemd/system/swapfile.swap",
        "/etc/systemd/system/swapfile.swap makes swap",
    ),
    one(
        "system",
        "echo > /usr/lib/systemd/system-generators/zram-generator; rm /etc/systemd/system-generators/zram-generator",
        "zram-generator makes swap",
    ),
    one("nonsense", "true", "no check nonsense; there are files, units, "),
)

EVERYTHING = (*FILES, *UNITS, *PYTHON, *VERSIONS, *ASSETS, *CLEAN, *SSH, *SYSTEM)
