"""Chapter 02, Buddies.  Loaded by the registry of memlab.lessons."""

TITLE = "Buddies"
NOTEBOOK = "02_buddies.ipynb"
MINUTES = 35
