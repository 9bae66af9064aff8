"""The bug zoo: allocators that have one realistic fault each, and the search that finds the shortest sequence of operations to break each.

Used by chapter 10 and the tests; ``python -m memlab.study.zoo`` hunts them all.  Imports explore.  Standard library only.

    textbook.py   the hard steps of the allocators, written for reading, without fault
    animals.py    a machine for each animal: one of these methods, spoilt
"""

from __future__ import annotations

import difflib
import inspect
import textwrap
from dataclasses import dataclass, field
from typing import Any, Final

from ...machine import Machine
from ..explore.choices import DEFAULT, PAGES
from ..explore.report import Report
from ..explore.search import Search
from ..explore.steps import TINY
from . import animals
from .textbook import Textbook

__all__ = ["ANIMALS", "Animal", "Textbook"]


@dataclass(frozen=True)
class Animal:
    """One animal of the zoo: ``ANIMALS["pelican"].hunt().broken`` is the rule that broke, with the shortest sequence.

    ``machine``: the class, to be booted as Machine is.  ``method``: the one method of it that has the fault.  ``fault``: what is wrong, ``breaks``: the
    rule of the design that it breaks, a sentence each, for the teacher.  ``rule``: what the search then finds: a rule of check() that is among
    the broken ones, or another kind of the search's.  The others are what the search needs: see Search.
    """

    name: str
    machine: type[Machine]
    method: str
    fault: str
    breaks: str
    rule: str
    design: str = "as-written"
    interrupts: int = 0
    operations: tuple[str, ...] = DEFAULT
    orders: int = 2
    shape: dict[str, Any] = field(default_factory=lambda: dict(TINY))

    def search(self, machine: type[Machine] | None = None) -> Search:
        """Return the search that finds it, or the very same search of another machine, such as Machine itself."""
        chosen = self.machine if machine is None else machine
        return Search(self.design, self.interrupts, self.operations, None, self.orders, 0, chosen, self.shape)

    def hunt(self, states: int = 20_000) -> Report:
        """Search until a rule breaks, or ``states`` distinct states are found; returns the Report."""
        return self.search().run(states)

    def source(self, machine: type[Machine] | None = None) -> str:
        """Return the method that has the fault as text, or the same method of another machine, such as Textbook."""
        return textwrap.dedent(inspect.getsource(getattr(self.machine if machine is None else machine, self.method)))

    def suspects(self) -> tuple[int, ...]:
        """Return the numbers, from 1, of the lines of ``source()`` that are wrong; where a line is missing, of those before and after the gap."""
        lines = self.source().splitlines()
        changes = difflib.SequenceMatcher(None, self.source(Textbook).splitlines(), lines, autojunk=False).get_opcodes()
        found: set[int] = set()
        for what, _, _, first, end in changes:
            if what == "delete":
                found |= {first, first + 1} & set(range(1, len(lines) + 1))
            elif what != "equal":
                found |= set(range(first + 1, end + 1))
        return tuple(sorted(found))


ANIMALS: Final[dict[str, Animal]] = {
    animal.name: animal
    for animal in (
        Animal(
            "pelican",
            animals.Pelican,
            "_free_one_page",
            "It merges with whatever free block its neighbour begins with, though the neighbour was split and its other part is in use.",
            "Two buddies merge only if both are free as a whole: the neighbour's descriptor says the very same order.",
            "buddy-leak",
        ),
        Animal(
            "squirrel",
            animals.Squirrel,
            "_free_one_page",
            "When the buddy is busy it returns instead of leaving the loop, and the block is put on no free list.",
            "Merging ends at a busy buddy, and what was merged so far goes on the list of its order.",
            "zone-free-count",
        ),
        Animal(
            "hermit crab",
            animals.HermitCrab,
            "_free_one_page",
            "The neighbour's descriptor lives on after a merge, but when the neighbour is the upper half it still says the upper half's page.",
            "The descriptor that survives a merge must say the whole block: its order and its first page.",
            "buddy-alignment",
        ),
        Animal(
            "gull",
            animals.Gull,
            "_free_one_page",
            "It gives the descriptors of both halves back and asks for a new one to describe the merged block.",
            "Never allocate when freeing: the descriptor of a half lives on for the whole.",
            "allocating free",
        ),
        Animal(
            "goldfish",
            animals.Goldfish,
            "_get_pages",
            "It takes the block that it found before it got descriptors, though getting them may have used up or split that very block.",
            "Look again: after every nested allocation the search starts anew.",
            "page-two-owners",
        ),
        Animal(
            "cuckoo",
            animals.Cuckoo,
            "___slab_alloc",
            "It makes the new slab the CPU's own without a look whether the CPU got another one while the new slab was being built.",
            "Look again: a nested allocation or an interrupt may have made a slab active, which is then used up first.",
            "slab-frozen",
            design="bounded",
            interrupts=1,
        ),
        Animal(
            "hamster",
            animals.Hamster,
            "_alloc_slab_page",
            "When no pages can be had it returns without giving back the struct slab that it got for them.",
            "A half-built slab is unmade in reverse order: a failed allocation leaves all as it was.",
            "slab-leak",
            operations=(*PAGES[:2], "take a struct buddy"),
            orders=4,
            shape={"memory": "4K", "page_size": 256, "max_order": 4},
        ),
        Animal(
            "leech",
            animals.Leech,
            "_deactivate",
            "A slab that is taken from its CPU always goes on the partial list, even if it is full.",
            "A full slab is on no list.",
            "partial-full",
        ),
        Animal(
            "snail",
            animals.Snail,
            "_shrink",
            "It takes a slab for empty when nothing but its own page's struct buddy lives in it, so that page is freed with the descriptor in it.",
            "A page of descriptors cannot be freed while it holds a live one, and the descriptor of a free block is live.",
            "desc-in-free-page",
        ),
    )
}
