"""The `lamtrain` command as a person types it: what is wrong is one line with its place, and what is right leaves what it says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lamdata.errors import ConfigError, ConfigErrors, SetupError
from lamtrain.checkpoint import load
from lamtrain.config import ModelSpec, placed_in, read_config
from lamtrain.device import device_of
from lamtrain.runlog import read_metrics
from tests.test_errors import call

Called = tuple[int, str, list[str]]


@pytest.fixture
def lamtrain(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Called]:
    return lambda *args: call("lamtrain", *map(str, args), capsys=capsys, monkeypatch=monkeypatch)


@pytest.fixture(scope="module")
def run(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of two steps."""
    from lamtrain.training.trainer import train

    config = read_config(small / "train.yaml", overrides=["steps=2", "validation.every=2"])
    return train(config, out=tmp_path_factory.mktemp("runs") / "small", device="cpu", quiet=True)


def model_of(config: str | Path, *changes: str) -> dict:
    """The model that a config asks for."""
    return (
        read_config(config, overrides=list(changes))
        .model.resolve(elements=["Cu"], heads={"a": "energy_force"}, precision="float32")
        .model_dump()
    )


def edited(small: Path, folder: Path, descriptor: str) -> Path:
    """The config with a section `descriptor` in its model."""
    text = (small / "train.yaml").read_text()
    assert "  size: tiny\n" in text
    path = folder / "train.yaml"
    path.write_text(text.replace("  size: tiny\n", f"  size: tiny\n  descriptor:\n{descriptor}"))
    return path


def test_one_key_of_a_descriptor_changes_alone(small: Path, tmp_path: Path) -> None:
    plain = model_of(small / "train.yaml")
    assert plain["descriptor"]["repinit"]["nsel"] == 100
    plain["descriptor"]["repinit"]["nsel"] = 77
    assert model_of(small / "train.yaml", "model.descriptor.repinit.nsel=77") == plain
    assert model_of(edited(small, tmp_path, "    repinit:\n      nsel: 77\n")) == plain


def test_a_whole_descriptor_of_another_type(small: Path, tmp_path: Path) -> None:
    path = edited(small, tmp_path, "    type: dpa1\n    rcut: 5.5\n    rcut_smth: 0.7\n    sel: 61\n")
    found = model_of(path)["descriptor"]
    assert (found["type"], found["rcut"], found["sel"]) == ("dpa1", 5.5, 61) and "repinit" not in found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("model.elements=[Cu,Xx]", "`model.elements` is ['Cu', 'Xx']: 'Xx' is no element"),
        ("model.elements=[Cu,cu]", "'cu' is no element; did you mean 'Cu'?"),
        ("model.elements=[Cu,Cu]", "elements must be distinct"),
        ("model.elements=Cu", "`model.elements` is 'Cu'"),
        ("model.descriptor.repinit.rcutt=5.0", "unknown key 'rcutt'; did you mean 'rcut'?"),
        ("model.descriptor.repinit={rcutt: 5.0}", "unknown key 'rcutt'; did you mean 'rcut'?"),
        ("model.descriptor.repinit.rcut=far", "`model.descriptor.repinit.rcut` is 'far'"),
        ("model.descriptor={type: dpa9}", "`model.descriptor` has no type 'dpa9'; did you mean 'dpa2'?"),
        ("model.descriptor={type: dpa1, rcut: 5.0}", "key 'sel' is missing; add `model.descriptor.sel`"),
        ("model.descriptor={type: dpa1, rcut: 5.0, sel: 9, repinit: {}}", "unknown key 'repinit'; one of: activation_function, "),
        ("steps=-3", "`steps` is -3"),
        ("stepps=3", "unknown key 'stepps'; did you mean 'steps'?"),
        ("steps.more=3", "`steps` holds no keys"),
    ],
)
def test_what_set_gets_wrong_is_one_line_that_repeats_it(small: Path, lamtrain: Callable[..., Called], change: str, said: str) -> None:
    code, out, (line,) = lamtrain("train", small / "train.yaml", "--set", change, "--quiet")
    assert (code, out) == (2, "") and line.startswith(f"error: --set {change}: ")
    assert said.replace("`model.elements` is ['Cu', 'Xx']", "`model.elements`") in line


def test_what_the_file_gets_wrong_has_its_line(small: Path, tmp_path: Path, lamtrain: Callable[..., Called]) -> None:
    path = edited(small, tmp_path, "    repinit:\n      rcutt: 5.0\n")
    code, _, (line,) = lamtrain("train", path, "--set", "steps=4", "--quiet")
    assert code == 2 and line == f"error: {path}:8:7: unknown key 'rcutt'; did you mean 'rcut'?"
    path = edited(small, tmp_path, "    repinit:\n      rcut: 5.5\n  elements: [Cu, Xx]\n")
    assert lamtrain("train", path)[2] == [
        f"error: {path}:9:3: `model.elements`: 'Xx' is no element; of the 118 that are known none is like it"
    ]


def test_elements_that_the_frames_need_must_be_among_those_of_the_config(
    small: Path, tmp_path: Path, lamtrain: Callable[..., Called]
) -> None:
    code, _, (line,) = lamtrain(
        "train", small / "train.yaml", "--set", "model.elements=[Cu, Al]", "--runs", tmp_path, "--quiet", "--device", "cpu"
    )
    assert code == 2 and line.startswith("error: --set model.elements=[Cu, Al]: training frames have H, O, ")
    assert list(tmp_path.iterdir()) == []


def test_an_error_met_after_the_config_was_read_has_the_place_of_its_key(
    small: Path, lamtrain: Callable[..., Called], tmp_path: Path
) -> None:
    text = (small / "train.yaml").read_text()
    path = small / "mixed.yaml"
    path.write_text(f"{text}\nprecision: float32\n" if "precision:" not in text else text)
    line = next(i for i, words in enumerate(path.read_text().splitlines(), 1) if words.startswith("model:"))
    with pytest.raises(ConfigError, match=rf"mixed.yaml:{line}:1: `model.elements`: absent") as caught, placed_in(path):
        raise ConfigError("absent", where="model.elements")
    with pytest.raises(ConfigErrors, match=rf"(?s)mixed.yaml:{line}:1: `descriptor`: wrong.*other.yaml: as it is"), placed_in(path):
        raise ConfigErrors([ConfigError("`descriptor`: wrong", where="model"), ConfigError("as it is", where="other.yaml")])
    with pytest.raises(ConfigError, match="--set start.heads=x: absent") as caught, placed_in(path, overrides=["start.heads=x"]):
        raise ConfigError("absent", where="start.heads", hint="a hint")
    assert caught.value.hint == "a hint"
    with pytest.raises(ConfigError, match=r"mixed.yaml: `start.train`: absent"), placed_in(path):
        raise ConfigError("absent", where="start.train")
    path.unlink()


def test_what_does_not_go_together_with_the_mixture_has_the_line_of_the_model(
    small: Path, lamtrain: Callable[..., Called], tmp_path: Path
) -> None:
    change = ("--set", "model.descriptor.exclude_types=[[0, 99]]")
    code, out, err = lamtrain("train", small / "train.yaml", *change, "--runs", tmp_path, "--device", "cpu", "--quiet")
    line = next(i for i, words in enumerate((small / "train.yaml").read_text().splitlines(), 1) if words.startswith("model:"))
    assert code == 2 and len(err) == 1 and f"train.yaml:{line}:1: `exclude_types` holds an index" in err[0]


def test_a_device_that_is_none_or_not_there(lamtrain: Callable[..., Called], small: Path, tmp_path: Path) -> None:
    options = ("--runs", tmp_path, "--quiet")
    code, _, (line,) = lamtrain("train", small / "train.yaml", *options, "--device", "gpu")
    assert code == 2 and line == "error: --device: no device called 'gpu'; auto, cpu, cuda or cuda:N"
    count = torch.cuda.device_count()
    code, _, (line,) = lamtrain("train", small / "train.yaml", *options, "--device", f"cuda:{count + 3}")
    assert code == 3 and f"cuda:{count + 3} is not there" in line and "--device cpu" in line
    assert list(tmp_path.iterdir()) == []
    if count == 0:
        with pytest.raises(SetupError, match="this machine has 0 GPUs"):
            device_of("cuda")


def test_a_file_in_place_of_a_store_is_one_line_with_the_next_command(small: Path, run: Path, lamtrain: Callable[..., Called]) -> None:
    raw = small / "bulk-0.xyz"
    for args in (("test", run / "best.pt", raw, "--device", "cpu"), ("export", run / "best.pt", "--store", raw, "-o", "x.pt")):
        code, out, (line,) = lamtrain(*args)
        assert (code, out) == (1, "") and line.startswith(
            f"error: {raw}: this is a file, and a store is a folder; `lamdata init FOLDER --from {raw}`"
        )


@pytest.mark.parametrize("args", [("show", "FILE"), ("test", "FILE", "STORE"), ("train", "CONFIG", "--resume", "FILE")])
def test_a_file_that_is_no_model_is_one_line_with_the_next_command(
    small: Path, lamtrain: Callable[..., Called], tmp_path: Path, args: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"FILE": small / "bulk-0.xyz", "STORE": small / "small.zarr", "CONFIG": small / "train.yaml"}
    code, out, (line,) = lamtrain(*(names.get(arg, arg) for arg in args))
    assert (code, out) == (1, "") and "bulk-0.xyz: not a checkpoint" in line and "`lamtrain import`" in line
    assert list(tmp_path.iterdir()) == []


STRANGE = [
    "- a\n",
    "hello\n",
    "model: 5\n",
    "model: {descriptor: [], type_map: [H]}\n",
    "model: {type: standard, descriptor: 3, fitting: 4}\n",
    "model: {type: standard, descriptor: {type: dpa2}, fitting: {type: ener}, type_map: 7}\nbackend: x\n",
]


@pytest.mark.parametrize("text", STRANGE)
def test_a_strange_yaml_is_no_model_of_deepmd(lamtrain: Callable[..., Called], tmp_path: Path, text: str) -> None:
    path, out = tmp_path / "strange.yaml", tmp_path / "model.pt"
    path.write_text(text)
    code, _, (line,) = lamtrain("import", path, "-o", out)
    assert code == 1 and line.startswith(f"error: {path}: not a serialised energy model") and not out.exists()


def test_names_that_are_nearly_right_are_helped(small: Path, run: Path, lamtrain: Callable[..., Called]) -> None:
    test = ("test", run / "best.pt", small / "small.zarr", "--device", "cpu", "--quiet")
    assert "no head 'bluk'; did you mean 'bulk'?" in lamtrain(*test, "--head", "bluk")[2][0]
    assert "no dataset 'clutser'; did you mean 'cluster'?" in lamtrain(*test, "--head", "bulk", "--dataset", "clutser")[2][0]


@pytest.mark.parametrize("limit", ["soon", "1:2:3:4", "-5", "nan", "inf", "", "1::2"])
def test_a_time_limit_that_is_none(small: Path, lamtrain: Callable[..., Called], limit: str) -> None:
    code, _, (line,) = lamtrain("train", small / "train.yaml", f"--time-limit={limit}", "--quiet")
    assert code == 2 and line.startswith(f"error: --time-limit: {limit!r} is no time")


def test_the_threads_that_are_asked_for_do_the_steps(small: Path, tmp_path: Path, lamtrain: Callable[..., Called]) -> None:
    code, out, _ = lamtrain("train", small / "train.yaml", "--threads", "2", "--set", "steps=1", "--runs", tmp_path, "--quiet", "--json")
    assert code == 0 and load(Path(json.loads(out)["run"]) / "last.pt").threads == 2


def test_a_time_limit_ends_with_130_and_the_same_command_goes_on(small: Path, tmp_path: Path, lamtrain: Callable[..., Called]) -> None:
    args = ("train", small / "train.yaml", "--set", "steps=3", "--runs", tmp_path, "--device", "cpu", "--quiet", "--json")
    code, out, (line,) = lamtrain(*args, "--time-limit", "0:00")
    assert code == 130 and line == "error: stopped at the time limit after step 1; the same command goes on from there"
    assert json.loads(out)["errors"][0]["message"] == "stopped at the time limit after step 1"
    code, out, _ = lamtrain(*args)
    assert code == 0 and json.loads(out) == {"run": str(tmp_path / "small")}


@pytest.mark.parametrize(
    "args",
    [
        ("train", "CONFIG", "--runs", "s3://bucket/runs"),
        ("test", "MODEL", "STORE", "-o", "s3://bucket/runs"),
        ("init", "MIXTURE", "--store", "s3://bucket/store", "-o", "s3://bucket/runs"),
        ("import", "MODEL", "-o", "s3://bucket/runs"),
        ("export", "MODEL", "--store", "STORE", "-o", "gs://bucket/runs"),
    ],
)
def test_a_url_is_no_folder_to_write_into(
    small: Path, run: Path, lamtrain: Callable[..., Called], tmp_path: Path, args: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"CONFIG": small / "train.yaml", "MODEL": run / "best.pt", "STORE": small / "small.zarr", "MIXTURE": small / "mixture.yaml"}
    code, out, (line,) = lamtrain(*(names.get(arg, arg) for arg in args))
    assert (code, out) == (2, "") and "is no folder of this machine" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("train",), "train: Missing argument 'config'"),
        (("train", "x.yaml", "--rnus", "y"), "No such option: --rnus"),
        (("trian",), "No such command 'trian'"),
        (("init", "x.yaml", "--store", "y", "--size", "huge"), "'huge' is not one of 'tiny'"),
    ],
)
def test_errors_of_usage_are_one_line_and_one_document(lamtrain: Callable[..., Called], args: tuple[str, ...], said: str) -> None:
    code, out, (line,) = lamtrain(*args, "--json")
    assert code == 2 and line.startswith("error: ") and said in line and "--help" in line
    (error,) = json.loads(out)["errors"]
    assert said.rpartition("train: ")[2] in error["message"]


def test_a_command_alone_shows_its_help(lamtrain: Callable[..., Called]) -> None:
    assert lamtrain()[0] == 2
    assert lamtrain("--help")[0] == 0


def test_a_model_that_fails_a_limit_is_one_document_with_its_table(
    small: Path, run: Path, lamtrain: Callable[..., Called], tmp_path: Path
) -> None:
    test = ("test", run / "best.pt", small / "small.zarr", "-o", tmp_path, "--device", "cpu", "--quiet", "--json")
    code, out, (line,) = lamtrain(*test, "--max-force-rmse", "0.001")
    found = json.loads(out)
    assert code == 1 and "force RMSE above 0.001" in line
    assert set(found["heads"]) == {"bulk", "cluster", "crystals"} and "force RMSE above" in found["errors"][0]["message"]


def test_another_dataset_leaves_the_table_of_the_run_alone(small: Path, run: Path, lamtrain: Callable[..., Called]) -> None:
    test = ("test", run / "best.pt", small / "small.zarr", "--device", "cpu", "--quiet")
    assert lamtrain(*test)[0] == 0
    before = {path.name: path.read_bytes() for path in (run / "test.json", run / "parity.png")}
    code, out, notes = lamtrain(*test, "--head", "bulk", "--dataset", "cluster")
    assert code == 0
    assert {path.name: path.read_bytes() for path in (run / "test.json", run / "parity.png")} == before
    assert json.loads((run / "test-bulk-cluster/test.json").read_text())["heads"].keys() == {"bulk"}
    assert notes == ["note: head bulk has no reference energy of H, O: energies of 6 frames are not scored"]
    assert lamtrain(*test, "--split", "validation")[0] == 0 and (run / "validation/test.json").exists()
    assert (run / "test.json").read_bytes() == before["test.json"]


def test_a_finished_run_under_another_name_is_not_said_to_be_trained(
    small: Path, run: Path, lamtrain: Callable[..., Called], tmp_path: Path
) -> None:
    args = ("--set", "steps=2", "--set", "validation.every=2", "--runs", tmp_path, "--device", "cpu")
    code, out, (line,) = lamtrain("train", small / "train.yaml", "--resume", run / "last.pt", "--name", "other", *args)
    assert (code, out) == (2, "") and "all 2 steps of that run are done; --set steps=4 goes on" in line
    assert list(tmp_path.iterdir()) == []


def test_never_takes_away_what_the_old_run_left(small: Path, run: Path, lamtrain: Callable[..., Called], tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "small")
    for name in ("test.json", "parity.png", "curves.png"):
        (tmp_path / "small" / name).write_text("of the old model")
    for name in ("test-bulk-cluster", "validation", "validation-bulk", "mine"):  # of `lamtrain test --dataset`, and a folder of a person
        (tmp_path / "small" / name).mkdir(exist_ok=True)
        (tmp_path / "small" / name / "test.json").write_text("of the old model")
    (tmp_path / "small/cover-bulk").mkdir()
    (tmp_path / "small/cover-bulk/cover.json").write_text("of the old model")
    args = ("train", small / "train.yaml", "--set", "steps=1", "--runs", tmp_path, "--device", "cpu", "--quiet", "--resume", "never")
    assert lamtrain(*args)[0] == 0
    left = {path.name for path in (tmp_path / "small").iterdir()}
    assert not {"test.json", "parity.png", "curves.png", "test-bulk-cluster", "validation", "validation-bulk"} & left and "mine" in left


def test_operators_that_were_not_compiled_are_a_fault_of_the_machine(
    small: Path, lamtrain: Callable[..., Called], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lamtrain.model.kernels import choose, native

    caches = [found for module in (choose, native) for found in vars(module).values() if hasattr(found, "cache_clear")]
    monkeypatch.setattr(native, "_load", lambda kind: None)  # as where installation found no compiler
    for cache in caches:
        cache.cache_clear()
    args = ("train", small / "train.yaml", "--set", "kernels=cpp", "--runs", tmp_path, "--device", "cpu", "--quiet")
    code, out, (line,) = lamtrain(*args)
    for cache in caches:
        cache.cache_clear()
    assert (code, out) == (3, "") and line.startswith("error: kernels: cpp: the cpp kernels were not compiled")
    assert list(tmp_path.iterdir()) == []


def test_neighbours_that_a_list_has_no_room_for_are_said_and_counted(small: Path, lamtrain: Callable[..., Called], tmp_path: Path) -> None:
    """Copper and aluminium have more than 60 neighbours within 7 Å; water and octahedra of six atoms do not."""
    change = ("--set", "model.descriptor.repinit.rcut=7.0", "--set", "model.descriptor.repinit.nsel=60")
    args = ("train", small / "train.yaml", *change, "--set", "steps=2", "--set", "log_every=1", "--runs", tmp_path, "--device", "cpu")
    code, _, lines = lamtrain(*args)
    notes = [line for line in lines if line.startswith("note: ")]
    said = [line for line in notes if "100% of its atoms have more than 60 neighbours within 7 Å, and lose the farthest" in line]
    assert (
        code == 0 and [line.split()[2] for line in said] == ["bulk:", "crystals:"] and not any("dataset cluster" in line for line in notes)
    )
    assert all(0 < float(row["truncated"]) <= 1 for row in read_metrics(tmp_path / "small/metrics.csv"))


def test_a_size_knows_which_keys_it_fills(small: Path) -> None:
    with pytest.raises(ConfigErrors, match="size"):
        read_config(small / "train.yaml", overrides=["model.size=huge"])
    assert ModelSpec(size="tiny").descriptor is None
