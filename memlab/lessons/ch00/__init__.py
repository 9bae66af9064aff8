"""Chapter 00, Start here: the front door asks nothing that is counted.  Loaded by the registry of memlab.lessons."""

TITLE = "Start here"
NOTEBOOK = "00_start.ipynb"
MINUTES = 20
