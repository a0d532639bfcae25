"""process.yaml: what it says becomes words of commands, and every mistake has its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamdata.errors import ConfigErrors
from lamtrain.stages.process.kinds import KINDS
from lamtrain.stages.process.plan import command_line
from lamtrain.stages.process.spec import read_process
from lamtrain.stages.process.words import keys_of, parser_of

WRONG = """process: tiny
stages:
  learn:
    kind: train
    config: {mixture: mixture.yaml, store: "${data.store}", steps: 0, wrong: 1}
    devise: cpu
  data:
    kind: ingest
    cards: [bulk.yaml, "${learn.beast}"]
    profile: loss
  t: {kind: test, model: "${lern.best}", store: x, split: all}
  u: {kind: tset}
  v: {kind: test, model: x, store: x, launcher: "srun x", output: a}
  w: {kind: test, model: x}
  x: {kind: test, model: "${learn.best", store: x}
  y: {kind: test, model: x, store: x, quiet: true}
  Z: {kind: test, model: {a: 1}, store: x}
  z: {kind: transfer, model: x, to: x, datasets: [y], curves: 1}
"""
FOUND = {
    "5:37": "stage 'data' is not above this one; put it above",
    "5:61": "`steps` is 0",
    "5:71": "unknown key 'wrong'",
    "6:5": "unknown key 'devise': `lamtrain train` has no such option; did you mean 'device'?",
    "9:24": "a train leaves no 'beast'; did you mean 'best'?",
    "10:5": "'loss' is not one of 'lossless', 'fast'",
    "11:19": "stage 'lern' does not exist; did you mean 'learn'?",
    "11:52": "'all' is not one of 'test', 'validation'",
    "12:7": "no kind of stage 'tset'; did you mean 'test'?",
    "13:39": "has no word {args}",
    "13:59": "`output` is filled in by the process",
    "14:3": "Missing argument 'store'",
    "15:19": "begins a reference that does not end",
    "16:39": "`quiet` is filled in by the process",
    "17:19": "`model` holds keys, expected a value or a list",
    "18:55": "is 1, expected true or false",
}


def test_every_mistake_is_found_at_once_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "process.yaml"
    path.write_text(WRONG)
    with pytest.raises(ConfigErrors) as caught:
        read_process(path)
    lines = {(error.where or "").removeprefix(f"{path}:"): str(error) for error in caught.value.errors}
    for place, words in FOUND.items():
        assert words in lines.get(place, ""), (place, lines)


def test_a_command_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lamtrain.stages.process import kinds

    monkeypatch.setitem(kinds.KINDS, "dance", kinds.Kind(command="lamtrain dance"))
    path = tmp_path / "process.yaml"
    path.write_text("process: tiny\nstages:\n  a: {kind: dance}\n")
    with pytest.raises(ConfigErrors, match="process.yaml:3:7: this lamtrain has no command `dance`; commands: init, train"):
        read_process(path)


def test_keys_become_words_of_the_command(tmp_path: Path) -> None:
    path = tmp_path / "process.yaml"
    path.write_text(
        "process: tiny\nfolder: there\nstages:\n  data: {kind: ingest, cards: [a.yaml, b c.yaml], replace: true, workers: 2}\n"
        "  t: {kind: test, model: x.pt, store: '${data.store}', structures: [a, b], properties: [eos, nve], max-force-rmse: 5}\n"
    )
    data, test = read_process(path).stages
    assert command_line(data) == "lamdata ingest --output there/data/out/store.zarr --workers 2 --replace --json -- a.yaml 'b c.yaml'"
    words = "--output there/t/out --max-force-rmse 5 --properties eos,nve --structures a --structures b --json -- x.pt there/data/out/store.zarr"
    assert command_line(test) == f"lamtrain test {words}" and test.needs == ("data",)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_kind_fills_in_and_reads_are_options_of_its_command(kind: str) -> None:
    how = KINDS[kind]
    known = keys_of(parser_of(how.command), taken={})
    assert {*how.reads, *how.writes, *([how.config.key] if how.config else [])} <= known.keys()
