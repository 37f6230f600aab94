# `make demo` and `make test` do everything on a fresh machine with Python 3.11, make and pip.
# All targets share one virtual environment, .venv, and are safe to run again.

PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp-setup
WORKDIR ?= demo
# Two processes; a file's tests stay in one, so that its fixtures are made once.
PYTEST_ARGS ?= -n 2 --dist loadfile

export MLFLOW_DISABLE_TELEMETRY := true
export ZENML_ANALYTICS_OPT_IN := false
# Two test processes with two threads each get in each other's way on two cores.
unit test-long: export OMP_NUM_THREADS := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo ui test test-long lint format types imports unit bench-scenes bench-verdicts bench-frozen bench-classes bench-report bench-scale bench-speed bench-efficacy bench-coverage architectures picture docs release-check image test-stack constraints clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "camgate needs Python 3.11 ($(PYTHON) not found; set PYTHON=...)"; exit 2; }
	@test -e src/camgate/steps/__init__.py || { echo "src/camgate/steps is a symbolic link that this checkout did not create: on Windows set 'git config core.symlinks true' and check out again"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

setup: $(STAMP) ## make .venv and install camgate with all it needs

demo: $(STAMP) ## the whole story: a biased model is refused, an honest one becomes champion
	$(BIN)/camgate demo --workdir $(WORKDIR)

ui: $(STAMP) ## MLflow's pages on the demo's store (http://127.0.0.1:5000)
	@test -f $(WORKDIR)/mlflow.db || { echo "no store in $(WORKDIR); run 'make demo' first"; exit 2; }
	$(BIN)/mlflow ui --host 127.0.0.1 --backend-store-uri sqlite:///$(WORKDIR)/mlflow.db

lint: $(STAMP) ## ruff: style, docstrings, annotations, security
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## rewrite the code the way `lint` wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP) ## mypy, strict, on the package
	$(BIN)/mypy

imports: $(STAMP) ## the one-way arrows between the parts
	$(BIN)/lint-imports

unit: $(STAMP) ## the tests alone
	$(BIN)/python -m pytest -m "not long" $(PYTEST_ARGS)

test: lint types imports unit ## set up, lint, types, import contracts, tests

test-long: $(STAMP) lint types imports ## everything, full-size versions included
	$(BIN)/python -m pytest $(PYTEST_ARGS)

docs: $(STAMP) ## the documentation site, in site/ (open site/index.html)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

release-check: $(STAMP) ## is this fit to be released? sdist, wheel, version, licences (downloads and unpacks several GB)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[release]'
	$(BIN)/python -m tools.release_check

image: ## build the container image `camgate` (needs docker; TORCH=cuda for GPUs)
	docker build --file docker/Dockerfile --tag camgate --build-arg TORCH=$(or $(TORCH),cpu) \
		--build-arg VERSION=$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' src/camgate/_version.py) \
		--build-arg REVISION=$$(git rev-parse HEAD) .

test-stack: $(STAMP) ## what docker/compose.yaml runs, without containers: servers, demo, checks (needs postgresql)
	$(BIN)/python docker/try_stack.py

constraints: ## resolve pyproject.toml afresh and write constraints.txt
	rm -rf build/resolve && $(PYTHON) -m venv build/resolve
	build/resolve/bin/python -m pip install --quiet --upgrade pip
	build/resolve/bin/python -m pip install --quiet --editable '.[dev,docs,release]'
	{ sed -n '/^#/p' constraints.txt; build/resolve/bin/python -m pip freeze --exclude-editable; } > build/constraints.txt
	mv build/constraints.txt constraints.txt

bench-scenes: $(STAMP) ## scenes rendered per second
	$(BIN)/python benchmarks/scenes_speed.py

bench-frozen: $(STAMP) ## epochs of the whole network relative to the last layer alone
	$(BIN)/python benchmarks/frozen_backbone.py

bench-classes: $(STAMP) ## judging and reporting 1,000 classes relative to 10
	$(BIN)/python benchmarks/large_label_sets.py

bench-report: $(STAMP) ## how soon the report of 10,000 images can be used (needs chromium)
	$(BIN)/python benchmarks/report_speed.py

bench-speed: $(STAMP) ## what an audit costs against prediction and other tools, into docs/speed.md (forty minutes; leave the machine alone meanwhile)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m pip install --quiet --no-deps quantus==0.6.0  # it asks for an opencv that breaks ours
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/memory.py

bench-scale: $(STAMP) ## what audits of large sets cost, into docs/scale.md (minutes; leave the machine alone meanwhile)
	$(BIN)/python benchmarks/scale.py

bench-efficacy: $(STAMP) ## train and audit the shortcut zoo and write docs/efficacy.md (hours; goes on where it stopped; VIDEO=vtest.avi for real photographs)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/efficacy/run.py $(if $(VIDEO),--video $(VIDEO))

bench-coverage: $(STAMP) ## coverage of the intervals, written into docs/statistics.md
	$(BIN)/python benchmarks/coverage.py

architectures: $(STAMP) ## write docs/architectures.md
	$(BIN)/python benchmarks/architectures.py

bench-verdicts: $(STAMP) ## the verdict on DATA=manifest.csv over training seeds
	$(BIN)/python benchmarks/verdict_over_seeds.py --data $(DATA)

picture: $(STAMP) ## the README's picture of a blocked model, from the demo's results
	$(BIN)/python docs/make_picture.py --workdir $(WORKDIR) --out docs/images/blocked.png

clean: ## remove .venv, the demo's folder and caches
	rm -rf $(VENV) $(WORKDIR) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist site src/*.egg-info
