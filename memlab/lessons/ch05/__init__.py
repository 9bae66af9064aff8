"""Chapter 05, Eleven descriptors.  Loaded by the registry of memlab.lessons."""

TITLE = "Eleven descriptors"
NOTEBOOK = "05_descriptors.ipynb"
MINUTES = 40
