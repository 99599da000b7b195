# Everything a newcomer or the continuous integration needs; `make help` lists it. Needs Python 3.11+ and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# A process for each core; every process computes with one thread.
PYTEST := $(BIN)/pytest --numprocesses logical --maxprocesses 8 --dist worksteal

FILES ?= $(wildcard examples/*.txt)
RECIPE ?= configs/debian-synopsis.yaml
INPUTS ?= 480
TIME_LIMIT ?= 10

# transformers' own tests, which its source distribution holds: of exactly the version that is installed.
SDIST := $(VENV)/transformers-sdist/transformers-$(shell sed -n 's/^transformers==//p' constraints.txt)

.DEFAULT_GOAL := help
.PHONY: help setup demo train bench test test-all test-contract test-transformers fuzz check lint types imports format clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

setup: $(STAMP)  ## make the virtual environment; again only if pyproject.toml or constraints.txt changed

# torch comes first and by its exact version, so that a local build of that version is taken where there is one.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: SimMIM needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,dev]'
	@touch $@

demo: $(STAMP)  ## summarise the example texts with the shipped model; yours: make demo FILES="a.txt b.txt"
	@$(BIN)/simmim summarize $(FILES)

train: $(STAMP)  ## train a model; another recipe: make train RECIPE=configs/mine.yaml
	$(BIN)/simmim train $(RECIPE)

bench: $(STAMP)  ## measure speed and memory beside full attention
	$(BIN)/python -m benchmarks.speed

test: $(STAMP)  ## run the tests that need no network (under a few minutes on two cores)
	$(PYTEST)

test-all: $(STAMP)  ## run every test, the slow ones too
	$(PYTEST) -m ""

test-contract: $(STAMP)  ## run the contracts that are marked slow
	$(PYTEST) -m "slow and contract"

$(SDIST): $(STAMP)
	@rm -rf $(@D) && mkdir -p $(@D)
	$(BIN)/python -m pip download --quiet --no-deps --no-build-isolation --no-binary transformers --dest $(@D) $(subst transformers-,transformers==,$(@F))
	tar --extract --gzip --file $@.tar.gz --directory $(@D)
	@touch $@

test-transformers: $(SDIST)  ## run the common tests of transformers on every class
	TRANSFORMERS_SDIST=$(SDIST) $(PYTEST) -m "" -W ignore --confcutdir tests/transformers_suite tests/transformers_suite

fuzz: $(STAMP)  ## try generated bad inputs of every kind; more: make fuzz INPUTS=5000
	$(BIN)/python -m lab.fuzz --inputs $(INPUTS) --time-limit $(TIME_LIMIT)

check: lint types imports  ## format, lint, types and the layers' import rule

lint: $(STAMP)
	$(BIN)/ruff format --check
	$(BIN)/ruff check

types: $(STAMP)
	$(BIN)/mypy

imports: $(STAMP)
	$(BIN)/lint-imports

format: $(STAMP)  ## format the code and mend what ruff can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:  ## remove caches and builds; the environment and runs/ stay
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
