# Sourced by the scripts of this folder: variables for Open MPI on one machine, and a function that
# configures the build.

# Open MPI refuses root, more ranks than cores and, beside other jobs, runs several ranks on one core.
if [ "$(id -u)" -eq 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
export OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none
export OMPI_MCA_mpi_yield_when_idle=1

# configure [CMAKE ARGUMENT...]: makes or renews build/. With Ninja where it is there; a folder that
# was made with another generator keeps it.
configure() {
  local generator=()
  if [ ! -f build/CMakeCache.txt ] && command -v ninja >/dev/null; then
    generator=(-G Ninja)
  fi
  cmake -S . -B build "${generator[@]}" "$@"
}
