"""Execute notebooks in place: `make notebooks` makes the references that strict nbval judges.

    python tests/tools/execute_notebooks.py notebooks/00_start.ipynb ...

Two runs give the same bytes, and nbval sees what was stored. So this client does what nbval does: the kernel is the
Python that runs it, started in the notebook's folder; no execution history (a trailing `;` does not hide a result);
no handler for widget messages (an Output widget captures nothing). And what differs from run to run or from
machine to machine is left out: times, the state and the ids of widgets, Python's patch version. A notebook that
raises is left as it was.
"""

import hashlib
import json
import sys
from pathlib import Path

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, NbvalKernelspecManager

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def execute(path: Path, timeout: int = 300) -> None:
    """Run the notebook at `path` from a fresh kernel and store its outputs there; `timeout` is seconds for a cell."""
    notebook = nbformat.from_dict(json.loads(path.read_text(encoding="utf-8")))
    name_cells(notebook)
    client = Client(
        notebook,
        timeout=timeout,
        coalesce_streams=True,
        record_timing=False,
        store_widget_state=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    normalise(notebook)
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


class Client(NotebookClient):
    """nbclient with nbval's manners."""

    def __init__(self, notebook, **settings):
        super().__init__(notebook, **settings)
        self.comm_open_handlers = {}

    def create_kernel_manager(self):
        """The kernel is the Python that runs this, whatever kernels the user has."""
        return AsyncKernelManager(kernel_name=CURRENT_ENV_KERNEL_NAME, kernel_spec_manager=NbvalKernelspecManager())

    async def async_execute_cell(self, cell, cell_index, execution_count=None, store_history=False):
        """Execute one cell without history, as nbval does."""
        return await super().async_execute_cell(cell, cell_index, execution_count, store_history)


def name_cells(notebook: NotebookNode) -> None:
    """Give each cell that has no id one that is the same in every run: from its place and its source."""
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for place, cell in enumerate(notebook.cells):
        if not cell.get("id"):
            cell.id = hashlib.sha1(f"{place}:{''.join(cell.source)}".encode(), usedforsecurity=False).hexdigest()[:8]
        if not isinstance(cell.source, str):  # on disk a source may be a list of lines
            cell.source = "".join(cell.source)


def normalise(notebook: NotebookNode) -> None:
    """Leave out of an executed notebook all that another run or another machine would write differently."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata.kernelspec = KERNELSPEC
    notebook.metadata.language_info = {"name": "python"}
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.metadata.pop("execution", None)
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = cell.execution_count
            output.get("data", {}).pop(WIDGET_VIEW, None)
        cell.outputs = [output for output in cell.outputs if output.get("data", True)]


def main(paths: list[str]) -> int:
    """Execute each notebook of `paths`; return 1 if one raised, 2 if none was given."""
    if not paths:
        print("usage: execute_notebooks.py NOTEBOOK ...", file=sys.stderr)
        return 2
    failed = False
    for path in map(Path, paths):
        try:
            execute(path)
        except CellExecutionError as error:
            failed = True
            print(f"{path}: a cell raised, and the file was left as it was\n{error}", file=sys.stderr)
        else:
            print(f"{path}: executed")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
