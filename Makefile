# Each target sets up what it needs: a virtual environment, pinned torch, an editable install.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check bench kills clean

demo: $(READY)
	$(BIN)/autolabel demo --work work/demo

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadgroup

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	for file in benchmarks/[a-z]*.py; do $(BIN)/python $$file || exit 1; done

# Twenty SIGKILLs of a training, with one and with two loader threads; the suite does two of each.
kills: $(READY)
	$(BIN)/python tests/training/killing.py 20

# The stamp depends on what defines the environment, so a changed dependency is installed and nothing else is.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
