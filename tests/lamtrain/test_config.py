"""Training configs: what a file and a command line may say, whose paths are whose, and the schedule that fits a length."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamdata.errors import ConfigError, LamError
from lamtrain.config import BatchSpec, LossSpec, ModelSpec, TrainConfig, read_config
from lamtrain.proposed import schedule_for, write_config
from lamtrain.tasks import task_kind

LEAST = "train: t\nmixture: m.yaml\nstore: s.zarr\nsteps: 3\n"
KINDS = [task_kind("energy_force"), task_kind("denoise")]


def write(folder: Path, more: str = "", *, least: str = LEAST) -> Path:
    path = folder / "a" / "train.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(least + more)
    return path


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_config(path, overrides=list(overrides))
    return str(caught.value)


def test_paths_of_a_file_are_relative_to_it(tmp_path: Path) -> None:
    config = read_config(write(tmp_path, "start: {model: old/best.pt}\n"))
    here = tmp_path / "a"
    assert (config.mixture, config.store) == (str(here / "m.yaml"), str(here / "s.zarr"))
    assert config.start is not None and config.start.model == str(here / "old/best.pt")


@pytest.mark.parametrize("name", ["/data/m.yaml", "s3://bucket/m.yaml", "file:///m.yaml"])
def test_absolute_paths_and_urls_stay_as_they_are(tmp_path: Path, name: str) -> None:
    least = f"train: t\nmixture: {name}\nstore: {name}\nsteps: 3\n"
    config = read_config(write(tmp_path, f"start: {{model: {name}}}\n", least=least))
    assert config.start is not None and config.mixture == config.store == config.start.model == name


@pytest.mark.parametrize(
    ("override", "mixture", "start"),
    [
        ("mixture=other.yaml", "other.yaml", None),
        ('mixture="other.yaml"', "other.yaml", None),
        ("mixture= other.yaml ", "other.yaml", None),
        ("mixture=../x=y.yaml", "../x=y.yaml", None),
        ("start.model=old.pt", None, "old.pt"),
        ("start={model: old.pt}", None, "old.pt"),
        ("start={model: http://host/old.pt}", None, "http://host/old.pt"),
    ],
)
def test_paths_of_a_shell_are_relative_to_the_shell(tmp_path: Path, override: str, mixture: str | None, start: str | None) -> None:
    config = read_config(write(tmp_path), overrides=[override])
    assert config.mixture == (mixture or str(tmp_path / "a/m.yaml"))
    assert (config.start and config.start.model) == start


def test_of_a_section_only_what_the_shell_says_is_relative_to_it(tmp_path: Path) -> None:
    path = write(tmp_path, "start: {model: old.pt, references: keep}\n")
    config = read_config(path, overrides=["start.references=refit", "start.train=heads"])
    assert config.start is not None and config.start.model == str(tmp_path / "a/old.pt")
    assert (config.start.references, config.start.train) == ("refit", "heads")
    config = read_config(path, overrides=["start.model=new.pt"])
    assert config.start is not None and (config.start.model, config.start.references) == ("new.pt", "keep")


def test_the_last_of_several_overrides_holds(tmp_path: Path) -> None:
    assert read_config(write(tmp_path), overrides=["steps=5", "steps=7", "batch.frames=2", "batch={atoms: 9}"]).steps == 7
    assert read_config(write(tmp_path), overrides=["batch.frames=2", "batch={atoms: 9}"]).batch == BatchSpec(atoms=9)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("=3", "--set: '=3' is not KEY=VALUE; as --set batch.frames=16"),
        ("steps", "--set: 'steps' is not KEY=VALUE"),
        ("steps=", "--set steps=: `steps` is None"),
        ("steps=3.5", "--set steps=3.5: `steps` is 3.5: input should be a valid integer"),
        ("steps=[1", "--set steps=[1:1:3: not YAML"),
        ("steps.more=3", "--set steps.more=3: `steps` holds no keys"),
        ("steps.more.and.more=3", "`steps.more.and` holds no keys"),
        ("start=old.pt", "--set start=old.pt: `start` is 'old.pt'"),
        ("start={}", "--set start={}: key 'model' is missing; add `start.model`"),
        ("start={model: x, modle: y}", "unknown key 'modle'; did you mean 'model'?"),
        ("mixture=null", "`mixture` is None"),
        ("batch={frames: 3, atoms: 4}", "`batch`: give either `frames` or `atoms`"),
        ("batch={}", "`batch`: give either `frames` or `atoms`"),
        ("batch.at_once=0", "`batch.at_once` is 0"),
        ("loss.energy=[1]", "loss.energy"),
        ("loss.energy=[-1, 1]", "`loss`: prefactor energy is negative"),
        ("loss.displacement=[1, -0.5]", "`loss`: prefactor displacement is negative"),
        ("loss.huber=.inf", "`loss.huber` is inf"),
        ("loss.huber=0", "`loss.huber` is 0"),
        ("loss.more={energyy: [1, 1]}", "no kind of task has a term 'energyy'; did you mean 'energy'?"),
        ("loss.more={force: [-1, 1]}", "prefactor force is negative"),
        ("clip_norm=0", "`clip_norm` is 0"),
        ("clip_norm=.nan", "`clip_norm` is nan"),
        ("learning_rate.start=0", "`learning_rate.start` is 0"),
        ("learning_rate.warmup_start_factor=1.5", "`learning_rate.warmup_start_factor` is 1.5"),
        ("learning_rate={warmup_steps: 3}", "learning_rate.warmup_steps (3) must be below steps (3)"),
        ("start={model: x, lr_scale: {a: 0}}", "`start.lr_scale.a` is 0"),
        ("matmul=tf16", "`matmul` is 'tf16'"),
        ("seed=-1", "`seed` is -1"),
        ("checkpoint_keep=0", "`checkpoint_keep` is 0"),
        ("threads=0", "`threads` is 0"),
        ("train=a/b", "`train` is 'a/b'"),
        ("train=..", "`train` is '..'"),
        ("validation.every=0", "`validation.every` is 0"),
        ("model={size: tiny, descriptor: {type: dpa2, repinit: 3}}", "model.descriptor.repinit"),
        ("kernels=fast", "`kernels` is 'fast'"),
    ],
)
def test_what_cannot_be_is_one_line_that_repeats_the_option(tmp_path: Path, override: str, said: str) -> None:
    text = refused(write(tmp_path), override)
    assert said in text and text.count("\n") == 0


def test_rounded_products_need_single_precision(tmp_path: Path) -> None:
    assert "matmul bf16 rounds float32 products, but precision is float64" in refused(write(tmp_path), "precision=float64", "matmul=bf16")
    assert read_config(write(tmp_path), overrides=["matmul=bf16"]).matmul == "bf16"


def test_a_start_brings_its_own_network(tmp_path: Path) -> None:
    path = write(tmp_path, "start: {model: old.pt}\nmodel: {size: tiny}\n")
    assert "`start.model` brings its own network: leave `model` out" in refused(path)
    assert read_config(write(tmp_path, "start: {model: old.pt}\nmodel: {size: small}\n")).model == ModelSpec()  # what is meant by nothing


@pytest.mark.parametrize(("text", "found"), [("", "nothing"), ("# a comment\n", "nothing"), ("- train\n", "list"), ("train\n", "str")])
@pytest.mark.parametrize("overrides", [(), ("steps=3",), ("batch.frames=3",)])
def test_a_file_without_keys_is_said_to_be_one(tmp_path: Path, text: str, found: str, overrides: tuple[str, ...]) -> None:
    path = write(tmp_path, text, least="")
    assert refused(path, *overrides) == f"{path}: expected keys and values, found {found}"


def test_every_mistake_of_a_file_comes_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "stepps: 3\nbatch: {frames: 0}\nlearning_rate: {strat: 1.0}\nseed: -2\n")
    lines = refused(path).splitlines()
    assert len(lines) == 4
    for place, said in (("5:1", "'stepps'"), ("6:9", "batch.frames"), ("7:17", "'strat'; did you mean 'start'?"), ("8:1", "`seed` is -2")):
        assert any(line.startswith(f"{path}:{place}: ") and said in line for line in lines)


@pytest.mark.parametrize("size", ["tiny", "small", "medium", "large", "student"])
def test_a_size_stands_for_all_that_a_section_leaves_out(size: str) -> None:
    plain = ModelSpec(size=size).resolve(elements=["O", "H"], heads={"a": "energy_force"}, precision="float64")
    same = ModelSpec.model_validate({"size": size, "fitting": {}, "descriptor": {}})
    assert same.resolve(elements=["O", "H"], heads={"a": "energy_force"}, precision="float64") == plain
    seeded = ModelSpec.model_validate({"size": size, "fitting": {"seed": 91}})
    found = seeded.resolve(elements=["O", "H"], heads={"a": "energy_force"}, precision="float64")
    assert found.fitting.seed == 91 and found.fitting.neuron == plain.fitting.neuron and found.descriptor == plain.descriptor
    assert found.precision == "float64" and found.elements == ["O", "H"]


def test_elements_of_the_config_go_before_those_of_the_frames() -> None:
    spec = ModelSpec(size="tiny", elements=["Cu", "H"])
    assert spec.resolve(elements=["O"], heads={"a": "energy_force"}, precision="float32").elements == ["Cu", "H"]
    with pytest.raises(ValueError, match="at least one"):
        ModelSpec(elements=[])


def test_a_head_that_the_descriptor_has_no_part_for_is_refused_with_its_place() -> None:
    with pytest.raises(ConfigError, match="^model: a denoise head needs a pair channel, and descriptor `dpa1` has none"):
        ModelSpec(size="student").resolve(elements=["O"], heads={"a": "denoise"}, precision="float32")


def test_a_term_has_the_prefactors_that_are_said_else_its_kind_s() -> None:
    spec = LossSpec(energy=(3.0, 4.0), more={"force": (5.0, 6.0)})
    assert spec.pair("energy", KINDS) == (3.0, 4.0)
    assert spec.pair("force", KINDS) == (5.0, 6.0)
    assert spec.pair("types", KINDS) == KINDS[1].prefactors["types"]
    with pytest.raises(ConfigError, match=r"loss: no prefactors for 'dipole'; add `more: \{dipole: \[1, 1\]\}`"):
        spec.pair("dipole", KINDS)


@given(st.integers(1, 10_000_000))
def test_a_schedule_for_any_length_falls_and_can_be_trained_by(steps: int) -> None:
    rate, loss = schedule_for(steps)
    assert 0 < rate.stop < rate.start <= 2e-2
    assert rate.kind == "cosine" and rate.start >= 8e-4
    assert loss.force[0] >= 100 and loss.force[1] == 1.0 and 0 < loss.energy[0] <= 1.0 <= loss.energy[1] <= 20.0


def test_the_prefactors_of_a_million_steps_are_those_of_dpa2() -> None:
    loss = schedule_for(1_000_000)[1]
    assert loss.energy == pytest.approx((0.02, 1.0)) and loss.force == pytest.approx((1000.0, 1.0))
    assert schedule_for(1_000_001) == schedule_for(5_000_000)


def test_a_longer_run_never_begins_at_a_higher_rate() -> None:
    starts = [schedule_for(steps)[0].start for steps in (10, 100, 1000, 10_000, 100_000, 999_999)]
    assert starts == sorted(starts, reverse=True)


def test_a_written_config_can_be_read_and_says_only_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "runs/new/train.yaml"
    write_config(path, name="water", mixture=tmp_path / "mix/m.yaml", store=str(tmp_path / "s.zarr"), size="tiny", steps=2000)
    config = read_config(path)
    assert (Path(config.mixture).resolve(), Path(config.store).resolve()) == (tmp_path / "mix/m.yaml", tmp_path / "s.zarr")
    assert (config.train, config.steps, config.model.size) == ("water", 2000, "tiny")
    rate, loss = schedule_for(2000)
    assert (config.optimizer.kind, config.learning_rate.kind) == ("muon", "cosine")
    assert config.learning_rate.start == pytest.approx(rate.start, rel=0.05) and config.loss.force == pytest.approx(loss.force, rel=0.01)
    assert set(path.read_text().replace(":", " ").split()) >= {"train", "mixture", "store", "model", "steps"}
    assert "clip_norm" not in path.read_text() and "../../mix/m.yaml" in path.read_text()


def test_a_store_by_url_is_written_as_it_is(tmp_path: Path) -> None:
    write_config(tmp_path / "t.yaml", name="t", mixture=tmp_path / "m.yaml", store="s3://bucket/s.zarr", size="small", steps=10)
    assert read_config(tmp_path / "t.yaml").store == "s3://bucket/s.zarr"


def test_a_config_is_never_written_over_another(tmp_path: Path) -> None:
    path = write(tmp_path)
    with pytest.raises(LamError, match="there is such a file already; choose another with -o"):
        write_config(path, name="t", mixture=tmp_path / "m.yaml", store="s", size="tiny", steps=10)
    assert path.read_text() == LEAST


def test_a_config_survives_being_written_and_read() -> None:
    config = TrainConfig(
        train="t", mixture="m", store="s", steps=9, batch=BatchSpec(atoms=12, at_once=4), loss=LossSpec(more={"types": (2.0, 1.0)})
    )
    assert TrainConfig.model_validate(config.model_dump(mode="json")) == config
