# The image, for this machine (`make image`) or for all (`make image ARGS='release --push' IMAGE=… TAG=…`).
# The version is the Dockerfile's; variables are taken from the environment.

# The name under which it is kept, with its registry where it is pushed.
variable "IMAGE" {
  default = "integration-api"
}

variable "TAG" {
  default = "latest"
}

# The commit that it is made of; `make image` fills it in.
variable "REVISION" {
  default = ""
}

# The URL of the repository.
variable "SOURCE" {
  default = ""
}

group "default" {
  targets = ["image"]
}

target "image" {
  context = "."
  tags    = ["${IMAGE}:${TAG}"]
  args = {
    REVISION = REVISION
    SOURCE   = SOURCE
  }
}

# Every dependency has wheels for both systems, so that nothing is compiled under emulation.
target "release" {
  inherits  = ["image"]
  platforms = ["linux/amd64", "linux/arm64"]
  attest    = ["type=provenance,mode=max", "type=sbom"]
}
