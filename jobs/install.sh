#!/usr/bin/env bash
# Installs what the build and the tests need, on Debian 12 and Ubuntu. Does nothing where it is there.
#
#   bash jobs/install.sh
set -euo pipefail

packages=(
  g++ cmake ninja-build pkg-config      # the build
  openmpi-bin libopenmpi-dev            # ranks
  libhdf5-dev                           # checkpoints and token files (the serial library)
  libyaml-cpp-dev libcli11-dev          # configuration and command line
  libssl-dev                            # SHA-256
  libgoogle-perftools-dev               # tcmalloc: plans a sixth sooner
  libdnnl-dev                           # fast products on the CPU
  coinor-libcbc-dev                     # integer programs of the planner
  nlohmann-json3-dev zlib1g-dev         # safetensors; benchmarks of the planner read packed JSON
  libgtest-dev python3-h5py             # tests
)

if ! command -v dpkg-query >/dev/null; then
  echo "install.sh: this is no Debian system, nothing installed. The build needs what these Debian" \
       "packages hold; CMake names what it does not find: ${packages[*]}" >&2
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
  echo "install.sh: ${#missing[@]} packages are missing, and installing them needs root. Run:" >&2
  echo "sudo apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi
echo "install.sh: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends "${missing[@]}"
