"""`export` where DeePMD-kit is installed: it must compare with DeePMD-kit itself, and refuse a file that DeePMD-kit warns of.

PYTHONPATH=. $LAM_DEEPMD_PYTHON export_there.py FOLDER        # prints one line for each deviation, then what was refused
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("DP_INTERFACE_PREC", "high")
import numpy as np
import torch

from lamdata.errors import DataError
from lamdata.frame import Frame
from lamdata.frames import Frames
from lamtrain.deepmd import checkpoint, export
from lamtrain.model.config import ModelConfig
from lamtrain.model.lam import LamModel


def main() -> None:
    folder, rng = Path(sys.argv[1]), np.random.default_rng(1)
    numbers = np.array([8, 1, 1, 26, 8, 1], np.uint8)
    frames = [Frame(numbers=numbers, positions=rng.uniform(0, 5, (6, 3)), cell=np.eye(3) * 5.0, pbc=(True,) * 3) for _ in range(2)]
    frames.append(Frame(numbers=numbers, positions=rng.uniform(0, 5, (6, 3))))
    for precision in ("float64", "float32"):
        torch.manual_seed(1)
        options = ModelConfig.tiny(["O", "H", "Fe"], {"water": "energy_force", "metal": "energy_force"}).model_dump()
        options["descriptor"]["precision"] = options["fitting"]["precision"] = precision
        model = LamModel(ModelConfig(**options))
        for deviation in export(model, Frames.from_list(frames), folder / f"{precision}.pt"):
            print(precision, deviation.head, deviation.reader, f"{deviation.largest:.3e}")
    whole = checkpoint.with_twins
    checkpoint.with_twins = lambda tensors: {name: value for name, value in whole(tensors).items() if "_networks" not in name}
    try:
        export(model, Frames.from_list(frames), folder / "bad.pt")
    except DataError as err:
        print("refused:", err, (folder / "bad.pt").exists())


if __name__ == "__main__":
    main()
