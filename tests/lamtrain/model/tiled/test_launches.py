"""How much a training step of `medium` launches with the triton kernels: counted on a device that computes nothing, which needs no triton.

The device is registered from Python, its tensors have shapes alone (as in `tests/lamtrain/training/test_no_waits.py`): what waits for it raises.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

MOST = 400

COUNT = """
import dataclasses
import numpy as np, torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
_setup_privateuseone_for_python_backend("acc")
from lamdata.frames import Frames
from lamtrain.data.batch import collate
from lamtrain.model.config import ModelConfig
from lamtrain.model.kernels.choose import tiled
from lamtrain.model.lam import LamModel
from tests.lamtrain.model_cases import structure

mode = FakeTensorMode(allow_non_fake_inputs=False)
aten = torch.ops.aten
NOTHING = (aten.detach, aten.lift_fresh, aten._unsafe_view, aten.empty, aten.empty_like, aten.new_empty, aten.empty_strided)  # launch nothing


def fake(value):
    if isinstance(value, torch.Tensor):
        return FakeTensor(mode, torch.empty_like(value, device="meta"), torch.device("acc:0"))
    if isinstance(value, tuple):
        return tuple(map(fake, value))
    if isinstance(value, dict):
        return {key: fake(part) for key, part in value.items()}
    if dataclasses.is_dataclass(value):
        return dataclasses.replace(value, **{f.name: fake(getattr(value, f.name)) for f in dataclasses.fields(value)})
    return value


class Count(TorchDispatchMode):
    launched = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is aten._to_copy.default and kwargs.get("device") not in (None, args[0].device):
            raise AssertionError(f"a copy from {args[0].device} to {kwargs['device']}")
        self.launched += func.namespace in ("aten", "lamtrain") and not func.is_view and func.overloadpacket not in NOTHING
        return func(*args, **kwargs)


for heads in (1, 29):
    config = ModelConfig.medium(["H", "C", "O"], {f"head{k}": "energy_force" for k in range(heads)}).in_precision("float32")
    frames = Frames.from_list([structure(2, seed=k, periodic=(False,) * 3) for k in range(29)])
    model = LamModel(config).train().use_kernels(tiled())
    batch = fake(collate(frames.with_(head=(np.arange(29) % heads).astype(np.int32)), config, dtype=torch.float32, chunk_atoms=model.chunk_atoms))
    for module in model.modules():
        for name, value in module._parameters.items():
            if value is not None:
                module._parameters[name] = torch.nn.Parameter(fake(value))
        for name, value in module._buffers.items():
            if value is not None:
                module._buffers[name] = fake(value)
    parameters = list(model.parameters())
    with mode:
        optimizer = torch.optim.Adam(parameters, foreach=False, fused=True)
        for step in range(2):  # the first makes the optimizer's state
            for parameter in parameters:
                parameter.grad = None
            with Count() as seen:
                out = model(batch, virial=False)
                torch.autograd.backward(out.energy.square().sum() + out.forces.square().sum(), inputs=parameters)
                torch.nn.utils.clip_grad_norm_(parameters, 5.0, foreach=True)
                optimizer.step()
    assert all(parameter.grad is not None for parameter in parameters)
    print(seen.launched)
"""


def test_a_step_launches_no_more_than_is_said_whatever_the_heads() -> None:
    done = subprocess.run([sys.executable, "-c", COUNT], cwd=Path(__file__).resolve().parents[4], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    alone, many = map(int, done.stdout.split())
    assert alone == many <= MOST
