# Each target sets up what it needs: a virtual environment, pinned torch, an editable install.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TIMM := .venv-timm
TIMM_READY := $(TIMM)/.ready
DOCS := .venv-docs
DOCS_READY := $(DOCS)/.ready
FORMATS := .venv-formats
FORMATS_READY := $(FORMATS)/.ready
TRACKERS := .venv-trackers
TRACKERS_READY := $(TRACKERS)/.ready

REVIEW := .venv-review
REVIEW_READY := $(REVIEW)/.ready
MUTANTS := .venv-mutants
MUTANTS_READY := $(MUTANTS)/.ready

.PHONY: demo test quick test-timm test-formats test-trackers test-wheel test-review overfit check reference docs bench gpu proof kills soak mutants clean

demo: $(READY)
	$(BIN)/autolabel demo --work work/demo

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadgroup

# A part of `test` for use between two edits: under two CPU minutes, something of every package.
quick: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow and not exhaustive"

# The extra `timm` brings torchvision, which must not be in the environment of the other tests. The public EfficientNets
# are there to be compared with.
test-timm: $(TIMM_READY)
	$(TIMM)/bin/python -m pytest tests_timm

# Real readers of the formats that `export labels` writes. FiftyOne's importers are among them: they need no MongoDB.
test-formats: $(FORMATS_READY)
	$(FORMATS)/bin/python -m pytest tests_formats

# The review page in Chromium, which must be installed: CHROMIUM=PATH names another than `chromium`.
test-review: $(REVIEW_READY)
	$(REVIEW)/bin/python -m pytest tests_review

# The trackers' own libraries read a run back.
test-trackers: $(TRACKERS_READY)
	$(TRACKERS)/bin/python -m pytest tests_trackers

# Sdist and wheel, installed alone in an empty environment outside the checkout.
test-wheel: $(READY)
	$(BIN)/python tests_wheel/smoke.py

# Every reduced network of the table of docs/models.md; `test` and `test-timm` train a part that covers all pairs.
EVERY := -k twenty_steps -m "exhaustive or not exhaustive" --capture=no
overfit: $(READY) $(TIMM_READY)
	$(BIN)/python -m pytest tests/models/test_combinations.py $(EVERY)
	$(TIMM)/bin/python -m pytest tests_timm/test_timm_combinations.py $(EVERY)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages of docs/ that are made from the code: all settings, all commands.
reference: $(READY)
	$(BIN)/python docs/generate.py

# The documentation site, in build/site; a broken link is an error.
docs: export NO_MKDOCS_2_WARNING := 1
docs: $(DOCS_READY)
	$(DOCS)/bin/mkdocs build --strict

# These need a data set or a GPU.
NEEDING := proof gpu promises next_images
bench: $(READY)
	for file in $(filter-out $(NEEDING:%=benchmarks/%.py),$(wildcard benchmarks/[a-z]*.py)); do $(BIN)/python $$file || exit 1; done

# What only a GPU can tell (docs/gpu.md), under eight minutes on one H100; each result is printed as soon as it is there.
gpu: $(READY)
	$(BIN)/python benchmarks/gpu.py $(GPU)

# The method on real images: the main tables in about eight CPU hours; PROOF=TABLE runs any one alone. It goes on where it
# was stopped and writes docs/proof.md: make proof CAMVID=PATH.
# PROOF takes tables and options, as in PROOF='students --seeds 3'.
proof: $(READY)
	$(BIN)/python benchmarks/proof.py "$(CAMVID)" $(PROOF)

# Twenty SIGKILLs of a training, with one and with two loader threads; the suite does two of each.
kills: $(READY)
	$(BIN)/python -m tests.training.killing 20

# Every fault of tests/faults, many times: up to 120 CPU minutes. SOAK takes options, as in SOAK='--share 0.1'.
soak: $(READY)
	$(BIN)/python -m tests.faults.soak $(SOAK)

# A drawn sample of small changes of the code, each of which a test must catch (docs/reliability.md): ten CPU minutes.
# SAMPLE takes packages and options, as in SAMPLE='store --count 100 --seed 1'.
mutants: $(MUTANTS_READY)
	$(MUTANTS)/bin/python tests_mutants/sample.py $(SAMPLE)

# The stamp depends on what defines the environment, so a changed dependency is installed and nothing else is.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(TIMM_READY): pyproject.toml constraints.txt
	test -x $(TIMM)/bin/python || $(PYTHON) -m venv $(TIMM)
	$(TIMM)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[timm]' 'pytest>=8.4' efficientnet_pytorch==0.7.1 efficientnet-lite-pytorch==0.1.0
	touch $@

$(FORMATS_READY): pyproject.toml constraints.txt
	test -x $(FORMATS)/bin/python || $(PYTHON) -m venv $(FORMATS)
	$(FORMATS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e . 'pytest>=8.4' 'hypothesis>=6.130' pycocotools==2.0.11 datumaro==1.13.12 cityscapesScripts==2.3.0 label-studio-sdk==2.1.2 datasets==5.2.0 mlcroissant==1.1.1 fiftyone==1.22.1
	touch $@

$(REVIEW_READY): pyproject.toml constraints.txt
	test -x $(REVIEW)/bin/python || $(PYTHON) -m venv $(REVIEW)
	$(REVIEW)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[review]' 'pytest>=8.4' 'playwright>=1.50'
	touch $@

$(TRACKERS_READY): pyproject.toml constraints.txt
	test -x $(TRACKERS)/bin/python || $(PYTHON) -m venv $(TRACKERS)
	$(TRACKERS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[tensorboard,wandb,mlflow,trackio]' 'pytest>=8.4'
	touch $@

$(MUTANTS_READY): pyproject.toml constraints.txt
	test -x $(MUTANTS)/bin/python || $(PYTHON) -m venv $(MUTANTS)
	$(MUTANTS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' mutmut==3.8.1
	touch $@

# The site's pages are made from the sources alone: nothing of autolabel's own needs is installed.
$(DOCS_READY): pyproject.toml constraints.txt
	test -x $(DOCS)/bin/python || $(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt 'mkdocs-material>=9.7' 'mkdocstrings-python>=2.0'
	touch $@

clean:
	rm -rf $(MUTANTS) $(TRACKERS) $(VENV) $(TIMM) $(DOCS) $(FORMATS) $(REVIEW) .pytest_cache .mypy_cache .ruff_cache .hypothesis
