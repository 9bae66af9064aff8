"""Pictures of a machine: pure functions that read RAM and return a Picture (inline SVG).

Used by the labs, the slides and by hand in a notebook.  Standard library only; imports the core and never labs or lessons.
"""

from .bootstrap import bootstrap_lab
from .buddy_lab import buddy_lab
from .call_chain import call_chain
from .costs import cost_bars, cost_curve, cost_mix
from .descriptor import descriptor
from .free_lists import free_lists
from .freelist_lab import freelist_lab
from .nesting_lab import nesting_lab
from .page_map import page_map
from .picture import Cell, Picture, panels, stack
from .radix_trees import radix_trees
from .slab_lab import slab_lab
from .slab_links import slab_links
from .slab_orders import slab_orders
from .slabs import slabs
from .tree import tree
from .zones import machine_lab, zonelist_walk, zones

__all__ = [
    "Cell",
    "Picture",
    "bootstrap_lab",
    "buddy_lab",
    "call_chain",
    "cost_bars",
    "cost_curve",
    "cost_mix",
    "descriptor",
    "free_lists",
    "freelist_lab",
    "machine_lab",
    "nesting_lab",
    "page_map",
    "panels",
    "radix_trees",
    "slab_lab",
    "slab_links",
    "slab_orders",
    "slabs",
    "stack",
    "tree",
    "zonelist_walk",
    "zones",
]
