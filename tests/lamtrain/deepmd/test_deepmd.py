"""DeePMD-kit's files: what is written is read back, what cannot be read is refused by name. No DeePMD-kit is needed."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lamdata.errors import ConfigError, DataError
from lamdata.frame import Frame
from lamdata.frames import Frames
from lamtrain.deepmd import export, from_deepmd, to_deepmd
from lamtrain.deepmd.checkpoint import read_checkpoint, with_twins, write_checkpoint
from lamtrain.deepmd.foreign import Branch, ForeignFile
from lamtrain.deepmd.names import branch_buffers, branch_tensors, load_branch
from lamtrain.deepmd.options import config_of
from lamtrain.model.config import ModelConfig
from lamtrain.model.lam import LamModel

FIXTURES = sorted((Path(__file__).parents[2] / "parity" / "fixtures").glob("*.npz"))
TWO = {"water": "energy_force", "metal": "energy_force"}


@pytest.fixture
def model() -> LamModel:
    """A tiny model of two energy heads and a denoise head, with biases and statistics that are not trivial."""
    torch.manual_seed(1)
    model = LamModel(ModelConfig.tiny(["O", "H", "Fe"], TWO | {"clean": "denoise"})).double()
    model.heads["water"].bias[:3], model.heads["metal"].bias[:3] = torch.tensor([-3.0, -1.0, 2.0]), torch.tensor([0.5, 0.25, -7.0])
    for block in ("repinit", "three_body", "repformer"):
        getattr(model.descriptor, block).environment.std.uniform_(0.2, 0.5)
    return model


@pytest.fixture
def frames() -> Frames:
    rng = np.random.default_rng(2)
    numbers = np.array([8, 1, 1, 26, 8], np.uint8)
    periodic = Frame(numbers=numbers, positions=rng.uniform(0, 4, (5, 3)), cell=np.eye(3) * 4.0, pbc=(True, True, True))
    return Frames.from_list([periodic, Frame(numbers=numbers[:3], positions=rng.uniform(0, 3, (3, 3)))])


def assert_same_weights(a: LamModel, b: LamModel, heads: dict[str, str]) -> None:
    """`heads` maps a's names to b's. The hidden type is ours alone and is not in the file."""
    other = b.state_dict()
    for name, value in a.state_dict().items():
        owner = name.split(".")[1] if name.startswith("heads.") else None
        if name.endswith("masked") or (owner is not None and owner not in heads):
            continue
        theirs = other[name if owner is None else name.replace(f"heads.{owner}.", f"heads.{heads[owner]}.")]
        elements = len(a.config.elements) if name.endswith((".mean", ".std", ".bias")) and value.shape[0] == a.config.ntypes else None
        assert torch.equal(value[:elements], theirs[:elements]), name


@pytest.mark.parametrize("suffix", ["pt", "dp", "yaml"])
def test_a_head_comes_back_from_a_single_task_file(model, tmp_path, suffix):
    file = to_deepmd(model, tmp_path / f"m.{suffix}", head="metal")
    again, info = from_deepmd(file)
    assert info.read == {"Default": "energy"} and list(again.config.heads) == ["energy"]
    assert_same_weights(model, again, {"metal": "energy"})


def test_all_energy_heads_come_back_from_a_checkpoint(model, tmp_path):
    again, info = from_deepmd(to_deepmd(model, tmp_path / "m.pt"))
    assert info.branches == ["water", "metal"]
    assert_same_weights(model, again, {"water": "water", "metal": "metal"})
    alone, _ = from_deepmd(tmp_path / "m.pt", branch="METAL")
    assert_same_weights(model, alone, {"metal": "metal"})


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_a_checkpoint_has_every_tensor_that_deepmd_looks_for(path):
    """Names, shapes and dtypes are those of its state_dict: nothing for it to warn of, and then to run on random weights."""
    case = np.load(path)
    theirs = {key.removeprefix("weight/"): case[key] for key in case.files if key.startswith("weight/")}
    model = LamModel(config_of({"h": json.loads(str(case["params"]))}, where="x"))
    load_branch(model, "h", {name: torch.from_numpy(value) for name, value in theirs.items() if value.size}, where="x")
    ours = with_twins(branch_tensors(model, "h", dict(model.named_parameters())) | branch_buffers(model, "h"))
    assert {name for name in ours if "._networks." not in name} == set(theirs)
    assert {name for name in ours if "._networks." in name} == {
        name.replace(".networks.", "._networks.") for name in theirs if ".networks." in name
    }
    for name, value in theirs.items():
        assert ours[name].shape == value.shape and ours[name].numpy().dtype == value.dtype, name
        if not name.endswith(("out_std", "min_nbor_dist", "out_bias", "bias_atom_e")):
            assert np.array_equal(ours[name].detach().numpy(), value), name


def test_export_writes_and_says_how_far_it_is(model, frames, tmp_path):
    deviations = export(model, frames, tmp_path / "m.pt")
    assert [d.head for d in deviations if d.reader == "lamtrain"] == ["water", "metal"]
    assert max(d.largest for d in deviations) < 1e-12 and (tmp_path / "m.pt").exists()


def test_export_of_a_float32_model_compares_what_its_weights_say(model, frames, tmp_path):
    options = model.config.model_dump()
    options["descriptor"]["precision"] = options["fitting"]["precision"] = "float32"
    single = LamModel(ModelConfig(**options))
    assert max(d.largest for d in export(single, frames, tmp_path / "m.pt", head="water")) < 1e-12


def test_export_refuses_a_file_that_differs_and_leaves_none(model, frames, tmp_path, monkeypatch):
    def spoil(model, path, **options):
        other = LamModel(model.config).double()
        other.load_state_dict(model.state_dict())
        other.descriptor.repformer.layers[0].linear1.weight.data *= 1.001
        return to_deepmd(other, path, **options)

    monkeypatch.setattr("lamtrain.deepmd.comparison.to_deepmd", spoil)
    with pytest.raises(DataError, match="not written: head `"):
        export(model, frames, tmp_path / "m.pt")
    assert not list(tmp_path.iterdir())


def test_export_refuses_a_model_that_gives_no_numbers(model, frames, tmp_path):
    model.descriptor.repformer.layers[0].linear1.weight.data[0, 0] = torch.nan
    with pytest.raises(DataError, match="differs by energy nan"):
        export(model, frames, tmp_path / "m.pt", head="water")
    assert not list(tmp_path.iterdir())


def test_a_serialised_file_holds_one_head(model, tmp_path):
    with pytest.raises(ConfigError, match="holds one model; choose a head: water, metal"):
        to_deepmd(model, tmp_path / "m.dp")


def test_a_denoise_head_cannot_be_written(model, tmp_path):
    with pytest.raises(ConfigError, match="no energy head `clean`"):
        to_deepmd(model, tmp_path / "m.pt", head="clean")


def rewrite(path: Path, change) -> Path:
    """Read a checkpoint, let `change(branches)` alter (params, tensors) of each branch, write it back."""
    file = read_checkpoint(path)
    branches = {name: Branch(params=json.loads(json.dumps(b.params)), tensors=dict(b.tensors)) for name, b in file.branches.items()}
    change(branches)
    write_checkpoint(ForeignFile(path=path, branches=branches, multi_task=file.multi_task), path)
    return path


def test_aliases_name_branches(model, tmp_path):
    path = to_deepmd(model, tmp_path / "m.pt")
    rewrite(path, lambda branches: branches["metal"].params.update(model_branch_alias=["Alloy"]))
    _, info = from_deepmd(path, branch="alloy")
    assert info.read == {"metal": "metal"}
    with pytest.raises(DataError, match="no branch or alias `gold`; it has water, metal, Alloy"):
        from_deepmd(path, branch="gold")


def test_heads_with_their_own_tebd_transform_need_a_choice(tmp_path):
    options = ModelConfig.tiny(["O", "H"], TWO).model_dump()
    options["descriptor"]["add_tebd_to_repinit_out"] = True
    path = to_deepmd(LamModel(ModelConfig(**options)), tmp_path / "m.pt")
    name = "atomic_model.descriptor.tebd_transform.matrix"
    rewrite(path, lambda branches: branches["metal"].tensors.update({name: branches["metal"].tensors[name] + 1.0}))
    with pytest.raises(DataError, match="DeePMD-kit forgets to share it"):
        from_deepmd(path)
    chosen, info = from_deepmd(path, tebd_of="metal")
    alone, _ = from_deepmd(path, branch="metal")
    assert torch.equal(chosen.descriptor.tebd_transform.weight, alone.descriptor.tebd_transform.weight)
    assert "all have that of `metal`" in info.notes[0]


def test_heads_with_different_descriptors_are_refused(model, tmp_path):
    name = "atomic_model.descriptor.g1_shape_tranform.matrix"
    path = to_deepmd(model, tmp_path / "m.pt")
    rewrite(path, lambda branches: branches["metal"].tensors.update({name: branches["metal"].tensors[name] + 1.0}))
    with pytest.raises(DataError, match="different descriptors; a model has one descriptor; read one branch"):
        from_deepmd(path)
    assert from_deepmd(path, branch="metal")


def test_unsupported_options_are_refused_by_name(model, tmp_path):
    path = to_deepmd(model, tmp_path / "m.pt", head="water")
    rewrite(path, lambda branches: branches["Default"].params.update(use_srtab="table.txt", atom_exclude_types=[1]))
    with pytest.raises(ConfigError) as caught:
        from_deepmd(path)
    assert "`use_srtab` = 'table.txt'" in str(caught.value) and "`atom_exclude_types` = [1]" in str(caught.value)


def test_another_descriptor_is_refused_by_name(model, tmp_path):
    path = to_deepmd(model, tmp_path / "m.pt", head="water")
    rewrite(path, lambda branches: branches["Default"].params["descriptor"].update(type="dpa3"))
    with pytest.raises(ConfigError, match="`descriptor.type` is 'dpa3'"):
        from_deepmd(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda tensors: tensors.pop("atomic_model.descriptor.repformers.g2_embd.bias"),
            "missing atomic_model.descriptor.repformers.g2_embd.bias",
        ),
        (lambda tensors: tensors.update({"atomic_model.new": torch.ones(1)}), "not understood: atomic_model.new"),
        (lambda tensors: tensors["atomic_model.descriptor.repinit.stddev"][0, 3].fill_(9.0), "differs between neighbour slots"),
        (
            lambda tensors: tensors.update({"atomic_model.descriptor.repformers.g2_embd.bias": torch.ones(1)}),
            r"has shape \(1,\), expected \(16,\)",
        ),
    ],
)
def test_no_tensor_is_missing_left_over_or_changed(model, tmp_path, change, message):
    path = to_deepmd(model, tmp_path / "m.pt", head="water")
    rewrite(path, lambda branches: change(branches["Default"].tensors))
    with pytest.raises(DataError, match=message):
        from_deepmd(path)


class Code:
    """A pickle that would write a file where it is loaded."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


def test_a_checkpoint_with_code_is_refused_and_not_run(tmp_path):
    torch.save({"model": Code(tmp_path / "ran")}, tmp_path / "m.pt")
    with pytest.raises(DataError, match="not a checkpoint of plain tensors"):
        from_deepmd(tmp_path / "m.pt")
    assert not (tmp_path / "ran").exists()


def test_a_frozen_model_with_code_is_refused_and_not_run(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.pth", "w") as archive:
        archive.writestr("m/data.pkl", pickle.dumps(Code(tmp_path / "ran"), protocol=2))
    with pytest.raises(DataError, match="without running it"):
        from_deepmd(tmp_path / "m.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_frozen_model_is_read_without_running_it(model, tmp_path):
    """A TorchScript archive with DeePMD-kit's names; the code in it is never looked at."""
    branch = read_checkpoint(to_deepmd(model, tmp_path / "m.pt", head="metal")).branches["Default"]
    root = build_tree(branch.tensors)
    root.model_def_script = json.dumps(branch.params)
    torch.jit.save(torch.jit.script(root), tmp_path / "m.pth")
    again, _ = from_deepmd(tmp_path / "m.pth")
    assert_same_weights(model, again, {"metal": "energy"})


def build_tree(tensors: dict[str, torch.Tensor]) -> torch.nn.Module:
    """Modules whose state dictionary is `tensors`."""
    root = torch.nn.Module()
    for name, tensor in tensors.items():
        *places, leaf = name.split(".")
        node = root
        for place in places:
            if place not in node._modules:
                node.add_module(place, torch.nn.Module())
            node = node._modules[place]
        node.register_buffer(leaf, tensor)
    return root


def test_what_is_no_model_is_said_to_be_none(tmp_path):
    torch.save({"weights": torch.ones(2)}, tmp_path / "m.pt")
    with pytest.raises(DataError, match="not a DeePMD-kit checkpoint"):
        from_deepmd(tmp_path / "m.pt")
    with pytest.raises(ConfigError, match="unknown suffix '.pb'"):
        from_deepmd(tmp_path / "graph.pb")
