# Two commands do everything on a machine with Python 3.11+ and git:
#   make demo    the quickstart sweep, offline
#   make test    every test tier that this machine can run
# Each makes the virtual environment first. `make demo FRESH=1` trains again.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DEMO   := .demo

# The project names real test data by two variables only; where a folder named shared/data lies beside the checkout it is taken.
SHARED ?= $(wildcard $(CURDIR)/../shared)
ifneq ($(SHARED),)
export LFRAY_TEST_DATA ?= $(SHARED)/data
export LFRAY_TEST_ORACLES ?= $(SHARED)/oracles.json
endif

export PYTHONUNBUFFERED = 1
export HF_HUB_DISABLE_TELEMETRY = 1

.PHONY: setup demo test fast lint types unit ray browser build bench bench-gang clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "lfray needs Python 3.11 or newer (set PYTHON=...)")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	@mkdir -p $(DEMO)
	@if [ -n "$(FRESH)" ]; then rm -rf $(DEMO)/lfray-runs $(DEMO)/mlflow.db $(DEMO)/mlartifacts; fi
	cd $(DEMO) && ../$(BIN)/lfray run ../sweeps/quickstart.yaml
	@echo "look at the runs:   cd $(DEMO) && ../$(BIN)/mlflow ui"
	@echo "query the front:    cd $(DEMO) && ../$(BIN)/lfray front quickstart"

system: $(STAMP)
	@sh .ci/system-packages

# Cheap tiers first: a mistake in types should not cost twenty minutes.
test: lint types system
	$(BIN)/python -m pytest tests -m "not ray and not browser and not slow" -n 2
	$(BIN)/python -m pytest tests -m "ray or browser or slow"
	$(MAKE) build

fast: $(STAMP)
	$(BIN)/python -m pytest tests -m "not ray and not browser and not slow" -n 2

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy lfray tests

build: $(STAMP)
	rm -rf build dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist . >/dev/null
	$(BIN)/python tests/wheel_holds_lfray_only.py dist/*.whl
	rm -rf build dist

bench: $(STAMP)
	$(BIN)/python -m benchmarks.makespan

bench-gang: $(STAMP)
	$(BIN)/python -m benchmarks.gang_overhead

clean:
	rm -rf $(VENV) $(DEMO) build dist
