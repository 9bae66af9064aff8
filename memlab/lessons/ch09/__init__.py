"""Chapter 09, The worst case.  Loaded by the registry of memlab.lessons."""

from ..model import Chapter
from .drills import DRILLS
from .exercises import EXERCISES
from .predictions import PREDICTIONS

CHAPTER = Chapter("09", "The worst case", "09_worst_case.ipynb", 40, EXERCISES, PREDICTIONS, DRILLS)
