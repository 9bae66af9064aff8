"""Studies of the design: what it does under pressure, and what other designs would do in its place.

Used by chapters, labs and tests.  Standard library only; imports the core and nothing above it.
"""

from .consumers import CONSUMERS, Consumer, EatBuddies, EatSlabs, KeepLowOrdersEmpty, free_descriptors
from .nesting import Nesting, Run
from .radix_freelist import RadixMachine
from .radix_tree import Block, Use
from .side_by_side import Pair, SideBySide

__all__ = [
    "CONSUMERS",
    "Block",
    "Consumer",
    "EatBuddies",
    "EatSlabs",
    "KeepLowOrdersEmpty",
    "Nesting",
    "Pair",
    "RadixMachine",
    "Run",
    "SideBySide",
    "Use",
    "free_descriptors",
]
