# On a fresh machine with Python 3.11+ and make: `make run` answers the main question, `make test` tries everything.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
TORCH := $(shell grep '^torch==' constraints.txt)
# PyPI's torch for Linux brings gigabytes of CUDA; its CPU builds are on an index of their own.
# A machine whose pip has been pointed at wheels of its own (find-links) keeps to those.
TORCH_INDEX ?= $(if $(shell $(BIN)/python -m pip config list | grep find-links),,https://download.pytorch.org/whl/cpu)
RUNS ?= ../shared/corpus/runs.csv
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: cross-check published help run compile test check format golden bench accuracy clean examples

help:  ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

run: compile  ## install what the main job needs, and do it
	$(BIN)/vramplan estimate llama-70b --gpu a100-80

# pip compiles what it installs, but not an editable source; PYTHONDONTWRITEBYTECODE would leave it so at every start.
compile: $(VENV)/.core
	@$(BIN)/python -m compileall -q vramplan profiles reports

test: $(VENV)/.dev  ## install the rest (CPU torch included) and run the whole test suite
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/.dev  ## style, types, one-way imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev  ## put the code into the house style
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

golden: $(VENV)/.dev  ## write the expected outputs anew; read the diff before you commit it
	UPDATE_GOLDEN=1 $(BIN)/python -m pytest -q tests/budget tests/reports tests/cli tests/test_readme.py tests/test_accuracy.py tests/test_seeds.py tests/test_formulas.py tests/test_calibrate.py tests/test_speed_corpus.py $(PYTEST_ARGS)
	git --no-pager diff --stat -- tests README.md docs

cross-check: $(VENV)/.dev  ## every family, estimate against dry run (most of an hour)
	$(BIN)/python -m vramplan_bench.cross_check $(ARGS)

published: $(VENV)/.dev  ## dry runs at full depth against published peaks (RUNS=file, five minutes)
	$(BIN)/python -m vramplan_bench.published $(RUNS) $(ARGS)

bench: $(VENV)/.dev compile  ## start-up time of the main job, a million recipes, a plan
	$(BIN)/python tests/benchmarks/startup.py
	$(BIN)/python tests/benchmarks/million.py
	$(BIN)/python tests/benchmarks/report.py
	$(BIN)/python tests/benchmarks/sweep.py
	$(BIN)/python tests/benchmarks/plan.py

examples: $(VENV)/.dev  ## budgets of reports/examples: pages (not committed), Markdown, JSON, pictures
	@for scenario in reports/examples/*.toml; do \
	  $(BIN)/vramplan report build $$scenario --force $(foreach kind,html md json,-o $${scenario%.toml}.$(kind)) || [ $$? = 1 ] || exit 2; \
	done
	-$(BIN)/python tests/browser/pictures.py

accuracy: $(VENV)/.core  ## predictions against measured runs (RUNS=file)
	$(BIN)/vramplan accuracy $(RUNS)

clean:  ## remove what make and the tools have made
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "vramplan needs Python 3.11 or later; \`make PYTHON=/path/to/python\` picks one"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .
	@touch $@

# Liger without its triton, which a dry run does without. torch first: whatever depends on it would bring its largest build.
$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.core
	$(PIP) $(addprefix --extra-index-url ,$(TORCH_INDEX)) $(TORCH)
	$(PIP) --editable '.[dev]'
	$(PIP) --no-deps liger-kernel
	@touch $@
