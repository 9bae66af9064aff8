"""The cheat sheet that is stored is the one that the simulator gives, and it can be printed."""

from xml.etree import ElementTree as ET

import cheatsheet
import pytest


def test_the_stored_cheat_sheet_is_the_generated_one():
    assert cheatsheet.TARGET.read_text(encoding="utf-8") == cheatsheet.sheet(), "run make notebooks"


def test_it_is_one_landscape_a4_page_of_text_on_white_that_asks_for_nothing():
    text = cheatsheet.sheet()
    root = ET.fromstring(text)
    assert (root.get("width"), root.get("height")) == ("297mm", "210mm")
    assert "href" not in text
    assert "url(" not in text
    places = [(float(e.get("x")), float(e.get("y"))) for e in root.iter("{http://www.w3.org/2000/svg}text")]
    assert all(0 < x < cheatsheet.WIDTH and 0 < y < cheatsheet.HEIGHT for x, y in places)


def test_it_shows_what_the_email_reckons():
    lines = [line for section in (cheatsheet.split_and_merge, cheatsheet.reckoning) for line in section()[1]]
    assert " 11   2048  8192 KiB           11   1024" in lines
    assert "mem_map of 1 TiB: 16 GiB before, 2 GiB now" in lines
    assert "of all memory: 1.5625% and 0.1953%" in lines


def test_a_line_that_is_too_long_is_refused(monkeypatch):
    monkeypatch.setattr(cheatsheet, "buddies", lambda: ("Blocks", ["x" * (cheatsheet.MOST + 1)]))
    with pytest.raises(ValueError, match="too long by 1 characters"):
        cheatsheet.sheet()


def test_a_column_that_is_too_tall_is_refused(monkeypatch):
    monkeypatch.setattr(cheatsheet, "buddies", lambda: ("Blocks", ["x"] * 60))
    with pytest.raises(ValueError, match="column 2 is too tall"):
        cheatsheet.sheet()
