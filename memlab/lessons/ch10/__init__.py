"""Chapter 10, Does it work?.  Loaded by the registry of memlab.lessons."""

from ..model import Chapter
from .drills import DRILLS
from .exercises import EXERCISES
from .predictions import PREDICTIONS

CHAPTER = Chapter("10", "Does it work?", "10_does_it_work.ipynb", 40, EXERCISES, PREDICTIONS, DRILLS)
