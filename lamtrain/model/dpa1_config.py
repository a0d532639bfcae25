"""The options of DPA-1's descriptor without attention (`se_atten`), under DeePMD-kit's own names."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from .options import Activation, Count, Length, NeighborList, Options, Precision, no_wider, switch_below


class TableConfig(Options):
    """The table of a compressed model; written by `lamtrain compress`, and by nobody else."""

    start: float
    """Argument of the first node: the radial column of the environment matrix."""
    step: Annotated[float, Field(gt=0.0)]
    """From one node to the next."""
    intervals: Annotated[int, Field(ge=1, le=1 << 20)]
    """Intervals between nodes; beyond the last node the table goes on in a line."""


class Dpa1Config(Options):
    """DPA-1's descriptor: type embedding and one block of environment and embedding net, as repinit is."""

    type: Literal["dpa1"]
    """DeePMD-kit's name of the descriptor."""
    rcut: Length = 6.0
    """Cutoff radius, Å."""
    rcut_smth: Annotated[float, Field(ge=0.0, le=50.0)] = 0.5
    """Where the switch starts to fall from 1, Å; below `rcut`."""
    sel: Count
    """Neighbours kept, the nearest first; of a list, its sum. Also a divisor of the sums, so it is part of the function and not only a limit."""
    neuron: list[Count] = [10, 20, 40]
    """Widths of the embedding net; a layer as wide as, or twice as wide as, its input gets a skip."""
    axis_neuron: Count = 4
    """How many columns of the embedding matrix make the second factor of the invariant."""
    tebd_dim: Count = 8
    """Width of the type embedding."""
    tebd_input_mode: Literal["concat", "strip"] = "concat"
    """How types enter: beside the distance in one net, or by a net of their own that scales the first."""
    attn_layer: Annotated[int, Field(ge=0)] = 0
    """Attention layers. Only 0 is supported."""
    resnet_dt: bool = False
    """Put a learned step on each skip of the embedding nets."""
    set_davg_zero: bool = True
    """Keep the mean of the environment matrix at zero."""
    activation_function: Activation = "tanh"
    """Activation of the embedding nets."""
    type_one_side: bool = False
    """Let only the neighbour's type enter the embedding net."""
    concat_output_tebd: bool = True
    """Append the type embedding to the descriptor."""
    precision: Precision = "default"
    """Floating point type of the parameters; `default` is float64."""
    smooth_type_embedding: bool = False
    """Let the types' factor of `strip` fade out at the cutoff, which forces need where `set_davg_zero` is off."""
    exclude_types: list[tuple[int, int]] = []
    """Pairs of types, by index, that do not see each other."""
    env_protection: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Added to distances before they divide, Å."""
    trainable: bool = True
    """Train the descriptor."""
    seed: int | None = None
    """Seed of the first weights; null takes them from torch's global generator."""
    use_econf_tebd: bool = False
    """Embed each element's electron configuration instead of its index."""
    use_tebd_bias: bool = False
    """Put a bias on the type embedding."""
    table: TableConfig | None = None
    """The embedding nets of distances are a table (`lamtrain compress`); null in a model that is trained."""

    @field_validator("sel", mode="before")
    @classmethod
    def _sum_a_list(cls, sel: Any) -> Any:
        """Types share one list here as in the reference, where a list of numbers by type counts by its sum."""
        return sum(sel) if isinstance(sel, list) and all(isinstance(one, int) for one in sel) else sel

    @field_validator("attn_layer")
    @classmethod
    def _no_attention(cls, layers: int) -> int:
        if layers:
            raise ValueError(f"{layers} attention layers are not supported, only 0")
        return layers

    @model_validator(mode="after")
    def _check(self) -> Self:
        switch_below("rcut_smth", self.rcut_smth, "rcut", self.rcut)
        no_wider("axis_neuron", self.axis_neuron, "the last of `neuron`", self.neuron[-1])
        return self

    @property
    def nsel(self) -> int:
        """`sel` under the name that the block has in DPA-2."""
        return self.sel

    @property
    def lists(self) -> dict[str, NeighborList]:
        """Its neighbour list, by the name of the block that reads it."""
        return {"se_atten": NeighborList(self.rcut, self.sel, self.rcut_smth, self.set_davg_zero)}

    @property
    def dim_pair(self) -> int:
        """There is no pair channel."""
        return 0

    @property
    def dim_tebd(self) -> int:
        """Width of the type embedding."""
        return self.tebd_dim

    @property
    def dim_out(self) -> int:
        """Width of the descriptor of an atom."""
        return self.neuron[-1] * self.axis_neuron + (self.tebd_dim if self.concat_output_tebd else 0)


STUDENT: dict[str, Any] = {
    "type": "dpa1", "rcut": 6.0, "rcut_smth": 0.5, "sel": 120, "neuron": [8, 16, 32], "axis_neuron": 4, "tebd_dim": 8,
    "tebd_input_mode": "strip", "smooth_type_embedding": True,
}  # fmt: skip
