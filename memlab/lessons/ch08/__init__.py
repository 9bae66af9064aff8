"""Chapter 08, Zones, nodes and GFP.  Loaded by the registry of memlab.lessons."""

from ..model import Chapter
from .drills import DRILLS
from .exercises import EXERCISES
from .predictions import PREDICTIONS

CHAPTER = Chapter(
    number="08",
    title="Zones, nodes and GFP",
    notebook="08_zones.ipynb",
    minutes=30,
    exercises=EXERCISES,
    predictions=PREDICTIONS,
    drills=DRILLS,
)
