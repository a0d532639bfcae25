"""The options of DPA-2's descriptor, under DeePMD-kit's own names."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from .options import Activation, Count, Length, NeighborList, Options, Precision, no_wider, ordered, switch_below


class RepinitConfig(Options):
    """The first block: a wide, cheap environment that gives each atom its starting vector."""

    rcut: Length
    """Cutoff radius, Å."""
    rcut_smth: Annotated[float, Field(ge=0.0, le=50.0)]
    """Where the switch starts to fall from 1, Å; below `rcut`."""
    nsel: Count
    """Neighbours kept, the nearest first. Also a divisor of the sums, so it is part of the function and not only a limit."""
    neuron: list[Count] = [25, 50, 100]
    """Widths of the embedding net; a layer as wide as, or twice as wide as, its input gets a skip."""
    axis_neuron: Count = 16
    """How many columns of the embedding matrix make the second factor of the invariant."""
    tebd_dim: Count = 8
    """Width of the type embedding."""
    tebd_input_mode: Literal["concat", "strip"] = "concat"
    """How types enter: beside the distance in one net, or by a net of their own that scales the first."""
    set_davg_zero: bool = True
    """Keep the mean of the environment matrix at zero."""
    activation_function: Activation = "tanh"
    """Activation of the embedding nets."""
    resnet_dt: bool = False
    """Put a learned step on each skip of the embedding nets."""
    type_one_side: bool = False
    """Let only the neighbour's type enter the embedding net."""
    use_three_body: bool = False
    """Append a three-body block."""
    three_body_neuron: list[Count] = [2, 4, 8]
    """Widths of the three-body embedding net."""
    three_body_rcut: Length = 4.0
    """Cutoff of the three-body block, Å."""
    three_body_rcut_smth: Annotated[float, Field(ge=0.0, le=50.0)] = 0.5
    """Where its switch starts, Å."""
    three_body_sel: Count = 40
    """Neighbours kept in the three-body block."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        switch_below("rcut_smth", self.rcut_smth, "rcut", self.rcut)
        switch_below("three_body_rcut_smth", self.three_body_rcut_smth, "three_body_rcut", self.three_body_rcut)
        no_wider("axis_neuron", self.axis_neuron, "the last of `neuron`", self.neuron[-1])
        return self


class RepformerConfig(Options):
    """The second block: layers that pass messages between an atom channel (g1) and a pair channel (g2, h2)."""

    rcut: Length
    """Cutoff radius, Å; below that of repinit."""
    rcut_smth: Annotated[float, Field(ge=0.0, le=50.0)]
    """Where the switch starts, Å."""
    nsel: Count
    """Neighbours kept, the nearest first; part of the function, as in repinit."""
    nlayers: Annotated[int, Field(ge=1, le=64)] = 3
    """Layers; the last updates the atom channel only."""
    g1_dim: Count = 128
    """Width of the atom channel."""
    g2_dim: Count = 16
    """Width of the pair channel."""
    axis_neuron: Count = 4
    """Columns of the second factor in the symmetrised terms."""
    direct_dist: bool = False
    """Start the pair channel from r / rcut and the plain edge vector instead of the switched environment."""
    update_g1_has_conv: bool = True
    """g1 gets a convolution over neighbours."""
    update_g1_has_drrd: bool = True
    """g1 gets the symmetrised product of neighbours' g1."""
    update_g1_has_grrg: bool = True
    """g1 gets the symmetrised product of g2."""
    update_g1_has_attn: bool = True
    """g1 gets attention over neighbours."""
    update_g2_has_g1g1: bool = True
    """g2 gets the product of both atoms' g1."""
    update_g2_has_attn: bool = True
    """g2 gets gated attention over the other edges of its centre."""
    use_sqrt_nnei: bool = True
    """Divide symmetrised sums by sqrt(nsel) instead of nsel."""
    g1_out_conv: bool = True
    """Add the convolution to g1 by itself instead of feeding it to the linear layer."""
    g1_out_mlp: bool = True
    """Give g1 a layer of its own instead of feeding it to the linear layer."""
    update_h2: bool = False
    """Update the equivariant pair channel as well."""
    attn1_hidden: Count = 64
    """Width of the query of g1's attention."""
    attn1_nhead: Count = 4
    """Heads of g1's attention."""
    attn2_hidden: Count = 16
    """Width of the query of g2's attention."""
    attn2_nhead: Count = 4
    """Heads of g2's attention."""
    attn2_has_gate: bool = False
    """Multiply g2's attention logits by the angle between the edges."""
    activation_function: Activation = "tanh"
    """Activation of the layers."""
    update_style: Literal["res_avg", "res_incr", "res_residual"] = "res_avg"
    """How updates are added: scaled sum, scaled increments, or with learned vectors."""
    update_residual: Annotated[float, Field(ge=0.0, le=100.0)] = 0.001
    """Scale that learned residual vectors start at."""
    update_residual_init: Literal["norm", "const"] = "norm"
    """Start residual vectors from a normal distribution of that width, or from that constant."""
    set_davg_zero: bool = True
    """Keep the mean of the environment matrix at zero."""
    trainable_ln: bool = True
    """Train the scale and shift of the layer norms."""
    ln_eps: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Added to the variance in the layer norms; null is 1e-5."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        switch_below("rcut_smth", self.rcut_smth, "rcut", self.rcut)
        if self.update_g1_has_grrg:
            no_wider("axis_neuron", self.axis_neuron, "`g2_dim`", self.g2_dim)
        if self.update_g1_has_drrd:
            no_wider("axis_neuron", self.axis_neuron, "`g1_dim`", self.g1_dim)
        if self.linear1_dim == 0:
            raise ValueError(
                "the linear layer of g1 has no input: switch on one of update_g1_has_grrg, update_g1_has_drrd, or g1_out_mlp off"
            )
        return self

    @property
    def linear1_dim(self) -> int:
        """Width of what the linear layer of g1 reads: [g1, conv, grrg, drrd], as far as they are on."""
        own = 0 if self.g1_out_mlp else self.g1_dim
        conv = self.g2_dim if self.update_g1_has_conv and not self.g1_out_conv else 0
        grrg = self.axis_neuron * self.g2_dim * self.update_g1_has_grrg
        return own + conv + grrg + self.axis_neuron * self.g1_dim * self.update_g1_has_drrd


class Dpa2Config(Options):
    """DPA-2's descriptor: type embedding, repinit, repformer."""

    type: Literal["dpa2"] = "dpa2"
    """DeePMD-kit's name of the descriptor."""
    repinit: RepinitConfig
    """The first block."""
    repformer: RepformerConfig
    """The second block."""
    concat_output_tebd: bool = True
    """Append the type embedding to the descriptor."""
    precision: Precision = "default"
    """Floating point type of the parameters; `default` is float64."""
    smooth: bool = True
    """Let every neighbour fade out at the cutoff; off, sums are divided by true counts and are not continuous there."""
    exclude_types: list[tuple[int, int]] = []
    """Pairs of types, by index, that do not see each other."""
    env_protection: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Added to distances before they divide, Å."""
    trainable: bool = True
    """Train the descriptor."""
    seed: int | None = None
    """Seed of the first weights; null takes them from torch's global generator."""
    add_tebd_to_repinit_out: bool = False
    """Add a projection of the type embedding to what repinit gives."""
    use_econf_tebd: bool = False
    """Embed each element's electron configuration instead of its index."""
    use_tebd_bias: bool = False
    """Put a bias on the type embedding."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        wide, narrow = self.repinit, self.repformer
        ordered("repinit", wide.rcut, wide.nsel, "repformer", narrow.rcut, narrow.nsel, strict=True)
        if wide.use_three_body:
            ordered("repinit", wide.rcut, wide.nsel, "three_body", wide.three_body_rcut, wide.three_body_sel, strict=False)
            pair = [(narrow.rcut, narrow.nsel), (wide.three_body_rcut, wide.three_body_sel)]
            if [nsel for _, nsel in sorted(pair)] != sorted(nsel for _, nsel in pair):
                raise ValueError("repformer and three_body: the block with the larger cutoff needs the larger number of neighbours")
        return self

    @property
    def lists(self) -> dict[str, NeighborList]:
        """Its neighbour lists by the name of the block that reads them; the first is the longest, and holds all others."""
        wide, narrow = self.repinit, self.repformer
        lists = {"repinit": NeighborList(wide.rcut, wide.nsel, wide.rcut_smth, wide.set_davg_zero)}
        if wide.use_three_body:
            three = NeighborList(wide.three_body_rcut, wide.three_body_sel, wide.three_body_rcut_smth, wide.set_davg_zero)
            lists["three_body"] = three
        return lists | {"repformer": NeighborList(narrow.rcut, narrow.nsel, narrow.rcut_smth, narrow.set_davg_zero)}

    @property
    def dim_pair(self) -> int:
        """Width of the pair channel that is left after the last layer."""
        return self.repformer.g2_dim

    @property
    def dim_tebd(self) -> int:
        """Width of the type embedding."""
        return self.repinit.tebd_dim

    @property
    def dim_out(self) -> int:
        """Width of the descriptor of an atom."""
        return self.repformer.g1_dim + (self.repinit.tebd_dim if self.concat_output_tebd else 0)


WATER_REPINIT: dict[str, Any] = {
    "rcut": 6.0, "rcut_smth": 0.5, "nsel": 120, "neuron": [25, 50, 100], "axis_neuron": 12, "tebd_dim": 8,
    "use_three_body": True, "three_body_sel": 48, "three_body_rcut": 4.0, "three_body_rcut_smth": 3.5,
}  # fmt: skip
WATER_REPFORMER: dict[str, Any] = {
    "rcut": 4.0, "rcut_smth": 3.5, "nsel": 48, "nlayers": 3, "g1_dim": 128, "g2_dim": 32, "axis_neuron": 4,
    "attn1_hidden": 128, "attn1_nhead": 4, "attn2_hidden": 32, "attn2_nhead": 4, "attn2_has_gate": True,
    "update_g1_has_attn": False, "update_g2_has_g1g1": False, "update_g2_has_attn": False,
    "update_style": "res_residual", "update_residual": 0.01,
}  # fmt: skip
