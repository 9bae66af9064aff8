"""memlab: take a kernel's memory allocator apart with your own hands.

``from memlab import Machine, GFP`` is where everything starts.  This is the core alone: the standard library, no widgets and no charts.
"""

from .check_rules import Corruption
from .gfp import GFP
from .machine import Machine
from .memdesc import MemDesc, MemType
from .ram import KernelBug
from .slub_size import SLAB

__all__ = ["GFP", "SLAB", "Corruption", "KernelBug", "Machine", "MemDesc", "MemType"]
__version__ = "0.1.0"
