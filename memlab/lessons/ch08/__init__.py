"""Chapter 08, Zones, nodes and GFP.  Loaded by the registry of memlab.lessons."""

from ..model import Chapter
from .drills import DRILLS
from .exercises import EXERCISES
from .predictions import PREDICTIONS

CHAPTER = Chapter("08", "Zones, nodes and GFP", "08_zones.ipynb", 30, EXERCISES, PREDICTIONS, DRILLS)
