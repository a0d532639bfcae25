"""Show that a change kept every bit: two commits in, the digests of what each makes of the quickstart side by side out.

python benchmarks/same_bits.py COMMIT [OTHER] [--parity]

OTHER is the working tree where it is left out. Both are run by this interpreter, on one thread, each with its own catalog:
the store after ingest of the quickstart's three cards, 200 batches of a mixed stream with every augmentation, and all weights after 20
steps of training in float64 with plain kernels. `--parity` adds what the live comparison with DeePMD-kit prints (LAM_DEEPMD_PYTHON names
its interpreter, as in tests/parity/README.md), of DPA-2 with plain kernels: what both commits can do. Ends with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CARDS = ("qe-pbe", "cp2k-pade", "aflow-prototypes")
STORE = "stores/quickstart.zarr"
BATCHES, BATCH_FRAMES = 200, 12
STEPS = 20
AUGMENT = {
    "supercell": {"max_atoms": 32},
    "rotate": True,
    "noise": {"kind": "truncated", "scale": 0.2, "probability": 0.3, "min_distance": 0.8},
    "mask": {"probability": 0.15},
}
FIELDS = (
    "numbers positions natoms cell pbc energy forces virial has_energy has_forces has_virial charge multiplicity shortest head dataset index epoch "
    "noise noised clean_numbers"
).split()


def main() -> None:
    """Measure both sides and compare them."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("commit", help="what was")
    options.add_argument("other", nargs="?", help="what is; the working tree where it is left out")
    options.add_argument("--parity", action="store_true", help="also compare with DeePMD-kit, live")
    options.add_argument("--of", type=Path, help=argparse.SUPPRESS)  # one side, in a process of its own: the tree
    chosen = options.parse_args()
    if chosen.of:
        print(json.dumps(digests(chosen.of)))
        return
    if chosen.parity and "LAM_DEEPMD_PYTHON" not in os.environ:
        sys.exit("--parity needs LAM_DEEPMD_PYTHON: see tests/parity/README.md")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a commit that was checked out is taken away again
    sides = [measure(commit, parity=chosen.parity) for commit in (chosen.commit, chosen.other)]
    names = [chosen.commit, chosen.other or "working tree"]
    print(f"{'':36} {names[0]:34} {names[1]:34}")
    different = 0
    for key in dict.fromkeys([*sides[0], *sides[1]]):
        one, two = (str(side.get(key, "-")) for side in sides)
        different += one != two
        print(f"{key:36} {one[:32]:34} {two[:32]:34} {'same' if one == two else 'DIFFERS'}")
    sys.exit(1 if different else 0)


def measure(commit: str | None, *, parity: bool) -> dict[str, str]:
    """The digests of one side, by name."""
    with checked_out(commit) as tree, tempfile.TemporaryDirectory() as work:
        environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "TORCH_EXTENSIONS_DIR": f"{work}/extensions"}
        args = [sys.executable, str(Path(__file__).resolve()), "-", "--of", str(tree)]
        found: dict[str, str] = json.loads(
            subprocess.run(args, cwd=work, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
        )
        return found | (parity_numbers(tree, environment) if parity else {})


@contextmanager
def checked_out(commit: str | None) -> Iterator[Path]:
    """A commit as a folder of its own for a while; the working tree as it is."""
    if commit is None:
        yield ROOT
        return
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def digests(tree: Path) -> dict[str, str]:
    """What the packages on the path make of the catalog of `tree`, in the folder that we are in."""
    import lamdata

    assert Path(lamdata.__file__).is_relative_to(tree), f"lamdata comes from {lamdata.__file__}"
    cards = tree / "catalogs/quickstart"
    run("lamdata", "ingest", *(str(cards / f"{name}.yaml") for name in CARDS), "-o", STORE, "--quiet")
    settings = [f"store={STORE}", f"steps={STEPS}", "precision=float64", "kernels=plain"]
    settings += [f"validation.every={STEPS}", f"checkpoint_every={STEPS}", f"log_every={STEPS}"]
    changes = [word for setting in settings for word in ("--set", setting)]
    run("lamtrain", "train", str(cards / "train.yaml"), "--runs", "runs", "--device", "cpu", "--quiet", *changes)
    return {
        **{f"store, {name}": digest_of_files(Path(STORE, name)) for name in CARDS},
        "store, all objects": digest_of_files(Path(STORE)),
        f"stream, {BATCHES} batches": digest_of_stream(),
        f"weights after {STEPS} steps": digest_of_weights(Path("runs/quickstart/last.pt")),
    }


def run(command: str, *args: str) -> None:
    """Run a command of ours as a process; what it says goes to stderr."""
    subprocess.run([sys.executable, "-c", f"from {command}.cli import main; main()", *args], check=True, stdout=sys.stderr)


def digest_of_files(folder: Path) -> str:
    """Of the names and the contents of all files below a folder."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def digest_of_stream() -> str:
    """Of every array of the first batches of all three datasets, mixed and augmented."""
    from lamdata import AugmentSpec, Stream, StreamHead, open_store
    from lamdata.augment import augment

    put_on = partial(augment, spec=AugmentSpec.model_validate(AUGMENT), seed=7)
    store = open_store(STORE)
    heads = [
        StreamHead(name=name, dataset=store.open(name, split="train"), weight=1.0 + i, augment=put_on if i else None)
        for i, name in enumerate(CARDS)
    ]
    total = hashlib.sha256()
    with Stream(heads, seed=5, batch_frames=BATCH_FRAMES) as stream:
        for _, frames in zip(range(BATCHES), stream):
            for name in FIELDS:
                value = getattr(frames, name)
                total.update(f"{name} {None if value is None else (value.dtype.str, value.shape)}\n".encode())
                total.update(b"" if value is None else value.tobytes())
    return total.hexdigest()


def digest_of_weights(checkpoint: Path) -> str:
    """Of every tensor of a checkpoint's model, by name."""
    import torch

    total = hashlib.sha256()
    for name, value in sorted(torch.load(checkpoint, weights_only=True)["model"].items()):
        total.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.contiguous().numpy().tobytes())
    return total.hexdigest()


def parity_numbers(tree: Path, environment: dict[str, str]) -> dict[str, str]:
    """What the live tests print: a name and the numbers beside it."""
    args = [sys.executable, "-m", "pytest", "-q", "-s", "-m", "deepmd", "-k", "not cpp and not dpa1", "tests/parity"]
    done = subprocess.run(args, cwd=tree, env=environment, stdout=subprocess.PIPE, text=True)
    print(done.stdout, file=sys.stderr)
    lines = [line.lstrip(".") for line in done.stdout.splitlines() if re.search(r"\de-\d", line)]
    found = {f"parity {i}: {line[:24]}": " ".join(re.findall(r"\d[\d.]*e-\d+", line)) for i, line in enumerate(lines, start=1)}
    return found | {"parity, exit code": str(done.returncode)}


if __name__ == "__main__":
    main()
