"""DistilConfig: what a distillation is, as one YAML file; torch-free, so that every mistake is found before anything heavy loads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from lamdata.errors import ConfigError, ConfigErrors
from lamdata.located import Places, Spec, read_yaml, validate

from ...config import BatchSpec, LearningRateSpec, LossSpec, ModelSpec, TrainConfig
from ...recipe import OptimizerSpec

DEFINITIONS = {"difference": 1.0, "std": 0.5}  # name of a deviation -> what it is by |F_teacher - F_student|
OURS = ("train", "mixture", "store", "start", "steps", "model", "batch", "optimizer", "learning_rate", "loss", "seed", "threads")
Positive = Annotated[float, Field(gt=0)]
Cells = Annotated[int, Field(ge=1)]


class ExploreSpec(Spec):
    """Dynamics that find new structures: Langevin at constant volume, or with a barostat where there is a pressure."""

    driver: Literal["student", "teacher"] = "student"
    """Whose forces move the atoms from the second round on: the student's, which finds where it is wrong, or the teacher's. The first is the teacher's."""
    trajectories: int = Field(default=8, ge=2)
    """Of each round. Structures, supercells, temperatures and pressures are combined, and each combination is taken once before any is taken again."""
    steps: int = Field(default=2000, ge=1)
    """Of a trajectory."""
    every: int = Field(default=20, ge=1)
    """Steps between two frames that are looked at."""
    timestep: Positive = 0.5
    """fs."""
    friction: Positive = 0.01
    """Of the thermostat, 1/fs; the barostat is twenty times slower."""
    max_force: Positive = 50.0
    """A trajectory has blown up, and ends, where a force is larger than this, eV/Å."""
    max_temperature: Annotated[float, Field(gt=1)] = 5.0
    """Likewise where the atoms are hotter than so many times the temperature."""

    @model_validator(mode="after")
    def _some_frames(self) -> Self:
        if self.every > self.steps:
            raise ValueError(f"a frame every {self.every} steps is none in {self.steps}")
        return self


class AdaptiveSpec(Spec):
    """A lower threshold that follows the student down: the lowest deviation of the worst frames, as DP-GEN's adaptive one."""

    share: float = Field(default=0.1, gt=0, le=1)
    """How many of the frames below `high`, the worst, are candidates."""
    least: int = Field(default=20, ge=1)
    """That many at least."""
    tolerance: Positive = 0.05
    """Converged where the lower threshold moves by less than this, eV/Å of the deviation as defined..."""
    checks: int = Field(default=2, ge=1)
    """...so many rounds one after the other."""


class KeepSpec(Spec):
    """Which frames are worth training on: those on which student and teacher deviate by `low` or more, and by less than `high`."""

    deviation: Literal["difference", "std"] = "difference"
    """What the thresholds are of: the largest over the atoms of a frame of |F_teacher - F_student| (difference); or of the population standard
    deviation of the two forces, |F_teacher - F_student| / 2, which is DP-GEN's model deviation with two models (std). eV/Å."""
    low: Positive = 0.1
    """Below it a frame is accurate; with `adaptive`, where the threshold is set by the frames, it is not used."""
    high: Positive = 2.0
    """From there on a frame has failed: it is not trained on, for it is no longer a structure of the system."""
    accurate: float = Field(default=0.95, gt=0, le=1)
    """Converged where so large a share of the frames of a round is accurate, those counted that a trajectory did not come to because it blew up."""
    adaptive: AdaptiveSpec | None = None
    """A lower threshold that is set by the frames of each round, in place of `low` and `accurate`; null for fixed ones."""
    frames: int = Field(default=200, ge=1)
    """Frames that a round adds to the training at most, drawn among those that are worth it."""
    hold_out: float = Field(default=0.2, gt=0, lt=1)
    """Share of the trajectories of a round, at least one, whose frames choose the checkpoint and are never trained on."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.adaptive is None and self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        return self


class StudentSpec(Spec):
    """The student's net and its training, with the keys that a training config has."""

    model: ModelSpec = ModelSpec(size="student")
    """The net: DPA-1 without attention unless said otherwise."""
    steps: int = Field(default=20_000, ge=1)
    """Of the first training."""
    further: int = Field(default=5000, ge=1)
    """Of each later one, which goes on with all frames so far."""
    batch: BatchSpec = BatchSpec(frames=4)
    """How much goes into one step."""
    optimizer: OptimizerSpec = OptimizerSpec(kind="muon")
    """Muon, with which the forces of a student of water came to less than half of the error of Adam under a cosine (docs/distil.md)."""
    learning_rate: LearningRateSpec = LearningRateSpec(kind="cosine", start=2e-2, stop=6e-5)
    """Schedule of the first training; a later one has 0.3 of its rate."""
    loss: LossSpec | None = None
    """Prefactors; by default those for so many steps."""
    more: dict[str, Any] = {}
    """Any other key of a training config, as {kernels: plain, checkpoint_every: 500}."""

    @field_validator("more")
    @classmethod
    def _not_ours(cls, more: dict[str, Any]) -> dict[str, Any]:
        for key in more:
            if key in OURS:
                raise ValueError(f"`{key}` is set by the distillation, or by a key of `student`")
        return more


class DftSpec(Spec):
    """Frames with DFT labels, of which the teacher's are an imitation: only they say how good the student is."""

    store: str
    """Store that holds them."""
    dataset: str
    """Its dataset; errors are of its test groups."""
    alone: bool = True
    """Train another student on its training groups alone, with as many steps, to see what the teacher was worth."""


class AcceptSpec(Spec):
    """What a student must do; null leaves a check out. All of it is measured, and stands in the report beside its threshold."""

    force_ratio: Positive | None = 1.5
    """Its force RMSE against DFT by the teacher's, at most. Needs `test`."""
    force_rmse: Positive | None = 100.0
    """Its force RMSE against the teacher on the trajectories of the last round, on which it was not trained, meV/Å at most."""
    drift: Positive | None = 1e-3
    """Slope of its total energy at constant energy, without its sign, eV/atom/ps at most; dynamics that blow up do not pass."""
    rdf: Positive | None = 0.1
    """Of each pair of elements, the integral of |g_student - g_teacher| by that of g_teacher, at most; 2 where they have nothing in common."""
    faster: Positive | None = 10.0
    """A step of its dynamics, compressed where it can be, times faster than the teacher's, at least; one thread, in turn."""
    steps: int = Field(default=2000, ge=10)
    """Steps of each of the dynamics: at constant energy, and of teacher and student at constant temperature."""
    atoms: int = Field(default=192, ge=1)
    """Atoms of the supercell that they are done with, at least, and that a step is timed with."""
    memory: Positive = 16.0
    """GiB for which the largest system of both is said."""


class DistilConfig(Spec):
    """A distillation. Paths are relative to the file they stand in."""

    distil: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Its name; its folder is `runs/NAME`."""
    teacher: str
    """Checkpoint of the teacher."""
    head: str | None = None
    """Its head, where several give energies; the student's is called the same."""
    structures: list[str] = Field(min_length=1)
    """Files, in any format that is read, with the structures that dynamics start from; or a store of one dataset, of which 200
    training frames are taken at most. The first student learns from the teacher what they are, too."""
    supercells: list[tuple[Cells, Cells, Cells]] = Field(default=[(1, 1, 1)], min_length=1)
    """Repetitions of a structure."""
    temperatures: list[Positive] = Field(min_length=1)
    """K."""
    pressures: list[float | None] = Field(default=[None], min_length=1)
    """GPa; null for constant volume."""
    explore: ExploreSpec = ExploreSpec()
    """The dynamics."""
    keep: KeepSpec = KeepSpec()
    """Which of their frames are trained on, and when that is enough."""
    student: StudentSpec = StudentSpec()
    """The student and its training."""
    iterations: int = Field(default=8, ge=1)
    """Trainings at most. A student that has not converged then is not said to have."""
    test: DftSpec | None = None
    """DFT data to be measured on."""
    accept: AcceptSpec = AcceptSpec()
    """The acceptance suite."""
    seed: int = Field(default=1, ge=0)
    """Of velocities, of thermostats, of what is drawn, and of the trainings."""
    threads: int | None = Field(default=None, ge=1)
    """Threads of a CPU; null for those that may be used when the folder is begun, which it keeps, for bits depend on them."""

    @model_validator(mode="after")
    def _error_of_the_teacher(self) -> Self:
        if self.test is None and self.accept.force_ratio is not None:
            raise ValueError(
                "forces that are near the teacher's may be as wrong as they are: name DFT data with `test: {store: ..., dataset: ...}`, "
                "or leave that check out with `accept: {force_ratio: null}`"
            )
        return self


def read_distil(path: str | Path) -> DistilConfig:
    """Read a distillation's file, with paths as seen from here; all mistakes at once."""
    path = Path(path)
    data, places = read_yaml(path)
    config = validate(data, DistilConfig, where=str(path), places=places)
    _check_more(config, path, places)

    def beside(name: str) -> str:
        return name if "://" in name or Path(name).is_absolute() else str(path.parent / name)

    changes: dict[str, Any] = {"teacher": beside(config.teacher), "structures": [beside(name) for name in config.structures]}
    if config.test is not None:
        changes["test"] = config.test.model_copy(update={"store": beside(config.test.store)})
    return config.model_copy(update=changes)


def _check_more(config: DistilConfig, path: Path, places: Places) -> None:
    """Raise ConfigErrors, where in the file they stand, for keys of `student.more` that no training config has."""
    inside = ("student", "more")
    moved = {key[2:]: place for key, place in places.items() if key[:2] == inside and len(key) > 2}
    try:
        validate(
            {"train": "any", "mixture": "any", "store": "any", "steps": 1, **config.student.more},
            TrainConfig,
            where=str(path),
            places=moved,
        )
    except ConfigErrors as err:
        raise ConfigErrors([ConfigError(f"student.more: {one.message}", where=one.where, hint=one.hint) for one in err.errors]) from None
