# Every command of the project. Needs Python 3.11 or newer and make; everything else is put into .venv/.
#
#   make lab            the workbook in JupyterLab                     (LAB_FLAGS= more flags for JupyterLab)
#   make test           every test, browser included                   (what .ci/run runs)
#   make quick          ruff, mypy, the core and the engines: two minutes, no notebook and no browser
#   make lint           ruff and mypy
#   make notebooks      run the notebooks again and store their outputs in place
#   make findings       compute the figures of FINDINGS.md again       (FINDINGS= names of sections: only those)
#   make slides         one HTML deck for each chapter, in build/slides/ (see CONTRIBUTING.md)
#   make slides-check   make them and look, in Chromium, whether a slide is cut off
#   make screenshots    the pictures of the labs in the README          (SCREENSHOTS=folder: of everything, to look at)
#   make bench          measure speed                                  (BENCH_FLAGS=--json; --browser after make test)
#   make binder-check   build what mybinder.org would build, without Docker
#   make lock           solve requirements.lock again                  (LOCK_FLAGS=--upgrade for newer versions)
#   make clean          remove .venv/, build/ and caches; my/ stays

# The first Python on this machine that is new enough and can make a virtual environment.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do \
	"$$p" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
BIN := .venv/bin
NOTEBOOKS = $(wildcard notebooks/*.ipynb)
CHAPTERS = $(wildcard notebooks/[0-9]*.ipynb)

# What `make quick` runs: the tests of the core, then of the engines of labs and lessons, then of the repository itself.
QUICK = $(patsubst %,tests/test_%.py,property_pages descriptors interrupts check fast bad_input gfp layout memdesc page page_alloc ram \
	recording slub slub_size trace users zones labs lab_engine lessons chapter_form repository shape workbook)

.PHONY: lab test quick lint notebooks findings slides slides-check screenshots bench binder-check lock clean chromium
.DELETE_ON_ERROR:

# In a container everybody is root, and JupyterLab wants to be told that this is meant.
lab: .venv/lab.stamp
	$(BIN)/python -m memlab.workbook
	$(BIN)/jupyter lab --ServerApp.root_dir="$(CURDIR)" $(if $(filter 0,$(shell id -u)),--allow-root) \
		$(LAB_FLAGS) my/00_start.ipynb

test: .venv/test.stamp .venv/npm.stamp chromium lint
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder --ignore=tests/browser
	$(BIN)/python -m pytest tests/browser

quick: .venv/test.stamp lint
	$(BIN)/python -m pytest -n 2 $(QUICK)

lint: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

notebooks: .venv/test.stamp
	$(BIN)/python tests/tools/cheatsheet.py
	$(BIN)/python tests/tools/execute_notebooks.py $(NOTEBOOKS)

findings: .venv/test.stamp
	$(BIN)/python tests/tools/findings.py $(FINDINGS)

slides: .venv/test.stamp .venv/npm.stamp
	rm -rf build/slides
	$(BIN)/python tests/tools/slides.py $(CHAPTERS)

slides-check: slides chromium
	$(BIN)/python tests/tools/slides_check.py build/slides/*.html

screenshots: .venv/test.stamp chromium
	$(BIN)/python tests/tools/screenshots.py $(SCREENSHOTS)

bench: .venv/bench.stamp
	$(BIN)/python $(if $(filter --browser,$(BENCH_FLAGS)),tests/tools/bench_browser.py,-m memlab.bench) $(filter-out --browser,$(BENCH_FLAGS))

binder-check: .venv/binder.stamp
	$(BIN)/python tests/tools/binder_check.py

# uv solves for all platforms and Python versions at once. It is not pinned: making a new lock is its only use.
lock: .venv/pyvenv.cfg
	$(BIN)/python -m pip install --quiet --upgrade uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --all-extras \
		--custom-compile-command "make lock" $(LOCK_FLAGS) --output-file requirements.lock pyproject.toml
	$(BIN)/python tests/tools/binder_requirements.py

clean:
	rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache .hypothesis test-results
	find memlab tests -name __pycache__ -prune -exec rm -rf {} +

# One stamp for each extra of pyproject.toml, so that nothing is installed twice.
.venv/%.stamp: .venv/pyvenv.cfg pyproject.toml requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[$*]'
	@touch $@

# What the slides and the browser tests take from npm. No script of a package is run.
.venv/npm.stamp: .venv/pyvenv.cfg tests/tools/npm/package.json tests/tools/npm/package-lock.json
	@command -v npm >/dev/null || { echo "The slides and the browser tests need npm, which comes with Node.js 18 or newer \
	(Debian, Ubuntu: sudo apt install npm)." >&2; exit 1; }
	mkdir -p .venv/npm
	cp tests/tools/npm/package.json tests/tools/npm/package-lock.json .venv/npm/
	cd .venv/npm && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

.venv/pyvenv.cfg:
	@test -n "$(PYTHON)" || { echo "memlab needs Python 3.11 or newer with its venv module \
	(Debian, Ubuntu: apt install python3 python3-venv)." >&2; exit 1; }
	$(PYTHON) -m venv .venv

# The browser tests need a Chromium. In a container or CI (root, apt) it is installed; elsewhere that is yours to do.
chromium:
	@if [ -n "$$CHROMIUM" ] || command -v chromium || command -v chromium-browser || command -v google-chrome; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core </dev/null; \
	else echo "The browser tests need Chromium: install it (Debian, Ubuntu: sudo apt install chromium), \
	or name one with CHROMIUM=/path/to/it." >&2; exit 1; fi
