"""The layers of the two packages, read from the source: nothing imports upwards, and nothing heavy on the way."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted([*ROOT.glob("lamdata/**/*.py"), *ROOT.glob("lamtrain/**/*.py")])


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, top_level: bool = False) -> set[str]:
    """Absolute names of what a file imports; with `top_level`, only what importing the file brings in."""
    tree = ast.parse(path.read_text())
    package = module_of(path).split(".") if path.name == "__init__.py" else module_of(path).split(".")[:-1]
    found = set()
    nodes = _top_level(tree) if top_level else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def _top_level(tree: ast.Module):
    for node in tree.body:
        yield from ast.walk(node) if isinstance(node, (ast.If, ast.Try)) and "TYPE_CHECKING" not in ast.dump(node) else [node]


def test_lamdata_never_imports_torch_or_lamtrain() -> None:
    for path in FILES:
        if path.is_relative_to(ROOT / "lamdata"):
            bad = {name for name in imports(path) if name.split(".")[0] in ("torch", "lamtrain")}
            assert not bad, f"{path.relative_to(ROOT)} imports {bad}"


def test_the_model_imports_only_torch_and_itself() -> None:
    allowed = {
        "torch",
        "math",
        "re",
        "typing",
        "dataclasses",
        "collections",
        "functools",
        "itertools",
        "importlib",
        "contextlib",
        "pydantic",
        "__future__",
        "os",
        "sys",
        "pathlib",
        "enum",
        "abc",
        "triton",  # what its kernels are written in
    }
    for path in FILES:
        if path.is_relative_to(ROOT / "lamtrain/model"):
            bad = {name for name in imports(path) if name.split(".")[0] not in allowed and not name.startswith("lamtrain.model")}
            assert not bad, f"{path.relative_to(ROOT)} imports {bad}"


LEVELS = {  # the way of the data, in each package and in its rooms; a line imports from its own and earlier lines only
    "lamdata": """
        interrupts
        errors units elements counter cache
        located progress command notebook
        frame
        frames theory images fields where
        distances worth
        augment places keep
        catalog
        sources checks statistics energies
        energy_work plausibility reading
        store
        stream
        ingestion
        validation listing overlap exporting registry
        card
        completion
        share
        cli
        __main__
    """,
    "lamdata.sources": """
        bytes
        build unit_names unit_guess stated
        gathered
        codes
        labelled
        structures
        builtin
    """,
    "lamtrain": """
        model files device cores
        tasks
        recipe
        config
        proposed
        checkpoint runlog
        data
        kernels
        evaluation
        prediction
        calculator simulation run
        properties
        training deepmd
        planning doctor
        stages
        completion
        commands
        cli
        __main__
    """,
}


def level_of(module: str, package: str) -> int | None:
    """The line of LEVELS that a module of a package stands in; None for the package itself and for what lies elsewhere."""
    if not module.startswith(f"{package}."):
        return None
    name = module.removeprefix(f"{package}.").split(".")[0]
    lines = [line.split() for line in LEVELS[package].strip().splitlines()]
    return next((i for i, names in enumerate(lines) if name in names), None)


@pytest.mark.parametrize("package", LEVELS)
def test_imports_go_only_downwards(package: str) -> None:
    for path in FILES:
        mine = level_of(module_of(path), package)
        for name in imports(path) if mine is not None else ():
            theirs = level_of(name, package)
            assert theirs is None or theirs <= mine, f"{module_of(path)} imports {name}"


@pytest.mark.parametrize("package", LEVELS)
def test_every_module_has_a_level(package: str) -> None:
    modules = {module_of(path) for path in FILES if module_of(path).startswith(f"{package}.")}
    assert not {module for module in modules if level_of(module, package) is None}


def test_no_circle_between_files() -> None:
    modules = {module_of(path) for path in FILES}
    edges = {module_of(path): {target for name in imports(path) if (target := _module(name, modules)) is not None} for path in FILES}
    order, state = [], {}

    def visit(module: str, way: tuple[str, ...]) -> None:
        if state.get(module) == "open":
            raise AssertionError(f"a circle: {' -> '.join([*way[way.index(module) :], module])}")
        if module not in state:
            state[module] = "open"
            for target in sorted(edges[module] - {module}):
                visit(target, (*way, module))
            state[module] = "done"
            order.append(module)

    for module in sorted(edges):
        visit(module, ())
    assert len(order) == len(modules)


def _module(name: str, modules: set[str]) -> str | None:
    """The Python file that an imported name lives in; a compiled one imports nothing."""
    if (ROOT / name.replace(".", "/")).with_suffix(".c").exists():
        return None
    return next((known for known in (name, name.rpartition(".")[0]) if known in modules), None)


def test_no_function_is_longer_than_80_lines() -> None:
    long = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and (lines := node.end_lineno - node.lineno + 1) > 80:
                long[f"{path.relative_to(ROOT)}:{node.name}"] = lines
    assert not long


def test_lamtrain_uses_only_public_modules_of_lamdata() -> None:
    hidden = {"ingestion", "sources", "places"}
    for path in FILES:
        if path.is_relative_to(ROOT / "lamtrain"):
            bad = {name for name in imports(path) if name.startswith("lamdata.") and name.split(".")[1] in hidden}
            assert not bad, f"{path.relative_to(ROOT)} imports {bad}"


@pytest.mark.parametrize("module", ["lamdata.cli", "lamtrain.cli", "lamtrain.config", "lamtrain.model.config"])
def test_importing_a_command_or_a_config_brings_in_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(' '.join(m for m in ('torch', 'zarr', 'ase', 'pymatgen', 'dpdata', 'matplotlib', 'scipy') if m in sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == ""


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert not [path for path in FILES if path.stem in ("utils", "common", "base", "helpers", "misc")]


def test_no_file_is_longer_than_400_lines() -> None:
    long = {str(path.relative_to(ROOT)): n for path in FILES if (n := len(path.read_text().splitlines())) > 400}
    assert not long
