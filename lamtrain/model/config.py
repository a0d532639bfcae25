"""The options of a model, under DeePMD-kit's own names; torch-free, so that every mistake is found before torch is imported.

Names, defaults and meanings are those of DeePMD-kit 3.2.0 (`deepmd/utils/argcheck.py`). An option that exists there and is
not supported here is a field too, and is refused by its name when it is set to anything that would change the model.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .elements import NUMBERS

Count = Annotated[int, Field(ge=1, le=4096)]
Length = Annotated[float, Field(gt=0.0, le=50.0)]  # Å
Activation = Annotated[
    str, Field(pattern=r"^(tanh|relu|relu6|softplus|sigmoid|gelu|gelu_tf|silu|linear|none|(silut|custom_silu)(:[0-9.eE+-]+)?)$")
]
Precision = Literal["default", "float64", "float32", "double", "single"]
HeadKind = Literal["energy_force", "denoise"]


class Options(BaseModel):
    """A frozen block of options; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


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
        _switch_below("rcut_smth", self.rcut_smth, "rcut", self.rcut)
        _switch_below("three_body_rcut_smth", self.three_body_rcut_smth, "three_body_rcut", self.three_body_rcut)
        _no_wider("axis_neuron", self.axis_neuron, "the last of `neuron`", self.neuron[-1])
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
        _switch_below("rcut_smth", self.rcut_smth, "rcut", self.rcut)
        if self.update_g1_has_grrg:
            _no_wider("axis_neuron", self.axis_neuron, "`g2_dim`", self.g2_dim)
        if self.update_g1_has_drrd:
            _no_wider("axis_neuron", self.axis_neuron, "`g1_dim`", self.g1_dim)
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


class DescriptorConfig(Options):
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
        _ordered("repinit", wide.rcut, wide.nsel, "repformer", narrow.rcut, narrow.nsel, strict=True)
        if wide.use_three_body:
            _ordered("repinit", wide.rcut, wide.nsel, "three_body", wide.three_body_rcut, wide.three_body_sel, strict=False)
            pair = [(narrow.rcut, narrow.nsel), (wide.three_body_rcut, wide.three_body_sel)]
            if [nsel for _, nsel in sorted(pair)] != sorted(nsel for _, nsel in pair):
                raise ValueError("repformer and three_body: the block with the larger cutoff needs the larger number of neighbours")
        return self

    @property
    def dim_out(self) -> int:
        """Width of the descriptor of an atom."""
        return self.repformer.g1_dim + (self.repinit.tebd_dim if self.concat_output_tebd else 0)


class FittingConfig(Options):
    """The net that turns a descriptor into an atomic energy; one for each energy head."""

    type: Literal["ener"] = "ener"
    """DeePMD-kit's name of the fitting."""
    neuron: list[Count] = [120, 120, 120]
    """Widths of the hidden layers; equal or doubled widths get a skip."""
    activation_function: Activation = "tanh"
    """Activation of the hidden layers."""
    resnet_dt: bool = True
    """Put a learned step on each skip."""
    precision: Precision = "default"
    """Must be that of the descriptor."""
    trainable: bool = True
    """Train the fitting net."""
    rcond: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """Smallest singular value kept when reference energies are fitted, relative to the largest; null is machine precision."""
    seed: int | None = None
    """Seed of the first weights."""
    dim_case_embd: Annotated[int, Field(ge=0, le=4096)] = 0
    """Width of a one-hot vector that names the head, appended to the descriptor; 0 leaves it out."""
    atom_ener: list[float | None] = []
    """Energies of isolated atoms by type, eV. Not supported: fitted reference energies are the head's `bias` buffer."""
    numb_fparam: int = 0
    """Frame parameters. Not supported."""
    numb_aparam: int = 0
    """Atomic parameters. Not supported."""
    default_fparam: list[float] | None = None
    """Default of the frame parameters. Not supported."""
    use_aparam_as_mask: bool = False
    """Atomic parameter as a mask. Not supported."""
    layer_name: list[str | None] | None = None
    """Sharing of layers by name. Not supported."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("atom_ener", "numb_fparam", "numb_aparam", "default_fparam", "use_aparam_as_mask", "layer_name"):
            if getattr(self, name):
                raise ValueError(f"option `{name}` is not supported")
        return self


class DenoiseConfig(Options):
    """The head that undoes noise: how far each atom was pushed, and which element hides under the mask."""

    hidden: Annotated[int, Field(ge=0, le=4096)] = 0
    """Width of the hidden layer over the pair channel; 0 is its own width, as in the reference."""
    type_hidden: Annotated[int, Field(ge=0, le=4096)] = 0
    """Width of the hidden layer over the descriptor; 0 is its own width."""
    ln_eps: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-5
    """Added to the variance in the layer norm."""
    seed: int | None = None
    """Seed of the first weights."""


class ModelConfig(Options):
    """A whole model: elements, one shared descriptor, and named heads."""

    elements: list[str]
    """Symbols in the order of the type index; a hidden type is one more, after the last."""
    descriptor: DescriptorConfig
    """What all heads share."""
    fitting: FittingConfig = FittingConfig()
    """Net of every energy head."""
    denoise: DenoiseConfig = DenoiseConfig()
    """Net of every denoise head."""
    heads: Annotated[dict[str, HeadKind], Field(min_length=1)] = {"energy": "energy_force"}
    """Heads by name, in the order of the head index of a frame."""

    @field_validator("elements")
    @classmethod
    def _check_elements(cls, elements: list[str]) -> list[str]:
        unknown = [symbol for symbol in elements if symbol not in NUMBERS]
        if unknown:
            raise ValueError(f"not a chemical element: {', '.join(unknown)}")
        if not elements or len(set(elements)) != len(elements):
            raise ValueError("elements must be distinct, and at least one")
        return elements

    @field_validator("heads")
    @classmethod
    def _check_heads(cls, heads: dict[str, HeadKind]) -> dict[str, HeadKind]:
        wrong = [name for name in heads if not re.fullmatch(r"[A-Za-z0-9_+-]+", name)]
        if wrong:
            raise ValueError(f"head names are letters, digits, _, - and +; found {', '.join(map(repr, wrong))}")
        return heads

    @model_validator(mode="after")
    def _check(self) -> Self:
        if _width(self.fitting.precision) != _width(self.descriptor.precision):
            raise ValueError("`fitting.precision` and `descriptor.precision` must be the same")
        if any(not 0 <= t < self.ntypes for pair in self.descriptor.exclude_types for t in pair):
            raise ValueError(f"`exclude_types` holds an index outside 0..{self.ntypes - 1}")
        if self.fitting.dim_case_embd and self.fitting.dim_case_embd < len(self.energy_heads):
            raise ValueError(f"`dim_case_embd` is below the number of energy heads, {len(self.energy_heads)}")
        return self

    @property
    def ntypes(self) -> int:
        """Rows of every table over types: the elements, then the hidden type."""
        return len(self.elements) + 1

    @property
    def masked_type(self) -> int:
        """Type index of an atom whose element is hidden."""
        return len(self.elements)

    @property
    def precision(self) -> Literal["float64", "float32"]:
        """Floating point type of the parameters."""
        return _width(self.descriptor.precision)

    @property
    def energy_heads(self) -> list[str]:
        """Names of the energy heads, sorted: the order of the case embedding."""
        return sorted(name for name, kind in self.heads.items() if kind == "energy_force")

    @classmethod
    def tiny(cls, elements: list[str], heads: dict[str, HeadKind] | None = None, **changes: Any) -> Self:
        """A model of a few 10,000 parameters, for tests and demonstrations."""
        repinit = dict(_WATER_REPINIT, rcut=5.0, nsel=100, neuron=[8, 16, 32], axis_neuron=4, three_body_rcut_smth=3.0, three_body_sel=52)
        repformer = dict(
            _WATER_REPFORMER,
            rcut_smth=1.5,
            nsel=52,
            nlayers=3,
            g1_dim=32,
            g2_dim=16,
            attn2_hidden=16,
            attn2_nhead=2,
            update_g2_has_g1g1=True,
            update_g2_has_attn=True,
        )
        return cls._preset(elements, heads, repinit, repformer, [64, 64], changes)

    @classmethod
    def small(cls, elements: list[str], heads: dict[str, HeadKind] | None = None, **changes: Any) -> Self:
        """DeePMD-kit's `examples/water/dpa2/input_torch_small.json`: 3 layers, no pair attention."""
        return cls._preset(elements, heads, _WATER_REPINIT, _WATER_REPFORMER, [240, 240, 240], changes)

    @classmethod
    def medium(cls, elements: list[str], heads: dict[str, HeadKind] | None = None, **changes: Any) -> Self:
        """DeePMD-kit's `input_torch_medium.json`: 6 layers with gated pair attention."""
        repformer = dict(_WATER_REPFORMER, nlayers=6, update_g2_has_attn=True)
        return cls._preset(elements, heads, _WATER_REPINIT, repformer, [240, 240, 240], changes)

    @classmethod
    def large(cls, elements: list[str], heads: dict[str, HeadKind] | None = None, **changes: Any) -> Self:
        """DeePMD-kit's `input_torch_large.json`: 12 layers with gated pair attention."""
        repformer = dict(_WATER_REPFORMER, nlayers=12, update_g2_has_attn=True)
        return cls._preset(elements, heads, _WATER_REPINIT, repformer, [240, 240, 240], changes)

    @classmethod
    def _preset(cls, elements, heads, repinit: dict, repformer: dict, neuron: list[int], changes: dict) -> Self:
        descriptor = DescriptorConfig(repinit=RepinitConfig(**repinit), repformer=RepformerConfig(**repformer))
        values = {"descriptor": descriptor, "fitting": FittingConfig(neuron=neuron), **changes}
        return cls(elements=elements, heads=heads or {"energy": "energy_force"}, **values)


_WATER_REPINIT: dict[str, Any] = {
    "rcut": 6.0, "rcut_smth": 0.5, "nsel": 120, "neuron": [25, 50, 100], "axis_neuron": 12, "tebd_dim": 8,
    "use_three_body": True, "three_body_sel": 48, "three_body_rcut": 4.0, "three_body_rcut_smth": 3.5,
}  # fmt: skip
_WATER_REPFORMER: dict[str, Any] = {
    "rcut": 4.0, "rcut_smth": 3.5, "nsel": 48, "nlayers": 3, "g1_dim": 128, "g2_dim": 32, "axis_neuron": 4,
    "attn1_hidden": 128, "attn1_nhead": 4, "attn2_hidden": 32, "attn2_nhead": 4, "attn2_has_gate": True,
    "update_g1_has_attn": False, "update_g2_has_g1g1": False, "update_g2_has_attn": False,
    "update_style": "res_residual", "update_residual": 0.01,
}  # fmt: skip


def _width(precision: Precision) -> Literal["float64", "float32"]:
    return "float32" if precision in ("float32", "single") else "float64"


def _switch_below(name: str, start: float, limit: str, rcut: float) -> None:
    if start >= rcut:
        raise ValueError(f"`{name}` ({start} Å) must be below `{limit}` ({rcut} Å)")


def _no_wider(name: str, value: int, limit: str, width: int) -> None:
    if value > width:
        raise ValueError(f"`{name}` ({value}) is larger than {limit} ({width})")


def _ordered(wide: str, rcut: float, nsel: int, narrow: str, inner: float, fewer: int, *, strict: bool) -> None:
    """The shorter neighbour lists are prefixes of the longest, so cutoffs and counts must be in one order."""
    if rcut < inner or nsel < fewer or (strict and (rcut == inner or nsel == fewer)):
        raise ValueError(f"{wide} (rcut {rcut} Å, nsel {nsel}) must reach further than {narrow} (rcut {inner} Å, nsel {fewer})")
