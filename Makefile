PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint exhaustive bench gpu clean

demo: $(VENV)/demo.stamp
	$(BIN)/python -m cupylut demo

# On two cores, which is what continuous integration has.
test: $(VENV)/test.stamp lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

exhaustive: $(VENV)/test.stamp
	$(BIN)/python -m pytest -m exhaustive

bench: $(VENV)/demo.stamp
	$(BIN)/python -m cupylut bench bandwidth --device cpu

$(VENV)/demo.stamp: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[plot]'
	touch $@

# PyTorch first and alone: with it in place, nothing else pulls another build of it.
$(VENV)/test.stamp: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@ $(VENV)/demo.stamp

gpu:
	.ci/gpu

clean:
	rm -rf $(VENV) build *.egg-info
