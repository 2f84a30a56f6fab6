# The node image as an AMI. All of the work is in install.sh, which the lab runs too:
#   packer build -var wheelhouse=DIR -var region=eu-west-1 packer/node.pkr.hcl

variable "wheelhouse" {
  type        = string
  description = "Folder made by `python -m tests.lab.wheelhouse DIR`."
}

variable "region" {
  type = string
}

variable "source_ami" {
  type        = string
  default     = ""
  description = "A Debian 13 AMI; empty: the newest one that Debian publishes."
}

variable "instance_type" {
  type    = string
  default = "t3.small"
}

variable "subnet_id" {
  type    = string
  default = ""
}

locals {
  build = formatdate("YYYYMMDD-hhmmss", timestamp())
}

source "amazon-ebs" "node" {
  region        = var.region
  instance_type = var.instance_type
  subnet_id     = var.subnet_id
  source_ami    = var.source_ami
  ssh_username  = "admin"
  ami_name      = "bootwright-node-${local.build}"

  dynamic "source_ami_filter" {
    for_each = var.source_ami == "" ? [1] : []
    content {
      owners      = ["136693071363"] # Debian's account
      most_recent = true
      filters = {
        name                = "debian-13-amd64-*"
        virtualization-type = "hvm"
      }
    }
  }

  tags = {
    Name       = "bootwright-node-${local.build}"
    bootwright = "node"
  }
}

build {
  sources = ["source.amazon-ebs.node"]

  provisioner "shell" {
    inline = ["mkdir -p /tmp/bootwright/wheelhouse"]
  }

  provisioner "file" {
    source      = "${path.root}/"
    destination = "/tmp/bootwright"
  }

  provisioner "file" {
    source      = "${var.wheelhouse}/"
    destination = "/tmp/bootwright/wheelhouse"
  }

  provisioner "shell" {
    inline = [
      "sudo WHEELHOUSE=/tmp/bootwright/wheelhouse bash /tmp/bootwright/install.sh",
      "rm -rf /tmp/bootwright",
    ]
  }
}
