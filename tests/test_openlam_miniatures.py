"""The 29 datasets of the report, end to end: each card ingests its native format from wherever it lies, and all train together."""

from __future__ import annotations

import csv
import json
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from lamdata import ingest, open_catalog, open_store
from lamdata.catalog import SourceSpec
from lamdata.distances import shortest_distance
from lamdata.frame import Frame
from lamdata.ingestion import IngestReport
from lamdata.sources import read_all
from lamdata.sources.bytes.files import expand
from tests.miniatures.datasets import CARDS, MINIATURES, Miniature, Systems, pack_tar

MIXTURE = CARDS.parent / "openlam-2024q0-29.yaml"
TRAIN = """train: miniatures
mixture: openlam-2024q0-29.yaml
store: main.zarr
model: {size: tiny}
steps: 1
batch: {frames: 1024}  # a cycle of the stream
validation: {every: 1, frames: 2}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of each dataset in a folder of its name."""
    return tmp_path_factory.mktemp("openlam")


@pytest.fixture(scope="module")
def written(root: Path) -> dict[str, Systems]:
    """The frames that were written, by dataset."""
    return {name: miniature.prepare(root / name) for name, miniature in MINIATURES.items()}


@pytest.fixture(scope="module")
def reports(root: Path, written: dict[str, Systems]) -> dict[str, IngestReport]:
    """What the ingest of each card with its example source said; the store is `main.zarr`."""
    return {name: bring(root, miniature, "main.zarr") for name, miniature in MINIATURES.items()}


@pytest.fixture(scope="module")
def website(root: Path, written: dict[str, Systems]) -> Iterator[str]:
    """The same folders behind Python's own web server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(root))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


def bring(root: Path, miniature: Miniature, store: str, sources: list[SourceSpec] | None = None) -> IngestReport:
    return ingest(miniature.card(sources), str(root / store), base=root / miniature.name, replace=True, quiet=True)


def stored(root: Path, name: str, store: str = "main.zarr") -> list[Frame]:
    """All frames of a dataset, in an order that does not depend on where they came from."""
    dataset = open_store(root / store)[name]
    return sorted((dataset[i] for i in range(len(dataset))), key=_order)


def _order(frame: Frame) -> tuple:
    return len(frame.numbers), bytes(np.sort(frame.numbers)), round(shortest_distance(frame), 6)


def same(a: Frame, b: Frame) -> bool:
    """Whether two frames are equal to the last bit, their origins aside."""
    arrays = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("numbers", "positions", "cell", "forces", "virial"))
    return arrays and (a.pbc, a.energy, a.charge) == (b.pbc, b.energy, b.charge)


def keeps_labels(frame: Frame, source: Frame, labels: tuple[str, ...]) -> None:
    """A label that the format holds is the one that was written; one that it does not hold is missing."""
    for label in ("energy", "forces", "virial"):
        found, expected = getattr(frame, label), getattr(source, label)
        if label in labels and expected is not None:
            assert found == pytest.approx(expected, abs=2e-8), (frame.origin, label)
        else:
            assert found is None, (frame.origin, label)


def test_there_is_a_miniature_of_every_card():
    assert sorted(MINIATURES) == sorted(path.stem for path in CARDS.glob("*.yaml"))
    assert len(MINIATURES) == 29


@pytest.mark.parametrize("name", MINIATURES)
def test_a_card_ingests_by_its_own_example_and_accounts_for_every_frame(root, written, reports, name):
    miniature, report = MINIATURES[name], reports[name]
    frames = [frame for system in written[name] for frame in system]
    assert report.frames == len(frames)
    rows = [json.loads(line) for line in Path(report.ledger).read_text().splitlines()]
    assert len(rows) == sum(report.rejected.values()) == sum(miniature.rejected.values())
    for word, count in miniature.rejected.items():
        assert sum(word in row["reason"] for row in rows) == count, word


@pytest.mark.parametrize("name", MINIATURES)
def test_what_is_in_the_store_is_what_was_written(root, written, reports, name):
    miniature = MINIATURES[name]
    expected = sorted((frame for system in written[name] for frame in system), key=_order)
    for frame, source in zip(stored(root, name), expected, strict=True):
        assert sorted(frame.numbers) == sorted(source.numbers)
        assert frame.volume == (None if source.volume is None else pytest.approx(source.volume, rel=1e-6))
        assert shortest_distance(frame) == pytest.approx(shortest_distance(source), abs=1e-5)
        if miniature.format != "aflux and mp":
            keeps_labels(frame, source, miniature.labels)


def test_of_aflow_and_mp_each_keeps_the_labels_that_its_documents_hold(root, written, reports):
    tasks = [frame for frame in stored(root, "AFLOW_MP") if "tasks" in frame.origin]
    expected = sorted((frame for system in written["AFLOW_MP"][3:] for frame in system), key=_order)
    for frame, source in zip(tasks, expected, strict=True):
        keeps_labels(frame, source, ("energy", "forces", "virial"))
    assert all(frame.energy is None for frame in stored(root, "AFLOW_MP") if "tasks" not in frame.origin)


def test_isomers_keep_their_charges(root, reports):
    miniature = MINIATURES["ClusterIsomer"]
    assert sorted({frame.charge for frame in stored(root, "ClusterIsomer")}) == sorted(miniature.charges)
    for frame in stored(root, "ClusterIsomer"):
        assert frame.charge == miniature.charges[int(frame.origin.rpartition("#")[2])]


def test_adsorption_energies_are_raw_energies_minus_the_references(root, written, reports):
    miniature = MINIATURES["Open_Catalyst_2020(OC20_Dataset)"]
    (spec,) = miniature.unpacked()
    raw = {frame.origin: frame for frame in stored(root, miniature.name)}
    for file in expand(spec, base=root / miniature.name):
        system = int(file.basename.partition(".")[0])
        for frame in read_all(file, spec.model_copy(update={"options": {"energy": "adsorption"}})):
            total = raw[f"s2ef_train_2M.tar/{frame.origin.removeprefix('s2ef_train_2M/')}"].energy
            assert frame.energy - total == pytest.approx(100.25 + system)


def test_the_two_forms_and_two_versions_of_mc2d_hold_the_same_structures(root, written, reports):
    expected = stored(root, "MC2D")
    miniature = MINIATURES["MC2D"]
    for source in ({"path": "optimized_2d_structures", "members": "*.xsf"}, {"path": "structures.json"}):
        bring(root, miniature, "other.zarr", [SourceSpec(**source)])
        for frame, other in zip(expected, stored(root, "MC2D", "other.zarr"), strict=True):
            assert sorted(frame.numbers) == sorted(other.numbers)
            assert shortest_distance(frame) == pytest.approx(shortest_distance(other), abs=1e-5)
    spec = SourceSpec(path="structure_2d.json")
    rows = [row for file in expand(spec, base=root / "MC2D") for row in read_all(file, spec)]
    assert len(rows) == len(expected) and all("named by its UUID" in row.reason for row in rows)


@pytest.mark.parametrize("name", sorted(name for name, miniature in MINIATURES.items() if miniature.archive))
def test_a_published_archive_and_its_unpacked_folder_give_the_same(root, written, reports, name):
    bring(root, MINIATURES[name], "folders.zarr", MINIATURES[name].unpacked())
    assert all(same(a, b) for a, b in zip(stored(root, name), stored(root, name, "folders.zarr"), strict=True))


@pytest.mark.parametrize("name", MINIATURES)
def test_from_a_tar_comes_the_same(root, written, reports, name):
    pack_tar(root / name, root / f"{name}.tar")
    report = bring(root, MINIATURES[name], "tars.zarr", MINIATURES[name].packed(f"../{name}.tar"))
    assert report.rejected == reports[name].rejected
    assert all(same(a, b) for a, b in zip(stored(root, name), stored(root, name, "tars.zarr"), strict=True))


@pytest.mark.parametrize("name", MINIATURES)
def test_from_a_web_server_comes_the_same(root, reports, website, name):
    report = bring(root, MINIATURES[name], "web.zarr", MINIATURES[name].unpacked(f"{website}/{name}/"))
    assert report.rejected == reports[name].rejected
    assert all(same(a, b) for a, b in zip(stored(root, name), stored(root, name, "web.zarr"), strict=True))


def test_a_tar_is_read_through_a_web_server(root, written, reports, website):
    name = "Cu_DPA_v1_0"
    pack_tar(root / name, root / "over-http.tar")
    bring(root, MINIATURES[name], "web-tar.zarr", MINIATURES[name].packed(f"{website}/over-http.tar"))
    assert all(same(a, b) for a, b in zip(stored(root, name), stored(root, name, "web-tar.zarr"), strict=True))


@pytest.fixture(scope="module")
def run(root: Path, reports: dict[str, IngestReport]) -> Path:
    """One step of the real 29-head mixture beside the cards, on a batch that holds each head's share of the weights to a frame."""
    from lamtrain.config import read_config
    from lamtrain.training.trainer import train

    (root / "cards").mkdir()
    for name, miniature in MINIATURES.items():
        text = json.dumps(miniature.card().model_dump(mode="json"), ensure_ascii=False, indent=1)  # JSON is YAML
        (root / "cards" / f"{name}.yaml").write_text(text, encoding="utf-8")
    shutil.copy(MIXTURE, root)
    (root / "train.yaml").write_text(TRAIN)
    return train(read_config(root / "train.yaml"), out=root / "run", device="cpu", quiet=True)


def test_the_29_heads_train_a_step_together(run):
    from lamtrain.checkpoint import load

    checkpoint = load(run / "last.pt")
    mixture = open_catalog(MIXTURE).mixtures["openlam-2024q0-29"]
    assert checkpoint.step == 1
    assert list(checkpoint.heads) == [task.head for task in mixture.heads]
    assert [head["weight"] for head in checkpoint.heads.values()] == [task.weight for task in mixture.heads]
    assert sorted(checkpoint.lock["datasets"]) == sorted(MINIATURES)


def test_every_head_has_its_frames_in_the_step_and_a_finite_error(run):
    with open(run / "metrics.csv") as file:
        (row,) = csv.DictReader(file)
    assert np.isfinite(float(row["loss"]))
    for task in open_catalog(MIXTURE).mixtures["openlam-2024q0-29"].heads:
        kind = "energy_rmse_mev_per_atom" if task.task == "energy_force" else "displacement_rmse_angstrom"
        assert np.isfinite(float(row[f"{task.head}.train.{kind}"])), task.head
