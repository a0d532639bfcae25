"""The options of a model, under DeePMD-kit's own names; torch-free, so that every mistake is found before torch is imported.

Names, defaults and meanings are those of DeePMD-kit 3.2.0 (`deepmd/utils/argcheck.py`). An option that exists there and is
not supported here is a field too, and is refused by its name when it is set to anything that would change the model.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from .dpa1_config import STUDENT, Dpa1Config
from .dpa2_config import WATER_REPFORMER, WATER_REPINIT, Dpa2Config, RepformerConfig, RepinitConfig
from .elements import NUMBERS
from .options import Activation, Count, NeighborList, Options, Precision, width_of

__all__ = [
    "DenoiseConfig", "DescriptorConfig", "Dpa1Config", "Dpa2Config", "FittingConfig", "ModelConfig", "NeighborList", "RepformerConfig",
    "RepinitConfig",
]  # fmt: skip

HeadKind = str  # "energy_force", "denoise", or the name of a task kind that was added


def _descriptor_type(value: Any) -> Any:
    """Which descriptor a section is; one that does not say is DPA-2."""
    return value.get("type", "dpa2") if isinstance(value, dict) else getattr(value, "type", None)


DescriptorConfig = Annotated[Annotated[Dpa1Config, Tag("dpa1")] | Annotated[Dpa2Config, Tag("dpa2")], Discriminator(_descriptor_type)]


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
        if width_of(self.fitting.precision) != width_of(self.descriptor.precision):
            raise ValueError("`fitting.precision` and `descriptor.precision` must be the same")
        if any(not 0 <= t < self.ntypes for pair in self.descriptor.exclude_types for t in pair):
            raise ValueError(f"`exclude_types` holds an index outside 0..{self.ntypes - 1}")
        if self.fitting.dim_case_embd and self.fitting.dim_case_embd < len(self.energy_heads):
            raise ValueError(f"`dim_case_embd` is below the number of energy heads, {len(self.energy_heads)}")
        if "denoise" in self.heads.values() and not self.descriptor.dim_pair:
            raise ValueError(f"a denoise head needs a pair channel, and descriptor `{self.descriptor.type}` has none")
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
        return width_of(self.descriptor.precision)

    def in_precision(self, precision: Literal["float64", "float32"]) -> Self:
        """The same model with parameters of another floating point type."""
        values = self.model_dump(mode="json")
        values["descriptor"]["precision"] = values["fitting"]["precision"] = precision
        return type(self).model_validate(values)

    @property
    def energy_heads(self) -> list[str]:
        """Names of the energy heads, sorted: the order of the case embedding."""
        return sorted(name for name, kind in self.heads.items() if kind == "energy_force")

    @classmethod
    def tiny(cls, elements: list[str], heads: dict[str, HeadKind] | None = None, **changes: Any) -> Self:
        """A model of a few 10,000 parameters, for tests and demonstrations."""
        repinit = dict(WATER_REPINIT, rcut=5.0, nsel=100, neuron=[8, 16, 32], axis_neuron=4, three_body_rcut_smth=3.0, three_body_sel=52)
        repformer = dict(
            WATER_REPFORMER,
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
        return cls._preset(elements, heads, WATER_REPINIT, WATER_REPFORMER, [240, 240, 240], changes)

    @classmethod
    def medium(cls, elements: list[str], heads: dict[str, HeadKind] | None = None, **changes: Any) -> Self:
        """DeePMD-kit's `input_torch_medium.json`: 6 layers with gated pair attention."""
        repformer = dict(WATER_REPFORMER, nlayers=6, update_g2_has_attn=True)
        return cls._preset(elements, heads, WATER_REPINIT, repformer, [240, 240, 240], changes)

    @classmethod
    def large(cls, elements: list[str], heads: dict[str, HeadKind] | None = None, **changes: Any) -> Self:
        """DeePMD-kit's `input_torch_large.json`: 12 layers with gated pair attention."""
        repformer = dict(WATER_REPFORMER, nlayers=12, update_g2_has_attn=True)
        return cls._preset(elements, heads, WATER_REPINIT, repformer, [240, 240, 240], changes)

    @classmethod
    def student(cls, elements: list[str], heads: dict[str, HeadKind] | None = None, **changes: Any) -> Self:
        """DPA-1 without attention: a fast model, to be taught by a larger one. Energy heads only.

        Its nets are a third as wide as those that DeePMD-kit gives its DPA-1 (25-50-100, axis 16, 240-240-240), for speed (`docs/compress.md`); wider ones are
        for who finds its errors too large.
        """
        values = {"descriptor": Dpa1Config(**STUDENT), "fitting": FittingConfig(neuron=[64, 64])} | changes
        return cls(elements=elements, heads=heads or {"energy": "energy_force"}, **values)

    @classmethod
    def _preset(
        cls,
        elements: list[str],
        heads: dict[str, HeadKind] | None,
        repinit: dict[str, Any],
        repformer: dict[str, Any],
        neuron: list[int],
        changes: dict[str, Any],
    ) -> Self:
        descriptor = Dpa2Config(repinit=RepinitConfig(**repinit), repformer=RepformerConfig(**repformer))
        values = {"descriptor": descriptor, "fitting": FittingConfig(neuron=neuron)} | changes
        return cls(elements=elements, heads=heads or {"energy": "energy_force"}, **values)
