#!/usr/bin/env bash
# A training step of alpa_train beside PyTorch's and beside the machine's floor, fp32, AdamW, on two
# cores. Builds nothing: wants alpa_train and bench/device_bench built.
#
#   bash tests/bench/compare.sh [OPTION...] [ROW...]
#
#   --build DIR     the build folder (build)
#   --python FILE   a Python that has PyTorch; without it PyTorch is skipped
#   --venv DIR      makes DIR with PyTorch from the package index, if it is not there, and uses it
#   --keep DIR      run folders and PyTorch's output are left there
#   --prefix "CMD"  put before every measured command, such as "chrt -f 10" on a machine that others
#                   use as well (root; two ranks that wait for each other may then starve: without)
#   --no-compile    leave torch.compile out (it takes minutes)
#
# Rows, all without any: gpt2_4x64 gpt2_4x256 gpt384_8x256 mlp_32 mlp_512 mlp_32_2ranks mlp_512_2ranks
# wide_resnet_32
#
# floor    FLOPs of the step / fp32 peak + 28 bytes per parameter and rank / AdamW stream, both
#          measured here by device_bench
# packaged PyTorch as a script gets it that chooses nothing, see compare_pytorch.py
# tuned    the best of fused AdamW with scaled_dot_product_attention, and of that with torch.compile
# Times are medians of a run's steps in milliseconds, the first two left out; in brackets the least.
set -euo pipefail
cd "$(dirname "$0")/../.."

build=build python= venv= keep= prefix= compile=1
rows=()
while [ $# -gt 0 ]; do
  case $1 in
    --build) build=$2; shift ;;
    --python) python=$2; shift ;;
    --venv) venv=$2; shift ;;
    --keep) keep=$2; shift ;;
    --prefix) prefix=$2; shift ;;
    --no-compile) compile= ;;
    -*) echo "compare.sh: unknown option $1" >&2; exit 64 ;;
    *) rows+=("$1") ;;
  esac
  shift
done
[ ${#rows[@]} -gt 0 ] || rows=(gpt2_4x64 gpt2_4x256 gpt384_8x256 mlp_32 mlp_512 mlp_32_2ranks mlp_512_2ranks wide_resnet_32)
if [ -n "$venv" ]; then
  [ -x "$venv/bin/python3" ] || { python3 -m venv "$venv" && "$venv/bin/pip" install -q torch numpy; }
  python=$venv/bin/python3
fi
if [ -n "$python" ] && ! "$python" -c 'import torch' 2>/dev/null; then
  echo "compare.sh: $python has no PyTorch, which is skipped" >&2
  python=
fi
work=${keep:-$(mktemp -d)}
mkdir -p "$work"
[ -n "$keep" ] || trap 'rm -rf "$work"' EXIT
source jobs/environment.sh

# Shapes as compare_pytorch.py takes them, per rank.
shapes() {
  case $1 in
    gpt2_4x64) echo gpt 12 768 12 50257 4 64 ;;
    gpt2_4x256) echo gpt 12 768 12 50257 4 256 ;;
    gpt384_8x256) echo gpt 6 384 6 256 8 256 ;;
    mlp_32) echo mlp 8 2048 512 10 32 ;;
    mlp_512) echo mlp 8 2048 512 10 512 ;;
    mlp_32_2ranks) echo mlp 8 2048 512 10 16 ;;
    mlp_512_2ranks) echo mlp 8 2048 512 10 256 ;;
    wide_resnet_32) echo wide_resnet 3463 32 2 64 10 32 ;;
    *) echo "compare.sh: no row $1" >&2; exit 64 ;;
  esac
}

ours() {
  local row=$1 ranks=$2 launch=()
  [ "$ranks" = 1 ] || launch=(mpirun -np "$ranks")
  rm -rf "$work/$row"
  OMP_NUM_THREADS=$((2 / ranks)) $prefix "${launch[@]}" "$build/alpa_train" \
    "configs/bench/${row%_2ranks}.yaml" --resume none "output=$work/$row" >"$work/$row.log" 2>&1
}

# pytorch ROW RANKS NAME [OPTION...]: leaves its JSON in $work/ROW.NAME.json, empty if it failed
pytorch() {
  local row=$1 ranks=$2 name=$3 launch=("$python")
  shift 3
  [ "$ranks" = 1 ] || launch=("$python" -m torch.distributed.run --nproc-per-node "$ranks")
  # shellcheck disable=SC2046
  OMP_NUM_THREADS=$((2 / ranks)) $prefix "${launch[@]}" tests/bench/compare_pytorch.py $(shapes "$row") \
    --threads $((2 / ranks)) "$@" 2>"$work/$row.$name.log" | tail -1 >"$work/$row.$name.json" || true
}

for row in "${rows[@]}"; do shapes "$row" >/dev/null; done
grep -m1 'model name' /proc/cpuinfo || true
echo "cores: $(nproc --all), load before: $(cut -d' ' -f1-3 /proc/loadavg)"
rm -f "$work/.header"
machine=$($prefix "$build/bench/device_bench" --machine 2)
echo "$machine"
for row in "${rows[@]}"; do
  ranks=1
  [[ $row != *_2ranks ]] || ranks=2
  ours "$row" $ranks
  if [ -n "$python" ]; then
    pytorch "$row" $ranks packaged --packaged
    pytorch "$row" $ranks eager
    [ -z "$compile" ] || pytorch "$row" $ranks compiled --compile
  fi
  python3 tests/bench/compare_table.py "$work" "$machine" "$row"
done
