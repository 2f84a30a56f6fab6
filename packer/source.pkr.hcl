# The machine on which the image is made, and how it becomes an AMI.

locals {
  build = formatdate("YYYYMMDD-hhmmss", timestamp())

  bases = {
    "debian-12" = {
      owner = "136693071363" # Debian
      name  = "debian-12-${var.arch}-*"
      user  = "admin"
    }
    "debian-13" = {
      owner = "136693071363"
      name  = "debian-13-${var.arch}-*"
      user  = "admin"
    }
    "ubuntu-24.04" = {
      owner = "099720109477" # Canonical
      name  = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-${var.arch}-server-*"
      user  = "ubuntu"
    }
    "amazon-linux-2023" = {
      owner = "137112412989" # Amazon
      name  = "al2023-ami-2023.*-kernel-*-${var.arch == "amd64" ? "x86_64" : "arm64"}"
      user  = "ec2-user"
    }
  }
  base = local.bases[var.base]
  type = var.instance_type != "" ? var.instance_type : (var.arch == "arm64" ? "t4g.small" : "t3.small")
}

source "amazon-ebs" "node" {
  region        = var.region
  instance_type = local.type
  subnet_id     = var.subnet_id
  source_ami    = var.source_ami
  ami_name      = "bootwright-node-${var.base}-${var.arch}-${local.build}"

  encrypt_boot = var.encrypt_boot
  kms_key_id   = var.kms_key_id

  ssh_username  = local.base.user
  ssh_interface = var.ssh_interface

  # --- Packer 1.8 and newer (docs/image.md) ---
  # Without a token IMDS says nothing: neither to the machine of this build nor to any made from the image. To those EC2
  # then gives a hop limit of 2, unless their launch template says 1, which the issuer insists on (docs/image.md).
  imds_support = "v2.0"
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
  # --- end ---

  # Empty for AWS itself; another endpoint has no account to look regions and credentials up in.
  custom_endpoint_ec2        = var.ec2_endpoint
  skip_region_validation     = var.ec2_endpoint != ""
  skip_metadata_api_check    = var.ec2_endpoint != ""
  skip_credential_validation = var.ec2_endpoint != ""

  dynamic "source_ami_filter" {
    for_each = var.source_ami == "" ? [local.base] : []
    content {
      owners      = [source_ami_filter.value.owner]
      most_recent = true
      filters = {
        name                = source_ami_filter.value.name
        virtualization-type = "hvm"
      }
    }
  }

  tags = {
    Name       = "bootwright-node-${var.base}-${var.arch}-${local.build}"
    bootwright = "node"
    base       = var.base
  }
  run_tags = {
    Name = "packer-bootwright-node"
  }
}
