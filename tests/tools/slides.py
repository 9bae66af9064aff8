"""`make slides`: one HTML deck for each chapter, a single file that asks the network for nothing.

    python tests/tools/slides.py notebooks/02_buddies.ipynb ...          writes build/slides/02_buddies.html ...

A notebook's slide metadata says where slides, subslides and fragments begin and what is skipped; a lab always gets a
slide of its own. Every cell is run first, with MEMLAB_STATIC=1: labs become their demo frames, predictions a question and then its answer. Speaker notes
come from notebooks/lecturer/NN_name.md: each `### heading` under its `## Slide notes` goes to the slide with that
heading. Their look and their fitting to 1280 x 720 is deck/; reveal.js shows them, KaTeX has set the
formulas already. In a deck: S opens the speaker's view, ?print-pdf at the end of its address makes it ready to print.
"""

import base64
import json
import mimetypes
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import escape
from itertools import groupby
from pathlib import Path
from string import Template

import mistune
import nbformat
from execute_notebooks import Client
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

ROOT = Path(__file__).resolve().parents[2]
DECK = Path(__file__).parent / "deck"
NODE_MODULES = ROOT / ".venv" / "npm" / "node_modules"
TARGET = ROOT / "build" / "slides"

KINDS = ("slide", "subslide", "fragment", "skip", "-")
MARKDOWN = mistune.create_markdown(escape=False, plugins=["table", "math", "strikethrough"])
PYTHON = HtmlFormatter(nowrap=True)
STATIC = "memlab-static"  # the class of what labs and lessons show with MEMLAB_STATIC=1
FRAME = '<div class="frame">'  # the first step of a lab
NO_NPM = "The slides need reveal.js and KaTeX from npm: run `make slides`, which gets them."
# Sets a JSON list of [formula, is a line of its own]; a formula that KaTeX does not know ends it.
KATEX = """
const katex = require("katex"), formulas = JSON.parse(require("fs").readFileSync(0, "utf8"));
const html = ([tex, displayMode]) => {
  try { return katex.renderToString(tex, { displayMode }); }
  catch (error) { console.error(`${tex}: ${error.message}`); process.exit(1); }
};
console.log(JSON.stringify(formulas.map(html)));
"""


class SlideError(Exception):
    """A notebook or its notes cannot become a deck; the message says what to mend."""


@dataclass
class Slide:
    """One screen: HTML by step (the first is there at once, each further one is a fragment), heading and notes."""

    new_column: bool
    steps: list[list[str]] = field(default_factory=lambda: [[]])
    heading: str = ""
    notes: str = ""
    full: bool = False  # by a lab

    def html(self) -> str:
        """The slide as reveal.js wants it."""
        first, *later = ("\n".join(parts) for parts in self.steps)
        body = first + "".join(f'<div class="fragment">{step}</div>' for step in later)
        notes = f'<aside class="notes">{self.notes}</aside>' if self.notes else ""
        return f'<section class="slide"><div class="content">{body}</div>{notes}</section>'


def build(path: Path, target: Path = TARGET) -> Path:
    """Run the notebook at `path` and write its deck into the folder `target`; return the deck's path."""
    notebook = run(path)
    slides = list(split(notebook, path.parent))
    if not slides:
        raise SlideError(f"{path.name} has no slides: give its cells slide metadata")
    add_notes(slides, path.parent / "lecturer" / f"{path.stem}.md")
    columns = [list(column) for _, column in groupby(slides, key=column_number(slides))]
    bodies = ["".join(slide.html() for slide in column) for column in columns]
    html = "\n".join(f"<section>{body}</section>" if len(column) > 1 else body for column, body in zip(columns, bodies, strict=True))
    target.mkdir(parents=True, exist_ok=True)
    deck = target / f"{path.stem}.html"
    deck.write_text(page(slides[0].heading or path.stem, formulas(html)), encoding="utf-8")
    return deck


def run(path: Path) -> NotebookNode:
    """The notebook at `path` with the outputs that it gives as static pictures; its own progress file is not touched."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory(prefix="memlab-slides-") as home:
        environment = os.environ | {"MEMLAB_STATIC": "1", "MEMLAB_HOME": home}
        client = Client(notebook, timeout=300, coalesce_streams=True, resources={"metadata": {"path": str(path.parent)}})
        client.execute(env=environment)
    return notebook


# -- from cells to slides


def split(notebook: NotebookNode, folder: Path) -> Iterator[Slide]:
    """The slides of an executed notebook whose files lie in `folder`."""
    slide = None
    for cell in notebook.cells:
        kind = cell.metadata.get("slideshow", {}).get("slide_type", "-")
        if kind not in KINDS:
            raise SlideError(f"cell {cell.id} has the slide type {kind!r}; it can be one of {', '.join(KINDS)}")
        if kind == "skip":
            continue
        if kind in ("slide", "subslide"):
            if slide:
                yield slide
            slide = Slide(new_column=kind == "slide")
        if slide is None:
            raise SlideError(f"cell {cell.id} stands before the first slide: make it a slide, or skip it")
        html = markdown(cell.source, folder) if cell.cell_type == "markdown" else code(cell)
        if slide.full or (FRAME in html and any(slide.steps)):
            yield slide
            slide = Slide(new_column=False)
        elif kind == "fragment":
            slide.steps.append([])
        slide.steps[-1].append(html)
        slide.full = FRAME in html
        slide.heading = slide.heading or heading(cell)
    if slide:
        yield slide


def column_number(slides: list[Slide]):
    """A function: slide -> the number of the column, one slide and the subslides below it, that it stands in."""
    columns = {}
    for slide in slides:
        columns[id(slide)] = max(columns.values(), default=0) + slide.new_column
    return lambda slide: columns[id(slide)]


def heading(cell: NotebookNode) -> str:
    """The first heading of a Markdown cell as it stands there, without the marks; "" if it has none."""
    found = re.search(r"^#{1,3} +(.+?) *$", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else None
    return found[1] if found else ""


def markdown(source: str, folder: Path) -> str:
    """Markdown as HTML: folded parts open, pictures inside, no link to a file that is not there on a projector."""
    html = MARKDOWN(source)
    html = re.sub(r"<details>", "<details open>", html)
    html = re.sub(r'<img src="(?!data:)([^"]+)"', lambda found: f'<img src="{data_uri(folder / found[1])}"', html)
    return re.sub(r'<a href="(?!https?:)[^"]*"[^>]*>(.*?)</a>', r"\1", html, flags=re.DOTALL)


def data_uri(path: Path) -> str:
    """A picture's file as an address that holds it."""
    if not path.is_file():
        raise SlideError(f"there is no picture {path.name} in {path.parent.name}/")
    kind = mimetypes.guess_type(path)[0]
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def code(cell: NotebookNode) -> str:
    """A code cell: what it says, unless that is hidden or only opens a lab or a question, and what it gave."""
    outputs = "\n".join(map(output, cell.outputs))
    hidden = cell.metadata.get("jupyter", {}).get("source_hidden") or STATIC in outputs
    return outputs if hidden else f'<pre class="input">{highlight(cell.source, PythonLexer(), PYTHON).rstrip()}</pre>{outputs}'


def output(out: NotebookNode) -> str:
    """One output as HTML."""
    if out.output_type == "stream":
        return f"<pre>{escape(out.text.rstrip())}</pre>"
    if out.output_type == "error":
        return f"<pre>{escape(f'{out.ename}: {out.evalue}')}</pre>"
    if "text/html" in out.data:
        return frames(out.data["text/html"])
    return f"<pre>{escape(out.data['text/plain'])}</pre>"


def frames(html: str) -> str:
    """The HTML of an output. Of a lab's frames the first is there at once, and each further one takes the place of all before it."""
    if re.search(rf'<section class="{STATIC}"[^>]*><div class="fragment">', html):
        html = html.replace(f'class="{STATIC}"', f'class="{STATIC} frames"')
        html = html.replace('<div class="fragment">', FRAME, 1).replace('class="fragment"', 'class="frame fragment"')
    return html.replace("<section", "<div").replace("</section>", "</div>")  # sections are reveal.js's slides


# -- speaker notes


def add_notes(slides: Iterable[Slide], path: Path) -> None:
    """Give the slides their notes from the lecturer's page at `path`, if there is one."""
    if not path.is_file():
        return
    notes = read_notes(path.read_text(encoding="utf-8"))
    for slide in slides:
        slide.notes = MARKDOWN(notes.pop(slide.heading, ""))
    if notes:
        raise SlideError(f"{path.name} has notes for slides that are not there: {', '.join(notes)}")


def read_notes(text: str) -> dict[str, str]:
    """The notes of a lecturer's page: heading of a slide -> Markdown."""
    found = re.search(r"^## Slide notes$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    parts = re.split(r"^### +(.+?) *$", found[1] if found else "", flags=re.MULTILINE)
    return dict(zip(parts[1::2], map(str.strip, parts[2::2]), strict=True))


# -- one page


def formulas(html: str) -> str:
    r"""Set every formula, which mistune leaves as \(...\) and $$...$$ in elements of class math."""
    mark = re.compile(r'<span class="math">\\\((.*?)\\\)</span>|<div class="math">\$\$\s*(.*?)\s*\$\$</div>', re.DOTALL)
    found = [[unescape(line or inline), bool(line)] for inline, line in mark.findall(html)]
    if not found:
        return html
    rendered = iter(json.loads(node(KATEX, json.dumps(found))))
    return mark.sub(lambda _: next(rendered), html)


def unescape(tex: str) -> str:
    """A formula as it was written: mistune has escaped it for HTML."""
    return tex.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&amp;", "&")


def node(script: str, given: str) -> str:
    """Run a Node.js script with the packages from npm; return what it printed."""
    try:
        done = subprocess.run(
            ["node", "-e", script],
            input=given,
            env=os.environ | {"NODE_PATH": str(NODE_MODULES)},
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise SlideError(NO_NPM) from None
    if done.returncode:
        raise SlideError(f"KaTeX cannot set a formula: {done.stderr.strip()}")
    return done.stdout


def page(title: str, slides: str) -> str:
    """The whole deck: style and scripts inside, the style of the pictures once."""
    styles = dict.fromkeys(re.findall(r"<style>(.*?)</style>", slides, re.DOTALL))
    slides = re.sub(r"<style>.*?</style>", "", slides, flags=re.DOTALL)
    css = [library("reveal.js/dist/reveal.css"), katex_style(), *styles, PYTHON.get_style_defs("pre")]
    css.append((DECK / "deck.css").read_text(encoding="utf-8"))
    return Template((DECK / "deck.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        style="\n".join(css),
        slides=slides,
        reveal=script(library("reveal.js/dist/reveal.js")),
        notes=script(library("reveal.js/dist/plugin/notes.js")),
        deck=script((DECK / "deck.js").read_text(encoding="utf-8")),
    )


def katex_style() -> str:
    """KaTeX's style with its fonts inside."""
    style = re.sub(r",url\([^)]*\.(?:woff|ttf)\) format\([^)]*\)", "", library("katex/dist/katex.min.css"))
    fonts = NODE_MODULES / "katex" / "dist"
    return re.sub(r"url\(([^)]*)\)", lambda found: f"url({data_uri(fonts / found[1])})", style)


def library(name: str) -> str:
    """The text of a file of a package from npm."""
    try:
        return (NODE_MODULES / name).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SlideError(NO_NPM) from None


def script(text: str) -> str:
    """JavaScript that can stand inside a page: strings in it cannot end the script, or begin another."""
    return re.sub(r"<(/script|script|!--)", r"\\x3c\1", text, flags=re.IGNORECASE)


def main(paths: list[str]) -> int:
    """Make the deck of each notebook of `paths`; return 1 if one failed, 2 if none was given."""
    if not paths:
        print("usage: slides.py NOTEBOOK ...", file=sys.stderr)
        return 2
    failed = False
    for path in map(Path, paths):
        try:
            deck = build(path)
        except (SlideError, CellExecutionError) as error:
            failed = True
            print(f"{path}: no slides: {error}", file=sys.stderr)
        else:
            print(f"{deck.relative_to(ROOT)}: {deck.stat().st_size // 1024} KB")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
