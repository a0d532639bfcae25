#!/usr/bin/env bash
# What one GPU shows, in under 8 minutes, with nothing to download: benchmarks/gpu.sh [FOLDER] [PYTHON of DeePMD-kit]
#
# Leaves a log and JSON files in FOLDER. Each part has a limit of its own and is left behind when that is over; without DeePMD-kit its columns are
# missing. Longer or more: call the parts by hand.
set -uo pipefail

folder=${1:-gpu-results}
deepmd=${2:-${LAM_DEEPMD_PYTHON:-}}
python=${PYTHON:-python3}
here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
cd "$here" || exit 3
export PYTHONPATH=$here

part() { # seconds, name, command
    local limit=$1 name=$2
    shift 2
    echo "== $name" | tee -a "$folder/gpu.log"
    timeout "$limit" "$@" 2>&1 | tee -a "$folder/gpu.log"
    echo "== $name: exit ${PIPESTATUS[0]}" | tee -a "$folder/gpu.log"
}

part 10 card nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv
"$python" -c "import torch; assert torch.cuda.is_available(), 'PyTorch sees no GPU'; print(torch.__version__, torch.cuda.get_device_name())" || exit 3
part 45 same-numbers "$python" benchmarks/gpu_same.py
theirs=()
[ -n "$deepmd" ] && theirs=(--deepmd "$deepmd")
part 75 step-small "$python" benchmarks/dpa2_step.py --device cuda "${theirs[@]}" --sizes small --precisions float32 --cases 1x192 4x192 16x192 ragged \
    --sides ${deepmd:+pt} plain triton --repeats 7 --json "$folder/step-small.json"
part 95 step-medium "$python" benchmarks/dpa2_step.py --device cuda "${theirs[@]}" --sizes medium --precisions float32 --cases 1x192 16x192 64x192 ragged \
    --sides ${deepmd:+pt} plain triton --repeats 5 --json "$folder/step-medium.json"
part 55 whole "$python" benchmarks/end_to_end.py --device cuda --steps 200 --frames 16 --json "$folder/whole.json"
part 55 whole-29 "$python" benchmarks/end_to_end.py --device cuda --steps 100 --frames 64 --heads 29 --stored 30 --json "$folder/whole-29.json"
part 60 graphs "$python" benchmarks/graphs.py --json "$folder/graphs.json"
part 45 precision "$python" benchmarks/triton_precision.py --json "$folder/precision.json"
part 35 products "$python" benchmarks/products.py --device cuda
