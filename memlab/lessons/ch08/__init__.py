"""Chapter 08, Zones, nodes and GFP.  Loaded by the registry of memlab.lessons."""

TITLE = "Zones, nodes and GFP"
NOTEBOOK = "08_zones.ipynb"
MINUTES = 30
