"""A step on an accelerator that computes nothing: no wait for the device, no copy from or to the host, no mixed devices.

A device registered from Python, with tensors that have shapes alone (fake tensors): whatever reads a number, makes a shape of one, or copies a
Python list, raises. In a process of its own, since a device is registered for good.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

STEPS = '''
import dataclasses, sys
from pathlib import Path
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
_setup_privateuseone_for_python_backend("acc")
from lamtrain.training.ranks import Ranks
from lamtrain.training.start import start_run
from lamtrain.training.step import step_on_device, train_step
from lamtrain.training.average import build_average
from lamtrain.training.optimizer import build_optimizer
from lamtrain.training.state import TrainState
from lamtrain.data.feed import split_by_head
from tests.lamtrain.training.states import batch_of, frames_of, new_state

mode = FakeTensorMode(allow_non_fake_inputs=False)
more = torch.library.Library("aten", "IMPL", "Meta")  # what torch lacks for tensors without numbers: a rate on the device
for name in ("_fused_adam_", "_fused_adamw_"):
    more.impl(f"{name}.tensor_lr", lambda *args, **options: None)
FakeTensorMode.__deepcopy__ = lambda self, memo: self  # of the copy of a model that averages its weights


def fake(value):
    """The same on the device."""
    if isinstance(value, torch.Tensor):
        return FakeTensor(mode, torch.empty_like(value, device="meta"), torch.device("acc:0"))
    if isinstance(value, tuple):
        return tuple(map(fake, value))
    if isinstance(value, dict):
        return {key: fake(part) for key, part in value.items()}
    if dataclasses.is_dataclass(value):
        return dataclasses.replace(value, **{f.name: fake(getattr(value, f.name)) for f in dataclasses.fields(value)})
    return value


def to_device(model):
    for module in model.modules():
        for name, value in module._parameters.items():
            if value is not None:
                module._parameters[name] = torch.nn.Parameter(fake(value))
        for name, value in module._buffers.items():
            if value is not None:
                module._buffers[name] = fake(value)
    return model


class NoCopies(TorchDispatchMode):
    """What fake tensors let pass: a copy to the host, and to the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default and kwargs.get("device") not in (None, args[0].device):
            raise AssertionError(f"a copy from {args[0].device} to {kwargs['device']}")
        return func(*args, **kwargs)


small, out, *changes = sys.argv[1:]
tiled = "triton" in changes
start = new_state(Path(small), Path(out), "kernels=plain", *(change for change in changes if change != "triton"))
if tiled:
    from lamtrain.model.kernels.choose import tiled
    start.model.use_kernels(tiled())  # whose launches are operators that compute nothing here
frames = frames_of(start, 12)
drawn = {head: int((frames.head == k).sum()) for k, head in enumerate(start.data.heads)}
by_head = start.config.step.clip == "per_head"
parts = [fake(batch_of(start, part)) for part in (split_by_head(frames, at_once=None) if by_head else [frames])]
assert all(drawn.values())
model = to_device(start.model)
with mode:
    optimizer = build_optimizer(model, start.config)
    state = TrainState(config=start.config, data=start.data, model=model, optimizer=optimizer, schedule=start.schedule, metrics=start.metrics,
                       average=build_average(model, start.config, optimizer))
    assert state.reads_later
    for step in range(3):
        state.step = step
        with NoCopies():
            taken = train_step(state, parts, frames=12, ranks=Ranks("cpu"), drawn=drawn if by_head else None)
    assert taken.told.device.type == "acc" and len(state.unread) == 3
    if not by_head:  # the same as it is recorded for a graph
        count, rate = (torch.ones((), dtype=torch.float64, device="acc") for _ in range(2))
        with NoCopies():
            told, _ = step_on_device(state, parts, frames=count, rate=rate)
        assert told.device.type == "acc"
    try:
        taken.loss
    except Exception as err:
        print("reading waits:", type(err).__name__)
print("steps:", len(state.unread))
'''

COVERED = (
    "model={size: tiny, descriptor: {repinit: {neuron: [2, 4, 8], tebd_dim: 4}, repformer: {nlayers: 2, g1_dim: 8, g2_dim: 4, update_g2_has_g1g1: false}},"
    " fitting: {neuron: [8]}, denoise: {hidden: 8}}"
)
HEADS = "heads={bulk: {loss: {force: [10, 1]}}, cluster: {loss: {energy: [1, 2]}}}"


@pytest.mark.parametrize(
    "changes",
    [
        (),
        ("clip_norm=5.0", "average={}", "optimizer={kind: adamw}"),
        ("step={clip: per_head}", "clip_norm=0.01"),
        (HEADS, "learning_rate={kind: cosine}", "optimizer={kind: muon}"),
        ("loss={virial: [1, 1], force_norm: [1, 1], force_huber: [1, 1], displacement_vector: [1, 1]}",),
        ("triton", COVERED, "clip_norm=5.0", "average={}"),
    ],
    ids=["plain", "average", "per_head", "own_prefactors_muon", "terms", "triton"],
)
def test_a_step_of_all_kinds_of_tasks_waits_for_nothing(small: Path, tmp_path: Path, changes: tuple[str, ...]) -> None:
    args = [sys.executable, "-c", STEPS, str(small), str(tmp_path / "run"), *changes]
    done = subprocess.run(args, cwd=Path(__file__).resolve().parents[3], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == ["reading waits: DataDependentOutputException", "steps: 3"]
