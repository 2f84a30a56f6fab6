# The build: install.sh does it, as in the lab's own bake; validate.sh has the last word. What fails leaves no AMI.

locals {
  folder = "/var/tmp/bootwright" # on disk: /tmp may be as small as the machine's memory

  # Read by install.sh and validate.sh. A pin without the digest of this architecture is an invalid index.
  settings = join(" ", [
    "WHEELHOUSE=${local.folder}/wheelhouse",
    "ASSETS=${local.folder}/to-bake",
    "DOWNLOADS=${local.folder}/to-bake",
    "CONTAINERD=${var.containerd.version == "" ? "" : "${var.containerd.version}:${var.containerd.sha256[var.arch]}"}",
    "RUNC=${var.runc.version == "" ? "" : "${var.runc.version}:${var.runc.sha256[var.arch]}"}",
    "CNI=${var.cni.version == "" ? "" : "${var.cni.version}:${var.cni.sha256[var.arch]}"}",
    "ETCD=${var.etcd.version == "" ? "" : "${var.etcd.version}:${var.etcd.sha256[var.arch]}"}",
    "KUBELET=${var.kubernetes.version == "" ? "" : "${var.kubernetes.version}:${var.kubernetes.sha256[var.arch]}"}",
    "ROOT_JSON=${var.root_json == "" ? "" : base64encode(file(var.root_json))}",
  ])
}

build {
  sources = ["source.amazon-ebs.node"]

  provisioner "shell" {
    # ssh answers while cloud-init is still at work.
    inline = [
      "cloud-init status --wait > /dev/null || true",
      "mkdir -p ${local.folder}/wheelhouse ${local.folder}/to-bake",
    ]
  }

  provisioner "file" {
    source      = "${path.root}/"
    destination = local.folder
  }

  provisioner "file" {
    source      = "${var.wheelhouse}/"
    destination = "${local.folder}/wheelhouse"
  }

  provisioner "file" {
    source      = "${var.assets == "" ? "${path.root}/assets" : var.assets}/"
    destination = "${local.folder}/to-bake"
  }

  provisioner "shell" {
    # One session of root's: afterwards no key opens this machine any more, and the user of this build is gone.
    inline = [<<-EOF
      sudo env ${local.settings} bash -euc '
        bash ${local.folder}/install.sh
        bash ${local.folder}/validate.sh
        rm -rf ${local.folder}'
    EOF
    ]
  }
}
