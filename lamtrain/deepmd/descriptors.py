"""Descriptors in DeePMD-kit's files, by type: what each has to say of itself, one file for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from lamtrain.model.config import DescriptorConfig

from .dpa1 import Dpa1Files
from .dpa2 import Dpa2Files
from .nets import Tree, Weights


class DescriptorFiles(Protocol):
    """How one type of descriptor stands in DeePMD-kit's files. A section is `model.descriptor` of an input.json."""

    @property
    def words(self) -> tuple[str, ...]:
        """What `type` may be in a section; the first is our config's."""

    @property
    def blocks(self) -> Mapping[str, str]:
        """Our block of each neighbour list -> the reference's, both below the descriptor."""

    @property
    def padded(self) -> str:
        """The list whose empty slots add a term where `set_davg_zero` is off."""

    @property
    def tree_places(self) -> Mapping[str, str]:
        """A piece of the serialised descriptor -> where its arrays stand in the state dictionary, below the descriptor."""

    @property
    def defaults(self) -> Mapping[str, Any]:
        """What a section means by what it leaves out, where our config means something else."""

    @property
    def counts(self) -> Mapping[tuple[str, ...], int]:
        """Path in a section -> number of neighbours, where DeePMD-kit may take it from the data; what is taken instead."""

    def name(self, ours: str, descriptor: nn.Module) -> str:
        """The reference's name of a parameter, both below the descriptor."""

    def values(self, section: Tree) -> Tree:
        """A section -> values of our config."""

    def section(self, config: Any) -> Tree:
        """Our config -> a section that says every option."""

    def as_it_was_meant(self, section: Tree, tensors: Mapping[str, Tensor]) -> Tree:
        """A section of an older version with what it meant by what it leaves out; the weights show which version it was."""

    def section_of_tree(self, tree: Tree) -> Tree:
        """What a section says that does not stand in the serialised descriptor under its own name."""

    def tree(self, section: Tree, type_map: list[str], weights: Weights) -> Tree:
        """The serialised descriptor of a section and its weights."""


FILES: tuple[DescriptorFiles, ...] = (Dpa1Files(), Dpa2Files())
WORDS: dict[str, DescriptorFiles] = {word: files for files in FILES for word in files.words}


def files_of_word(word: str) -> DescriptorFiles:
    """By the `type` of a section, which must be known."""
    return WORDS[word]


def files_of(config: DescriptorConfig) -> DescriptorFiles:
    """By our config."""
    return WORDS[config.type]
