"""The `lamdata` command: parses, calls, prints; no logic. Heavy libraries are imported inside the commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .command import local_path, make_app, print_json, run_app, show_version, table
from .completion import datasets, expressions, others
from .errors import ConfigError, DataError, need
from .share import add_commands

if TYPE_CHECKING:
    from .catalog import Card

app = make_app("Turn raw quantum-chemistry outputs and relaxed structures into a store that trainers stream.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")]
StoreUrl = Annotated[str, typer.Argument(help="Folder or URL of a store.")]
Split = Annotated[Literal["train", "validation", "test"] | None, typer.Option(help="Only frames of this split.")]
Elements = Annotated[str | None, typer.Option(help="Only frames made of these elements, as Li,O.")]
Natoms = Annotated[tuple[int, int] | None, typer.Option(help="Only frames of these numbers of atoms, smallest and largest.")]
Where = Annotated[
    str | None,
    typer.Option(
        metavar="EXPRESSION",
        help="Only frames of which this is true, as 'natoms <= 64 and has(Li)' (docs/selection.md).",
        autocompletion=expressions,
    ),
]
MaxForce = Annotated[float | None, typer.Option(min=0, help="Only frames whose forces are known and none larger, eV/Å.")]


@app.callback()
def main_options(
    version: Annotated[bool, typer.Option("--version", callback=show_version("lamdata"), is_eager=True, help="Print the version.")] = False,
) -> None:
    """Turn raw quantum-chemistry outputs and relaxed structures into a store that trainers stream."""


@app.command(rich_help_panel="Start", epilog="Example: lamdata init demo --from frames.xyz")
def init(
    folder: Annotated[Path, typer.Argument(help="Folder for the new catalog.", callback=local_path)],
    from_: Annotated[list[Path] | None, typer.Option("--from", help="Raw file to guess a card from (repeat for more).")] = None,
    json: Json = False,
) -> None:
    """Write an example catalog: a card and a mixture to edit. Guesses are marked and must be confirmed."""
    from .ingestion.example import write_example

    written = write_example(folder, from_files=from_ or [])
    if json:
        print_json({"written": [str(path) for path in written.files], "notes": written.notes})
    else:
        print("\n".join([*(f"wrote {path}" for path in written.files), *written.notes]))


@app.command(rich_help_panel="Start", epilog="Example: lamdata check catalogs/")
def check(path: Annotated[Path, typer.Argument(help="Catalog file or folder.")], json: Json = False) -> None:
    """Check cards and mixtures: keys, ranges, units, source files, theories that share a head."""
    from .catalog import open_catalog
    from .ingestion.preflight import missing_sources

    catalog = open_catalog(path)
    for name, count in missing_sources(catalog).items():
        print(f"note: {count} sources lie below ${name}, which is not set: they were not looked at", file=sys.stderr)
    if not catalog.cards and not catalog.mixtures:
        raise ConfigError("no card and no mixture here", where=str(path), hint="`lamdata init FOLDER` writes a first one")
    summary = {"cards": sorted(catalog.cards), "mixtures": sorted(catalog.mixtures)}
    print_json(summary) if json else print(f"no errors; cards: {len(catalog.cards)}, mixtures: {len(catalog.mixtures)}")


Output = Annotated[str, typer.Option("--output", "-o", help="Folder or URL of the store.")]
Profile = Annotated[Literal["lossless", "fast"], typer.Option(help="Keep every bit, or float32.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes on this machine.")]
Scheduler = Annotated[str | None, typer.Option(help="Dask scheduler, as tcp://host:8786.")]
OnError = Annotated[Literal["stop", "skip"], typer.Option(help="What an unreadable file does.")]


@app.command(rich_help_panel="Data", epilog="Example: lamdata ingest catalogs/quickstart/qe-pbe.yaml -o stores/quickstart.zarr")
def ingest(
    cards: Annotated[list[Path], typer.Argument(help="Card files.")],
    output: Output,
    profile: Profile = "lossless",
    workers: Workers = 1,
    scheduler: Scheduler = None,
    on_error: OnError = "stop",
    replace: Annotated[bool, typer.Option("--replace", help="Other frames under the name of a dataset take its place.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the source files and stop.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read raw files into a store; goes on where a killed run stopped, and does nothing twice."""
    from .sources import expand

    opened = _open_cards(cards)
    if dry_run:
        files = [file.name for path, card in opened for spec in card.sources for file in expand(spec, base=path.parent)]
        print_json({"files": files}) if json else print("\n".join(files))
        return
    _ingest(opened, output, json, profile=profile, workers=workers, scheduler=scheduler, on_error=on_error, replace=replace, quiet=quiet)


@app.command(rich_help_panel="Data", epilog="Example: lamdata replace catalogs/quickstart/qe-pbe.yaml -o stores/quickstart.zarr")
def replace(
    cards: Annotated[list[Path], typer.Argument(help="Card files.")],
    output: Output,
    profile: Profile = "lossless",
    workers: Workers = 1,
    scheduler: Scheduler = None,
    on_error: OnError = "stop",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read raw files into the place of what a dataset of a store has; older commits still open with that, and its bytes stay until `lamdata gc`."""
    from .store import open_store

    opened, store = _open_cards(cards), open_store(output)
    for path, card in opened:
        if card.dataset not in list(store):
            raise ConfigError(f"{output} has no dataset {card.dataset}", where=str(path), hint=f"`lamdata ingest {path} -o {output}`")
    _ingest(opened, output, json, profile=profile, workers=workers, scheduler=scheduler, on_error=on_error, replace=True, quiet=quiet)


def _open_cards(cards: list[Path]) -> list[tuple[Path, Card]]:
    """Cards of different datasets."""
    from .catalog import open_card

    opened = [(path, open_card(path)) for path in cards]
    for i, (path, card) in enumerate(opened):
        if twin := next((other for other, before in opened[:i] if before.dataset == card.dataset), None):
            raise ConfigError(
                f"dataset {card.dataset} is also that of {twin}", where=str(path), hint="give each card a `dataset:` of its own"
            )
    return opened


def _ingest(opened: list[tuple[Path, Card]], output: str, json: bool, **options: Any) -> None:
    """One card after the other, each with its report."""
    from .ingestion import ingest as run
    from .listing import print_report

    reports = []
    for path, card in opened:
        reports.append(run(card, output, base=path.parent, **options))
        if not json:
            print_report(reports[-1])
    if json:
        print_json([{name: getattr(report, name) for name in report.__slots__} for report in reports])


@app.command("ls", rich_help_panel="Data", epilog="Example: lamdata ls catalogs/ --elements Li,O")
def list_(
    place: Annotated[str, typer.Argument(help="Store, or catalog folder.")] = "catalogs",
    elements: Annotated[str | None, typer.Option(help="Only datasets with these elements, as Li,O.")] = None,
    functional: Annotated[str | None, typer.Option(help="Only datasets of this functional.")] = None,
    license_: Annotated[str | None, typer.Option("--license", help="Only datasets whose licence contains this.")] = None,
    json: Json = False,
) -> None:
    """List datasets of a store or catalog: frames, atoms, theory, licence, and what is not known."""
    from .listing import list_datasets

    rows = list_datasets(place, elements=elements.split(",") if elements else None, functional=functional, license=license_)
    if json:
        print_json(rows)
        return
    if not rows:
        asked = elements or functional or license_
        print(f"{place}: no dataset{' has what was asked for; without options `lamdata ls` lists all' if asked else ''}")
        return
    columns = ["dataset", "frames", "train", "validation", "test", "atoms", "elements", "theory", "license", "unknown"]
    shown = [row | ({"dataset": f"{row['dataset']} (view of {row['view_of']})"} if "view_of" in row else {}) for row in rows]
    table(str(place), columns, [[row[c] for c in columns] for row in shown])


@app.command(rich_help_panel="Data", epilog="Example: lamdata show stores/quickstart.zarr --frames 3")
def show(
    store: StoreUrl,
    dataset: Annotated[str | None, typer.Argument(help="One dataset of it.", autocompletion=datasets)] = None,
    frames: Annotated[int, typer.Option(min=0, help="Frames to print.")] = 0,
    commit: Annotated[int | None, typer.Option(min=0, help="An older commit, by its number.")] = None,
    json: Json = False,
) -> None:
    """Show what a store holds: sizes, ranges of labels, reference energies, where its frames come from."""
    from .listing import describe, print_description

    description = describe(store, dataset, frames=frames, commit=commit)
    print_json(description) if json else print_description(description)


@app.command(rich_help_panel="Data", epilog="Example: lamdata card stores/quickstart.zarr -o card.html")
def card(
    store: StoreUrl,
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.", callback=local_path)],
    dataset: Annotated[str | None, typer.Argument(help="One dataset, or view, of it; all datasets without.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a page that shows a store or a dataset in a browser, without a network: provenance, theory, counts, refused frames, histograms, structures.

    Of a large store it reads the statistics of its commit and a bounded sample of frames, and says so. `lamdata show` is the same in a terminal.
    """
    need("plotly", extra="cards")
    from .card import content_of, dataset_page, write_page

    content = content_of(store, dataset, quiet=quiet)
    size = write_page(dataset_page(content), output)
    if json:
        print_json({"written": str(output), "bytes": size, **content})
    else:
        frames = sum(part["frames"] for data in content["datasets"].values() for part in data["splits"].values())
        print(f"{output}: {len(content['datasets']):,} datasets, {frames:,} frames, {size / 1e6:.3g} MB")


@app.command(rich_help_panel="Data", epilog="Example: lamdata validate stores/quickstart.zarr")
def validate(
    store: StoreUrl,
    repair: Annotated[bool, typer.Option("--repair", help="Write what is damaged again, from the raw files.")] = False,
    catalog: Annotated[Path, typer.Option(help="Where the cards are that it was ingested with.")] = Path("catalogs"),
    workers: Annotated[int, typer.Option(min=1, help="Processes that repair.")] = 1,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read and hash everything again; name each damaged chunk and the frames in it, or write it again. Stopped, the same command goes on, within a day."""
    from .validation import repair as mend
    from .validation import validate as run

    report = run(store, quiet=quiet)
    if repair and not report.ok:
        report = mend(report, catalog, workers=workers, quiet=quiet)
    if not json:
        print(report.text())
    if not report.ok:
        hint = f"run `lamdata validate {store} --repair --catalog FOLDER`"
        raise DataError(f"{len(report.findings)} findings", where=store, hint=hint, result=report.to_json())
    if json:
        print_json(report.to_json())


@app.command(rich_help_panel="Data", epilog="Example: lamdata overlap stores/quickstart.zarr qe-pbe stores/benchmark.zarr")
def overlap(
    store: StoreUrl,
    dataset: Annotated[str | None, typer.Argument(help="One dataset of it; all of them without.", autocompletion=datasets)] = None,
    other: Annotated[str | None, typer.Argument(help="Another dataset of it, or another store.", autocompletion=others)] = None,
    tolerance: Annotated[float, typer.Option(help="Root mean square displacement in Angstrom up to which two frames are copies.")] = 5e-4,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find frames that hold one structure: inside datasets and between them, training copies of held-out frames, energies that disagree."""
    from .overlap import overlap as run

    report = run(store, dataset, other, tolerance=tolerance, quiet=quiet)
    print_json(report.to_json()) if json else print(report.text())


@app.command(rich_help_panel="Data", epilog="Example: lamdata select stores/quickstart.zarr qe-pbe --natoms 1 8 --name small")
def select(
    store: StoreUrl,
    dataset: Annotated[str, typer.Argument(help="Dataset, or view, of it.", autocompletion=datasets)],
    name: Annotated[str, typer.Option(help="Name of the view.")],
    split: Split = None,
    elements: Elements = None,
    natoms: Natoms = None,
    max_force: MaxForce = None,
    where: Where = None,
    from_list: Annotated[
        Path | None, typer.Option(help="Only what a file lists, a line each: file#index of a frame, a file, a group.")
    ] = None,
    by: Annotated[
        Path | None, typer.Option(help="Of these the --count frames most worth labelling, by the table that `lamtrain cover` leaves.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="How many frames, with --by.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides ties, and which frames are looked at where there are very many.")] = 0,
    json: Json = False,
) -> None:
    """Give some frames of a dataset a name, under which they open, are shown, trained on and exported like a dataset; nothing is copied."""
    from .store import Worth
    from .store import select as run

    if (by is None) != (count is None):
        missing, given = ("--by", "--count") if by is None else ("--count", "--by")
        raise ConfigError(f"goes with {missing}", where=given, hint="--by cover.frames.csv --count 50")
    worth = None if by is None or count is None else Worth(table=by, count=count, seed=seed)
    listed = None if from_list is None else read_list(from_list)
    wanted = elements.split(",") if elements else None
    filters: dict[str, Any] = {"split": split, "elements": wanted, "natoms": natoms, "max_force": max_force, "where": where}
    view = run(store, dataset, name=name, listed=listed, worth=worth, **filters)
    if json:
        print_json({"store": store, "view": name, **view.to_index()})
    else:
        print(f"{name}: {view.to_index()['frames']:,} of {len(view.kept):,} frames of {view.of}")


def read_list(path: Path) -> list[str]:
    """Lines of a file, but for empty ones and those that start with #."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip() and not line.startswith("#")]
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(
            getattr(err, "strerror", None) or "not a text", where=str(path), hint="name a list of frames, one a line"
        ) from None
    if not lines:
        raise ConfigError("lists nothing", where=str(path), hint="a line is a frame (file#index), a file or a group")
    return lines


@app.command(rich_help_panel="Data", epilog="Example: lamdata export stores/quickstart.zarr qe-pbe -o qe-pbe.extxyz --split train")
def export(
    store: StoreUrl,
    dataset: Annotated[str, typer.Argument(help="One dataset of it.", autocompletion=datasets)],
    output: Annotated[Path, typer.Option("--output", "-o", help="File, or folder, that is not there yet.", callback=local_path)],
    format_: Annotated[
        str | None,
        typer.Option("--format", help="extxyz, ase-db, ase-lmdb, deepmd/npy, deepmd/npy/mixed, deepmd/lmdb, nvalchemi/zarr or parquet."),
    ] = None,
    split: Split = None,
    elements: Elements = None,
    natoms: Natoms = None,
    max_force: MaxForce = None,
    where: Where = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a dataset or a view to files that other programs read, with every label, group and origin, in eV and Angstrom."""
    from .exporting import export as run

    wanted = elements.split(",") if elements else None
    chosen: dict[str, Any] = {"split": split, "elements": wanted, "natoms": natoms, "max_force": max_force, "where": where}
    report = run(store, dataset, output, format=format_, quiet=quiet, **chosen)
    if json:
        print_json(report.to_json())
    else:
        print(
            "\n".join(
                [
                    f"{report.path}: {report.frames:,} frames of {dataset} as {report.format}",
                    *(f"left out: {said}" for said in report.left_out),
                ]
            )
        )


@app.command("rm", rich_help_panel="Store", epilog="Example: lamdata rm stores/quickstart.zarr qe-pbe")
def remove(
    store: StoreUrl,
    dataset: Annotated[str, typer.Argument(help="One dataset, or view, of it.", autocompletion=datasets)],
    json: Json = False,
) -> None:
    """Take a dataset or a view out of the newest commit of a store; older commits still open with it, and its bytes stay until `lamdata gc`."""
    from .store import remove as run

    number = run(store, dataset)
    if json:
        print_json({"store": store, "dataset": dataset, "commit": number})
    else:
        print(f"removed {dataset} in commit {number} of {store}; its bytes stay until `lamdata gc {store} --keep 1`")


@app.command("gc", rich_help_panel="Store", epilog="Example: lamdata gc stores/quickstart.zarr --dry-run")
def collect_garbage(
    store: StoreUrl,
    keep: Annotated[int, typer.Option(min=1, help="Newest commits whose data stay; those before can no longer be opened.")] = 8,
    grace: Annotated[
        float, typer.Option(min=0, help="Hours for which unnamed data stay after the last write: somebody may be at it.")
    ] = 24,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would free and stop.")] = False,
    json: Json = False,
) -> None:
    """Delete data that no kept commit names: of datasets removed or replaced, and of writers that never came back."""
    from .store import gc as run

    report = run(store, keep=keep, grace=3600 * grace, dry_run=dry_run)
    print_json(report.to_json()) if json else print(report.text())


@app.command(rich_help_panel="Start", epilog="Example: lamdata schema card > card.schema.json")
def schema(
    kind: Annotated[Literal["card", "mixture"], typer.Argument(help="Which file.")] = "card",
    json: Annotated[bool, typer.Option("--json", help="As without: a schema is a JSON document.")] = False,
) -> None:
    """Print the JSON schema of cards or mixtures, for editors."""
    from .catalog import Card, Mixture

    print_json((Card if kind == "card" else Mixture).model_json_schema())


add_commands(app)


def main() -> None:
    """Entry point of `lamdata`."""
    run_app(app)


if __name__ == "__main__":
    main()
