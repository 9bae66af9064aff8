"""Chapter 07, Who describes the describer?.  Loaded by the registry of memlab.lessons."""

from ..model import Chapter
from .drills import DRILLS
from .exercises import EXERCISES
from .predictions import PREDICTIONS

CHAPTER = Chapter("07", "Who describes the describer?", "07_bootstrap.ipynb", 40, EXERCISES, PREDICTIONS, DRILLS)
