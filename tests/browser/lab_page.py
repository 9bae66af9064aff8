"""LabPage: what a learner does to a lab in a real JupyterLab, and what can be seen of it.  Used by the browser test of each lab."""

import ast
import random
from contextlib import contextmanager
from functools import partial

import pytest
from playwright.sync_api import expect

DELETE_AND_INSERT = ("d", "d", "b", "a", "x", "Escape", "d", "d")


class LabPage:
    """A lab on a page: ``lab`` is its section, ``picture`` the place that takes keys and clicks."""

    def __init__(self, page, lab):
        self.page, self.lab, self.cells = page, lab, notebook_cells(page)
        self.picture = lab.locator(".memlab-host")

    def button(self, name):
        return self.lab.get_by_role("button", name=name, exact=True)

    def says(self, start):
        """Wait until the lab says a sentence with these words, if there are any."""
        expect(self.lab.get_by_role("status")).to_contain_text(start)

    def press(self, name, says="", dimmed=False):
        """Press a button by mouse, and wait until the lab says a sentence; a dimmed one says why it is."""
        self.button(name).click(force=dimmed)
        self.says(says)

    def keys(self, *keys, says=""):
        """Press keys, and wait until the lab says a sentence."""
        for key in keys:
            self.page.keyboard.press(key)
        self.says(says)

    def keeps_its_keys(self, *places):
        """See that keys pressed in a place stay in the lab: JupyterLab's command mode would delete its cell with them, and insert one."""
        for place in places:
            place.focus()
            self.keys(*DELETE_AND_INSERT)
            expect(place).to_be_focused()
            assert notebook_cells(self.page) == self.cells

    def slider(self, name):
        return self.lab.get_by_role("slider", name=name, exact=True)

    def menu(self, name):
        return self.lab.get_by_role("combobox", name=name, exact=True)

    def details(self, words):
        """See that these words are among the details of what is selected."""
        expect(self.lab.locator(".memlab-details")).to_contain_text(words)

    def click(self, cell, says=""):
        """Click on a cell of the picture: an element of its own, or its share of a grid of cells; wait until the lab says a sentence."""
        self._place_of(cell)()
        self.says(says)

    def _place_of(self, cell):
        """A function that clicks on a cell."""
        own = self.lab.locator(f"[data-cell='{cell}']")
        if own.count():
            return own.click
        name, _, number = cell.rpartition("-")
        for grid in self.lab.locator(f"[data-grid='{name}']").all():
            columns, rows, first, each = (int(grid.get_attribute(f"data-{key}")) for key in ("columns", "rows", "first", "each"))
            row, column = divmod((int(number) - first) // each, columns)
            if 0 <= row < rows:
                place = grid.bounding_box()
                x, y = (column + 0.5) * place["width"] / columns, (row + 0.5) * place["height"] / rows
                return partial(grid.click, position={"x": x, "y": y})
        return pytest.fail(f"The picture has no cell {cell}.")

    def selected(self):
        return self.picture.evaluate(
            "host => document.getElementById(host.getAttribute('aria-activedescendant'))?.getAttribute('aria-label')"
        )

    def in_kernel(self, expression):
        """The value of a Python expression in the notebook's kernel, after whatever the labs were asked before.

        A kernel may take the messages of widgets in another thread than a cell: in what order they are taken is nobody's promise.
        """
        expect(self.page.locator(".memlab-host[aria-busy='true']")).to_have_count(0)
        value = self.page.evaluate(
            """async expression => {
                 const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
                 const done = kernel.requestExecute({ code: '', silent: true, store_history: false, user_expressions: { value: expression } }).done;
                 return (await done).content.user_expressions.value;
               }""",
            expression,
        )
        assert value["status"] == "ok", value
        return ast.literal_eval(value["data"]["text/plain"])

    @contextmanager
    def at_random(self, seed):
        """A dice, and a list for what was done with it, which an error tells with the lab's state code; the lab must raise no alert."""
        done = []
        try:
            yield random.Random(seed), done
            expect(self.lab.get_by_role("alert")).to_be_empty()
        except BaseException as error:
            error.add_note(f"seed {seed}, actions {done}\n{self.in_kernel('lab.session.code()')}")
            raise


def notebook_cells(page):
    """The ids of the cells of the notebook that is open."""
    return page.evaluate("jupyterapp.shell.currentWidget.content.widgets.map(cell => cell.model.id)")
