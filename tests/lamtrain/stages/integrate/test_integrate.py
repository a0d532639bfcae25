"""Files beside a pool: what is found, what is proposed, and that the pool changes only when that is accepted."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from lamdata import open_card, open_mixture, open_store
from lamdata.errors import ConfigError, ConfigErrors
from lamtrain.planning.shares import published_counts
from lamtrain.stages.integrate.accept import accept
from lamtrain.stages.integrate.patch import with_rows
from lamtrain.stages.integrate.run import integrate, open_pool
from tests.conftest import CARD, ROOT, _write_raw, ingest_all, tree, write_catalog

DRAWS = 1000.0


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a pool of three datasets, which is the current one."""
    monkeypatch.chdir(tmp_path)
    write_catalog(tmp_path)
    ingest_all(tmp_path, tmp_path / "small.zarr")
    (tmp_path / "mine").mkdir()
    return tmp_path


def run(*files: str, folder: str = "new", **options) -> dict:
    return integrate(
        files, Path(folder), pool=open_pool(Path("mixture.yaml"), "small.zarr"), model=None, draws=DRAWS, quiet=True, **options
    )


def my_card(name: str, *, functional: str = "EMT") -> str:
    """A card beside raw files of copper and aluminium, not those of the pool."""
    path = Path("mine") / f"{name}.yaml"
    text = CARD.format(name=name, functional=functional, seed=3).replace("group: file", "group: frame")
    path.write_text(f"# mine\n{text}")
    for group in range(4, 8):
        _write_raw(Path("mine") / f"{name}-{group}.xyz", "bulk", group, 6)
    return str(path)


def test_a_guess_is_to_be_confirmed_in_its_line_and_the_same_call_goes_on(pool: Path) -> None:
    _write_raw(Path("mine/metal.xyz"), "bulk", 5, 12)
    with pytest.raises(ConfigErrors) as caught:
        run("mine/metal.xyz")
    card = Path("new/proposed/metal.yaml")
    assert f"{card}:" in str(caught.value) and "a guess to be confirmed" in str(caught.value)
    card.write_text(card.read_text().replace('?"', '"'))
    result = run("mine/metal.xyz")
    assert sum(result["datasets"]["metal"]["frames"].values()) == 12
    assert not result["datasets"]["metal"]["proposal"]["shared"]  # the file states no theory
    assert list(open_store("new/store.zarr")) == ["metal"]


def test_a_head_is_shared_where_theories_agree(pool: Path) -> None:
    result = run(my_card("alloy"))
    proposal = result["datasets"]["alloy"]["proposal"]
    assert proposal["shared"] and proposal["row"]["head"] == "bulk"
    other = run(my_card("other", functional="PBE"), folder="other")["datasets"]["other"]["proposal"]
    assert not other["shared"] and other["row"]["head"] == "other"
    assert other["differences"]["bulk"] == ["functional: PBE against EMT"]


def test_the_weight_goes_as_the_root_of_the_frames_and_keeps_epochs_below_forty(pool: Path) -> None:
    opened = open_pool(Path("mixture.yaml"), "small.zarr")
    result = run(my_card("alloy"))
    facts = result["datasets"]["alloy"]
    each = [row.weight / math.sqrt(opened.counts[row.dataset]) for row in opened.mixture.heads if row.task == "energy_force"]
    wanted = sum(each) / 2 * math.sqrt(facts["frames"]["train"])
    assert facts["proposal"]["row"]["weight"] == pytest.approx(wanted, rel=5e-3)
    shares = {row["dataset"]: row for row in result["shares"]["after"]}
    assert sum(row["probability"] for row in shares.values()) == pytest.approx(1)
    many = integrate(["mine/alloy.yaml"], Path("many"), pool=opened, model=None, draws=1e6, quiet=True)
    share = next(row for row in many["shares"]["after"] if row["dataset"] == "alloy")
    assert share["epochs"] == pytest.approx(40, rel=0.01)
    assert "not more" in many["datasets"]["alloy"]["proposal"]["why_weight"]


def test_weights_of_the_openlam_report_go_as_the_root_of_the_frames() -> None:
    mixture, catalog = open_mixture(ROOT / "catalogs/openlam-2024q0/openlam-2024q0-18.yaml")
    counts = published_counts(mixture, catalog.cards)
    rows = [(row.weight, counts[row.dataset][0]) for row in mixture.heads if row.task == "energy_force"]
    weights, frames = np.log(np.array(rows, float)).T
    assert len(rows) == 18 and np.polyfit(frames, weights, 1)[0] == pytest.approx(0.499, abs=5e-4)
    assert np.corrcoef(frames, weights)[0, 1] == pytest.approx(0.637, abs=5e-4)


def test_copies_of_the_pool_are_counted(pool: Path) -> None:
    card = my_card("alloy")
    for number in (0, 1):
        shutil.copy(f"bulk-{number}.xyz", f"mine/alloy-{number}.xyz")
    overlap = run(card)["datasets"]["alloy"]["overlap"]
    assert overlap["in_pool"] == {"bulk": 12} and overlap["copies"] == 0


def test_structures_without_labels_join_a_head_that_denoises(pool: Path) -> None:
    card = my_card("grown", functional="null")
    for group in range(4, 8):
        _write_raw(Path(f"mine/grown-{group}.xyz"), "crystals", group, 6)
    row = run(card)["datasets"]["grown"]["proposal"]["row"]
    assert (row["head"], row["task"]) == ("crystals", "denoise") and row["augment"]["noise"]["scale"] == 0.15


def test_nothing_of_the_pool_changes_before_it_is_accepted_and_then_once(pool: Path) -> None:
    text = Path("mixture.yaml").read_text() + "# the end\n"
    Path("mixture.yaml").write_text(text)
    card, before = my_card("alloy"), tree(pool)
    run(card)
    now = tree(pool)
    assert {name: now[name] for name in before} == before
    assert {name.split("/")[0] for name in now.keys() - before.keys()} == {"new"}
    done = accept(Path("new"), quiet=True)
    assert done["datasets"]["alloy"]["new"] and done["mixture"] == "mixture.yaml"
    after = Path("mixture.yaml").read_text()
    assert after.startswith(text.removesuffix("# the end\n")) and after.endswith("# the end\n")
    assert f"+{set(after.splitlines()).difference(text.splitlines()).pop()}\n" in Path("new/mixture.patch").read_text()
    mixture, catalog = open_mixture("mixture.yaml")
    assert mixture.heads[-1].dataset == "alloy" and catalog.files["alloy"] == Path("alloy.yaml")
    assert open_card("alloy.yaml").sources[0].path == "mine/alloy-*.xyz" and Path("alloy.yaml").read_text().startswith("# mine")
    assert open_store("small.zarr")["alloy"].content_hash
    whole = tree(pool)
    assert not accept(Path("new"), quiet=True)["datasets"]["alloy"]["new"]
    assert tree(pool) == whole


def test_a_pool_that_has_changed_is_left_alone(pool: Path) -> None:
    run(my_card("alloy"))
    Path("mixture.yaml").write_text(Path("mixture.yaml").read_text().replace("weight: 2.0", "weight: 3.0"))
    with pytest.raises(ConfigError, match="has changed since"):
        accept(Path("new"), quiet=True)
    assert "alloy" not in list(open_store("small.zarr")) and not Path("alloy.yaml").exists()


def test_a_name_that_the_pool_has_is_refused(pool: Path) -> None:
    with pytest.raises(ConfigError, match="has a dataset bulk already"):
        run("bulk.yaml")


def test_a_card_that_stands_beside_the_pools_is_not_taken_by_itself(pool: Path) -> None:
    card, beside = my_card("alloy"), Path("alloy.yaml")
    beside.write_text(Path(card).read_text().replace("alloy-*", "mine/alloy-*"))
    assert list(run(str(beside))["datasets"]) == ["alloy"]
    with pytest.raises(ConfigError, match="has a dataset alloy already"):
        integrate([card], Path("other"), pool=open_pool(Path("mixture.yaml"), "small.zarr"), model=None, draws=DRAWS, quiet=True)
    accept(Path("new"), quiet=True)
    assert open_mixture("mixture.yaml")[0].heads[-1].dataset == "alloy" and open_store("small.zarr")["alloy"].content_hash


def test_the_mixtures_that_are_written_can_be_trained_on(pool: Path) -> None:
    from lamtrain.data.mixture import open_training_data

    run(my_card("alloy"))
    both = open_training_data("new/mixture.yaml", "small.zarr")
    assert [len(task.train) > 0 for task in both.tasks] == [True] * 4 and both.tasks[-1].spec.dataset == "alloy"
    assert list(open_training_data("new/alone.yaml", "new/store.zarr").heads) == ["bulk"]


def test_without_a_pool_it_is_proposed_alone(pool: Path) -> None:
    result = integrate([my_card("alloy")], Path("new"), pool=None, model=None, draws=DRAWS, quiet=True)
    assert result["datasets"]["alloy"]["proposal"]["row"] == {"head": "alloy", "dataset": "alloy", "task": "energy_force", "weight": 1.0}
    with pytest.raises(ConfigError, match="without a pool"):
        accept(Path("new"), quiet=True)


def test_a_row_goes_behind_the_last_whatever_follows(pool: Path) -> None:
    row = open_mixture("mixture.yaml")[0].heads[0]
    text = "mixture: a\nheads:\n- {head: x, dataset: bulk, task: energy_force}\n\n# of the notes\nnotes: [why]\n"
    added = with_rows(text, [row.model_copy(update={"head": "y"})], where="a.yaml")
    assert added.splitlines()[3].startswith("- {head: y, dataset: bulk") and added.endswith("\n# of the notes\nnotes: [why]\n")
    with pytest.raises(ConfigError, match="one below the other"):
        with_rows("mixture: a\nheads: [{head: x, dataset: bulk, task: energy_force}]\n", [row], where="a.yaml")
