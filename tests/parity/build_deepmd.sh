#!/usr/bin/env bash
# Build DeePMD-kit 3.2.0 beside torch 2.13.0 into the virtual environment FOLDER: the oracle of the parity tests.
#
#   [DP_ENABLE_PYTORCH=1] tests/parity/build_deepmd.sh FOLDER [CONSTRAINTS]
#
# With DP_ENABLE_PYTORCH=1 its C++ operators are compiled too, minutes of a core: `dp compress` needs them.
# The registry's wheel is bound to another torch and wants MPI, so the source is built without its compiled backends:
# `deepmd.pt` and `deepmd.dpmodel` are plain Python and agree with the compiled ones. These variables are why a pip
# extra cannot carry this.
set -euo pipefail

folder=${1:?"usage: build_deepmd.sh FOLDER [CONSTRAINTS]"}
constraints=${2:+-c "$2"}
python=${PYTHON:-python3}

[ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
# shellcheck disable=SC2086  # an unset constraints file is no argument at all
pip() { "$folder/bin/python" -m pip --disable-pip-version-check install --quiet $constraints "$@"; }

pip torch==2.13.0 numpy h5py pyyaml scipy ase dpdata tqdm psutil packaging lmdb \
    e3nn dargs einops ml_dtypes mendeleev array-api-compat wcmatch msgpack typing_extensions \
    vesin pydantic ruamel.yaml  # what the model here needs, so that `export` can be tried beside DeePMD-kit
isolation=()
if [ "${DP_ENABLE_PYTORCH:=0}" = 1 ]; then  # beside this torch, which an isolated build does not see
    pip "scikit-build-core>=0.5" cmake ninja setuptools_scm dependency-groups hatch-fancy-pypi-readme pyproject-metadata pathspec tomlkit
    isolation=(--no-build-isolation)
fi
PATH="$folder/bin:$PATH" DP_VARIANT=cpu DP_ENABLE_TENSORFLOW=0 DP_ENABLE_PYTORCH=$DP_ENABLE_PYTORCH pip "${isolation[@]}" --no-deps --no-binary deepmd-kit deepmd-kit==3.2.0

"$folder/bin/python" -c "import deepmd.pt, deepmd.dpmodel, deepmd; print('deepmd', deepmd.__version__)"
"$folder/bin/dp" --pt train --help >/dev/null
echo "export LAM_DEEPMD_PYTHON=$folder/bin/python"
