"""Chapter 11, What it costs.  Loaded by the registry of memlab.lessons."""

from ..model import Chapter
from .drills import DRILLS
from .exercises import EXERCISES
from .predictions import PREDICTIONS

CHAPTER = Chapter("11", "What it costs", "11_costs.ipynb", 35, EXERCISES, PREDICTIONS, DRILLS)
