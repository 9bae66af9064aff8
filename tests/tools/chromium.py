"""Which Chromium the browser tests and tools drive, and how it is started. Playwright's own is never downloaded."""

import os
import shutil

from playwright.sync_api import Browser, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
# No sandbox: CI runs as root in a container. The rest keeps Chromium from calling home.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium() -> str:
    """The Chromium to drive: $CHROMIUM, or the first one on the path; LookupError with a sentence if there is none."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if not found or not shutil.which(found):
        raise LookupError("This needs Chromium: install it, or name one with CHROMIUM=/path/to/it.")
    return found


def launch(playwright: Playwright) -> Browser:
    """A headless Chromium for a tool; the browser tests get theirs from pytest-playwright."""
    return playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
