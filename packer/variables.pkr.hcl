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

# --- pinned software: a version of "" takes the distribution's package; a version needs the sha256 of its archive ------

variable "containerd" {
  type    = object({ version = string, sha256 = map(string) })
  default = { version = "", sha256 = {} }

  validation {
    condition     = var.containerd.version == "" || length(var.containerd.sha256) > 0
    error_message = "A pinned version of containerd needs the sha256 of its release by architecture."
  }
}

variable "runc" {
  type    = object({ version = string, sha256 = map(string) })
  default = { version = "", sha256 = {} }

  validation {
    condition     = var.runc.version == "" || length(var.runc.sha256) > 0
    error_message = "A pinned version of runc needs the sha256 of its release by architecture."
  }
}

variable "cni" {
  type    = object({ version = string, sha256 = map(string) })
  default = { version = "", sha256 = {} }

  validation {
    condition     = var.cni.version == "" || length(var.cni.sha256) > 0
    error_message = "A pinned version of cni needs the sha256 of its release by architecture."
  }
}

variable "etcd" {
  type    = object({ version = string, sha256 = map(string) })
  default = { version = "", sha256 = {} }

  validation {
    condition     = var.etcd.version == "" || length(var.etcd.sha256) > 0
    error_message = "A pinned version of etcd needs the sha256 of its release by architecture."
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
