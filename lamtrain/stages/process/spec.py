"""process.yaml -> stages with the words of their commands; every mistake is found, and named by its line, before anything runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from lamdata.errors import ConfigError, ConfigErrors
from lamdata.fields import Name
from lamdata.located import KeyPath, Places, Spec, did_you_mean, read_yaml, spot_of, validate

from .configs import check
from .kinds import KINDS, Kind
from .words import check_words, keys_of, parser_of, unknown_key, words_of

REFERENCE = re.compile(r"\$\{([^{}]*)\}")
NAMED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9_-]*)\.([A-Za-z0-9_-]+)$")
OWN = ("kind", "launcher", "dask")  # keys of a stage that are none of its command
ARGS = "{args}"


class ProcessSpec(Spec):
    """Stages, run in this order; each is a command. Paths are relative to this file."""

    process: Name
    """Name of the process."""
    folder: str | None = None
    """Folder for all that the stages leave; `runs/NAME` unless it is said."""
    threads: int | None = Field(default=None, ge=1)
    """Threads of each stage on a CPU; as many as the machine has that the process began on unless they are said, for bits depend on them."""
    launcher: str | None = None
    """Command that starts the stages, with {args} where the words after `lamtrain` belong, as "srun python -m lamtrain {args}"."""
    dask: str | None = None
    """Scheduler of Dask whose workers run the stages, as tcp://host:8786; they see this folder under the same path."""
    stages: dict[str, dict[str, Any]] = Field(min_length=1)
    """Name -> `kind`, and the arguments and options of its command; `${STAGE.RESULT}` is a result of a stage above it. A `launcher` or `dask` of a
    stage is for it alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage."""

    name: str
    kind: str
    how: Kind
    place: str  # file:line:column
    values: Mapping[str, Any]  # keys of its command, references filled in
    needs: tuple[str, ...]  # stages whose results it reads
    refers: Mapping[str, tuple[str, ...]]  # key -> "STAGE.RESULT" in it
    inside: BaseModel | None  # its command's own config, where that stands in the file itself
    words: tuple[str, ...]  # of its command
    launcher: str | None
    dask: str | None
    folder: str  # relative to the file

    @property
    def out(self) -> str:
        """Folder of its results."""
        return f"{self.folder}/out"

    @property
    def config_file(self) -> str:
        """Where a config that stands in the file itself is written for its command."""
        return f"{self.folder}/config.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """All of them."""

    name: str
    path: Path
    folder: str  # relative to the file
    threads: int | None
    stages: tuple[Stage, ...]

    @property
    def base(self) -> Path:
        """The folder of the file, in which commands run."""
        return self.path.parent.absolute()

    def stage(self, name: str, *, option: str) -> Stage:
        """A stage by name; raises ConfigError where there is none."""
        found = next((stage for stage in self.stages if stage.name == name), None)
        if found is None:
            raise ConfigError(f"no stage {name!r}", where=option, hint=did_you_mean(name, [stage.name for stage in self.stages]))
        return found


def read_process(path: str | Path) -> Process:
    """Read and check a process; raises ConfigErrors with all that is wrong."""
    path = Path(path)
    data, places = read_yaml(path)
    spec = validate(data, ProcessSpec, where=str(path), places=places)
    folder = (spec.folder or f"runs/{spec.process}").rstrip("/")
    reader = _Reader(spec=spec, folder=folder, where=str(path), places=places)
    for name, values in spec.stages.items():
        reader.read(name, values)
    if reader.errors:
        raise ConfigErrors(reader.errors)
    return Process(name=spec.process, path=path, folder=folder, threads=spec.threads, stages=tuple(reader.stages))


@dataclass(slots=True, kw_only=True)
class _Reader:
    """Reads stages one after the other; what is wrong is gathered."""

    spec: ProcessSpec
    folder: str
    where: str
    places: Places
    stages: list[Stage] = field(default_factory=list)
    errors: list[ConfigError] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)  # stages of which so little is known that nothing is said of references to them

    def read(self, name: str, values: Mapping[str, Any]) -> None:
        """Add a stage."""
        at: KeyPath = ("stages", name)
        if not re.match(r"^[A-Za-z0-9][A-Za-z0-9_-]*$", name):
            self.fail(ConfigError(f"{name!r} is no name of a stage", hint="letters, digits, - and _"), at)
        if (kind := values.get("kind")) not in KINDS:
            found = "key 'kind' is missing" if kind is None else f"no kind of stage {kind!r}"
            self.broken.add(name)
            self.fail(ConfigError(found, hint=did_you_mean(str(kind or ""), list(KINDS))), (*at, "kind"))
            return
        how = KINDS[str(kind)]
        own = {key: value for key, value in values.items() if key not in OWN}
        filled = {key: self.fill(value, (*at, key)) for key, value in own.items()}
        refers = {key: tuple(dict.fromkeys(_references(value))) for key, value in own.items()}
        launcher, dask = self.launched(values, at)
        try:
            parser = parser_of(how.command)
        except ConfigError as err:
            self.broken.add(name)
            self.fail(err, (*at, "kind"))
            return
        stage_folder = f"{self.folder}/{name}"
        inside = self.inside(how, filled, at)
        words = self.words(parser, how, filled, at, folder=stage_folder)
        self.stages.append(
            Stage(
                name=name, kind=str(kind), how=how, place=spot_of(at, self.places, where=self.where), values=filled,
                needs=tuple(dict.fromkeys(text.partition(".")[0] for some in refers.values() for text in some)),
                refers=refers, inside=inside, words=tuple(words), launcher=launcher, dask=dask, folder=stage_folder,
            )
        )  # fmt: skip

    def fail(self, err: ConfigError, at: KeyPath) -> None:
        """Keep an error, at its place in the file."""
        self.errors.append(ConfigError(err.message, where=spot_of(_known(at, self.places), self.places, where=self.where), hint=err.hint))

    def fill(self, value: Any, at: KeyPath) -> Any:
        """A value with its references replaced by paths."""
        if isinstance(value, dict):
            return {key: self.fill(part, (*at, key)) for key, part in value.items()}
        if isinstance(value, list):
            return [self.fill(part, (*at, i)) for i, part in enumerate(value)]
        if not isinstance(value, str):
            return value
        if "${" in REFERENCE.sub("", value):
            self.fail(ConfigError(f"{value!r} begins a reference that does not end", hint="as ${STAGE.RESULT}"), at)
        return REFERENCE.sub(lambda found: self.path_of(found[1], at), value)

    def path_of(self, text: str, at: KeyPath) -> str:
        """Where the result that a reference names will be."""
        named = NAMED.match(text)
        known = {stage.name: stage for stage in self.stages}
        if named is None:
            self.fail(ConfigError(f"${{{text}}} is no reference", hint="as ${STAGE.RESULT}"), at)
        elif named[1] not in known and named[1] not in self.broken:
            later = named[1] in self.spec.stages
            hint = "put it above this one" if later else did_you_mean(named[1], list(known))
            self.fail(
                ConfigError(f"${{{text}}}: stage {named[1]!r} {'is not above this one' if later else 'does not exist'}", hint=hint), at
            )
        elif named[1] in self.broken:
            return text
        elif named[2] not in known[named[1]].how.leaves:
            stage = known[named[1]]
            self.fail(
                ConfigError(f"${{{text}}}: a {stage.kind} leaves no {named[2]!r}", hint=did_you_mean(named[2], list(stage.how.leaves))), at
            )
        else:
            return f"{known[named[1]].out}/{known[named[1]].how.leaves[named[2]]}"
        return text

    def launched(self, values: Mapping[str, Any], at: KeyPath) -> tuple[str | None, str | None]:
        """How it is started: by its own template or scheduler, else those of all."""
        own = {key: values.get(key) for key in ("launcher", "dask") if values.get(key) is not None}
        used: dict[str, Any] = own or {"launcher": self.spec.launcher, "dask": self.spec.dask}
        if used.get("launcher") and used.get("dask"):
            self.fail(ConfigError("`launcher` and `dask` both start it", hint="leave one out"), at)
        launcher = used.get("launcher")
        if launcher is not None and (not isinstance(launcher, str) or ARGS not in _split(launcher)):
            found = f"`launcher` is {launcher!r}, which has no word {ARGS}"
            self.fail(ConfigError(found, hint=f'as "srun python -m lamtrain {ARGS}"'), (*at, "launcher"))
        return launcher, used.get("dask")

    def inside(self, how: Kind, filled: Mapping[str, Any], at: KeyPath) -> BaseModel | None:
        """A config that stands in the file, checked as one that has a file of its own."""
        if how.config is None or not isinstance(data := filled.get(how.config.key), dict):
            return None
        key = (*at, how.config.key)
        places = {path[len(key) :]: place for path, place in self.places.items() if path[: len(key)] == key}
        try:
            return check(how.config, data, name=str(at[-1]), where=self.where, places=places)
        except ConfigError as err:
            self.errors += err.errors
            return None

    def words(self, parser: Any, how: Kind, filled: Mapping[str, Any], at: KeyPath, *, folder: str) -> list[str]:
        """The words of the command; [] where something is wrong with them."""
        keys, failed = keys_of(parser, taken=how.writes), False
        for key in filled:
            if key not in keys:
                failed = True
                self.fail(unknown_key(key, keys, command=how.command, taken=how.writes), (*at, key))
            elif isinstance(filled[key], dict) and (how.config is None or key != how.config.key):
                failed = True
                self.fail(ConfigError(f"`{key}` holds keys, expected a value or a list"), (*at, key))
        written = {key: path.replace("{out}", f"{folder}/out") for key, path in how.writes.items()}
        values = {key: f"{folder}/config.yaml" if isinstance(value, dict) else value for key, value in filled.items()}
        if failed:
            return []
        try:
            words = words_of(parser, {**values, **written, "json": True})
            check_words(parser, words)
        except ConfigError as err:
            self.fail(err, (*at, err.where) if err.where else at)
            return []
        return words


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [found for part in value.values() for found in _references(part)]
    if isinstance(value, list):
        return [found for part in value for found in _references(part)]
    return REFERENCE.findall(value) if isinstance(value, str) else []


def _known(path: KeyPath, places: Places) -> KeyPath:
    """The longest part of a path that the file has."""
    return next((path[:length] for length in range(len(path), 0, -1) if path[:length] in places), ())


def _split(template: str) -> list[str]:
    try:
        return shlex.split(template)
    except ValueError:  # a quotation that does not end
        return []
