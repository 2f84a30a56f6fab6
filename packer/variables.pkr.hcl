# What may differ from build to build: `packer build -var-file=mine.pkrvars.hcl packer/` (docs/image.md).

variable "wheelhouse" {
  type        = string
  description = "Folder made by `python -m tests.lab.wheelhouse DIR`."
}

variable "region" {
  type = string
}

variable "base" {
  type        = string
  default     = "debian-13"
  description = "The distribution to start from: debian-12, debian-13, ubuntu-24.04 or amazon-linux-2023."

  validation {
    condition     = contains(["debian-12", "debian-13", "ubuntu-24.04", "amazon-linux-2023"], var.base)
    error_message = "The base must be one of debian-12, debian-13, ubuntu-24.04 and amazon-linux-2023."
  }
}

variable "arch" {
  type    = string
  default = "amd64"

  validation {
    condition     = contains(["amd64", "arm64"], var.arch)
    error_message = "The architecture must be amd64 or arm64."
  }
}

variable "source_ami" {
  type        = string
  default     = ""
  description = "An AMI of that base; empty: the newest one that its distributor publishes."
}

variable "instance_type" {
  type        = string
  default     = ""
  description = "Empty: t3.small, or t4g.small for arm64."
}

variable "subnet_id" {
  type    = string
  default = ""
}

variable "encrypt_boot" {
  type        = bool
  default     = true
  description = "Whether the AMI's snapshot is encrypted, and with it the root volume of every node; costs a copy."
}

variable "kms_key_id" {
  type        = string
  default     = ""
  description = "The key for that; empty: the account's own for EBS. To share the image it has to be a key of yours."
}

# --- pinned software: a version of "" takes the distribution's package; a version needs the sha256 of its archive ------
# That it has one for the architecture of this build, build.pkr.hcl sees: a condition here knows its own variable only.
# regex_replace, and what it has left over, because Packer 1.6 knows neither regex nor alltrue.

variable "containerd" {
  type    = object({ version = string, sha256 = map(string) })
  default = { version = "", sha256 = {} }

  validation {
    condition     = var.containerd.version == "" || length(var.containerd.sha256) > 0
    error_message = "A pinned version of containerd needs the sha256 of its release by architecture."
  }

  validation {
    condition     = regex_replace(join("", formatlist("%s,", values(var.containerd.sha256))), "[0-9a-f]{64},", "") == ""
    error_message = "Each sha256 of containerd must be 64 digits of 0-9 and a-f."
  }

  validation {
    condition     = regex_replace(var.containerd.version, "^[0-9]+[.][0-9]+[.][0-9]+(-[a-z]+[.][0-9]+)?$", "") == ""
    error_message = "The version of containerd must be like 1.2.3, without a v."
  }
}

variable "runc" {
  type    = object({ version = string, sha256 = map(string) })
  default = { version = "", sha256 = {} }

  validation {
    condition     = var.runc.version == "" || length(var.runc.sha256) > 0
    error_message = "A pinned version of runc needs the sha256 of its release by architecture."
  }

  validation {
    condition     = regex_replace(join("", formatlist("%s,", values(var.runc.sha256))), "[0-9a-f]{64},", "") == ""
    error_message = "Each sha256 of runc must be 64 digits of 0-9 and a-f."
  }

  validation {
    condition     = regex_replace(var.runc.version, "^[0-9]+[.][0-9]+[.][0-9]+(-[a-z]+[.][0-9]+)?$", "") == ""
    error_message = "The version of runc must be like 1.2.3, without a v."
  }
}

variable "cni" {
  type    = object({ version = string, sha256 = map(string) })
  default = { version = "", sha256 = {} }

  validation {
    condition     = var.cni.version == "" || length(var.cni.sha256) > 0
    error_message = "A pinned version of cni needs the sha256 of its release by architecture."
  }

  validation {
    condition     = regex_replace(join("", formatlist("%s,", values(var.cni.sha256))), "[0-9a-f]{64},", "") == ""
    error_message = "Each sha256 of cni must be 64 digits of 0-9 and a-f."
  }

  validation {
    condition     = regex_replace(var.cni.version, "^[0-9]+[.][0-9]+[.][0-9]+(-[a-z]+[.][0-9]+)?$", "") == ""
    error_message = "The version of cni must be like 1.2.3, without a v."
  }
}

variable "etcd" {
  type    = object({ version = string, sha256 = map(string) })
  default = { version = "", sha256 = {} }

  validation {
    condition     = var.etcd.version == "" || length(var.etcd.sha256) > 0
    error_message = "A pinned version of etcd needs the sha256 of its release by architecture."
  }

  validation {
    condition     = regex_replace(join("", formatlist("%s,", values(var.etcd.sha256))), "[0-9a-f]{64},", "") == ""
    error_message = "Each sha256 of etcd must be 64 digits of 0-9 and a-f."
  }

  validation {
    condition     = regex_replace(var.etcd.version, "^[0-9]+[.][0-9]+[.][0-9]+(-[a-z]+[.][0-9]+)?$", "") == ""
    error_message = "The version of etcd must be like 1.2.3, without a v."
  }
}

variable "kubernetes" {
  type        = object({ version = string, sha256 = map(string) })
  default     = { version = "", sha256 = {} }
  description = "The kubelet to bake into the asset store; \"\" leaves it to the node, which fetches it by its digest."

  validation {
    condition     = var.kubernetes.version == "" || length(var.kubernetes.sha256) > 0
    error_message = "A pinned version of the kubelet needs the sha256 of its release by architecture."
  }

  validation {
    condition     = regex_replace(join("", formatlist("%s,", values(var.kubernetes.sha256))), "[0-9a-f]{64},", "") == ""
    error_message = "Each sha256 of the kubelet must be 64 digits of 0-9 and a-f."
  }

  validation {
    condition     = regex_replace(var.kubernetes.version, "^[0-9]+[.][0-9]+[.][0-9]+(-[a-z]+[.][0-9]+)?$", "") == ""
    error_message = "The version of the kubelet must be like 1.2.3, without a v."
  }
}

variable "assets" {
  type        = string
  default     = ""
  description = "Folder of files for the asset store, with a SHA256SUMS that names each: what the manifest refers to."
}

variable "root_json" {
  type        = string
  default     = ""
  description = "The cluster's trusted root.json to bake in: nodes of this image then need no digest in their userdata."
}

# --- where things are reached; the lab sets these -----------------------------------------------------------------------

variable "ec2_endpoint" {
  type    = string
  default = ""
}

variable "ssh_interface" {
  type        = string
  default     = ""
  description = "private_ip for a build inside a private network."
}
