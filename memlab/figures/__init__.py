"""Pictures of a machine: pure functions that read RAM and return a Picture (inline SVG).

Used by the labs, the slides and by hand in a notebook.  Standard library only; imports the core and never labs or lessons.
"""

from .free_lists import free_lists
from .page_map import page_map
from .picture import Cell, Picture, stack

__all__ = ["Cell", "Picture", "free_lists", "page_map", "stack"]
