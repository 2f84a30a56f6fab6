# Packer 1.7 and newer fetch their builders with `packer init packer/`. Debian's 1.6 has amazon-ebs built in and does not
# know this block: build from a copy of this folder without this file (docs/image.md).

packer {
  required_version = ">= 1.8.0"

  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.2.0"
    }
  }
}
