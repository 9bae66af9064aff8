"""Chapter 06, A slab and its buddy.  Loaded by the registry of memlab.lessons."""

from ..model import Chapter
from .drills import DRILLS
from .exercises import EXERCISES
from .predictions import PREDICTIONS

CHAPTER = Chapter("06", "A slab and its buddy", "06_slab_and_buddy.ipynb", 35, EXERCISES, PREDICTIONS, DRILLS)
