"""Chapter 04, Slabs.  Loaded by the registry of memlab.lessons."""

TITLE = "Slabs"
NOTEBOOK = "04_slabs.ipynb"
MINUTES = 40
