"""`dp --pt train` with every batch, learning rate and loss kept to the last digit. Runs in DeePMD-kit's interpreter alone.

    $LAM_DEEPMD_PYTHON record_training.py RECORD.npz train input.json --init-model start.pt ...

Its own lcurve.out prints three digits. The run is its own; only `ModelWrapper.forward` is listened to.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("DP_INTERFACE_PREC", "high")
import numpy as np
from deepmd.main import main
from deepmd.pt.train.wrapper import ModelWrapper

steps: list[dict[str, np.ndarray]] = []
forward = ModelWrapper.forward


def listen(self, **arguments):
    """Keep what a training step saw and gave; `label` is there in training steps only."""
    result = forward(self, **arguments)
    if self.training and arguments.get("label"):
        label, loss = arguments["label"], result[1]
        step = {"coord": arguments["coord"], "atype": arguments["atype"], "box": arguments["box"], "loss": loss}
        step |= {key: label[key] for key in ("energy", "force", "virial")}
        steps.append({key: value.detach().numpy().copy() for key, value in step.items()} | {"rate": np.array(float(arguments["cur_lr"]))})
    return result


if __name__ == "__main__":
    ModelWrapper.forward = listen
    main(["--pt", *sys.argv[2:]])
    np.savez(sys.argv[1], **{f"{key}/{i}": value for i, step in enumerate(steps) for key, value in step.items()})
