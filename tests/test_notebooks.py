"""The notebooks of the documentation: they are valid, hold no output, and run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))
nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed: pip install 'lam[test]'")


def parameters_of(notebook: Any) -> Any:
    """The cell with what a reader changes, tagged as papermill tags it."""
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    return cell


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_valid_and_holds_no_output(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert not [cell for cell in notebook.cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)]
    for line in parameters_of(notebook).source.splitlines():
        compile(line, path.name, "exec")


def test_there_are_two() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["dataset", "model"]


def run(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, **parameters: str) -> list[str]:
    """Execute a notebook in a folder with other parameters; returns the texts that its cells show, pictures as their kind."""
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install 'lam[test]'")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed: pip install 'lam[test]'")
    notebook = nbformat.read(path, as_version=4)
    cell = parameters_of(notebook)
    assert [line.partition(" = ")[0] for line in cell.source.splitlines()] == list(parameters)
    cell.source = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return [
        "picture" if "image/png" in output.get("data", {}) else output.get("text") or output.get("data", {}).get("text/plain", "")
        for output in outputs
    ]


def test_the_notebook_of_a_dataset_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = str(ROOT / "catalogs/quickstart/qe-pbe.yaml")
    said = run(NOTEBOOKS[0], tmp_path, monkeypatch, card=card, store=str(tmp_path / "notebook.zarr"))
    assert said[0] == "(270, {})" and said.count("picture") == 1
    assert "eV" not in said[-1] and "Angstrom" in said[-1]


def test_the_notebook_of_a_model_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.lamtrain.prediction_cases import write_model

    model = write_model(tmp_path / "model.pt", heads={"pbe": "energy_force"})
    said = run(NOTEBOOKS[1], tmp_path, monkeypatch, checkpoint=str(model), head="pbe", element="C")
    assert said.count("picture") == 2
    assert "((56, 3), (7, 3, 3))" in said and "Fe" in said[-1]
