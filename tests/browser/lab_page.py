"""LabPage: what a learner does to a lab in a real JupyterLab, and what can be seen of it.  Used by the browser test of each lab."""

import ast

import pytest
from playwright.sync_api import expect


class LabPage:
    """A lab on a page: ``lab`` is its section, ``picture`` the place that takes keys and clicks."""

    def __init__(self, page, lab):
        self.page, self.lab = page, lab
        self.picture = lab.locator(".memlab-host")

    def button(self, name):
        return self.lab.get_by_role("button", name=name, exact=True)

    def says(self, start):
        """Wait until the lab says a sentence with these words."""
        expect(self.lab.get_by_role("status")).to_contain_text(start)

    def click(self, cell):
        """Click on a cell of the picture: an element of its own, or its share of a grid of cells."""
        own = self.lab.locator(f"[data-cell='{cell}']")
        if own.count():
            own.click()
            return
        name, _, number = cell.rpartition("-")
        for grid in self.lab.locator(f"[data-grid='{name}']").all():
            columns, rows, first, each = (int(grid.get_attribute(f"data-{key}")) for key in ("columns", "rows", "first", "each"))
            row, column = divmod((int(number) - first) // each, columns)
            if 0 <= row < rows:
                place = grid.bounding_box()
                x, y = (column + 0.5) * place["width"] / columns, (row + 0.5) * place["height"] / rows
                grid.click(position={"x": x, "y": y})
                return
        pytest.fail(f"The picture has no cell {cell}.")

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

    def notebook_cells(self):
        return self.page.evaluate("jupyterapp.shell.currentWidget.content.widgets.map(cell => cell.model.id)")
