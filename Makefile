# make demo         a virtual environment, the embedded model drawing, a real score, a leaderboard
# make train-demo   five minutes of training that model on two cores; its held-out curve at the end
# make test         a virtual environment with the development tools, and the whole test suite
# make docs         the documentation site in site/; a warning, such as a dead link, is an error

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo train-demo test lint docs clean

$(BIN)/alphabench: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $(BIN)/alphabench

$(VENV)/train.stamp: $(BIN)/alphabench
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[train]'
	touch $(VENV)/train.stamp

$(BIN)/pytest: $(BIN)/alphabench
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,train,data,notebook,docs]'
	touch $(BIN)/pytest

$(VENV)/docs.stamp: $(BIN)/alphabench
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $(VENV)/docs.stamp

demo: $(BIN)/alphabench
	$(BIN)/alphabench run geneval:mini --ckpt nano
	$(BIN)/alphabench run geneval:mini --ckpt nano --think
	$(BIN)/alphabench leaderboard runs

# The beginning of nano-awm, the recipe that rises soonest: a few minutes of two cores.
train-demo: $(VENV)/train.stamp
	rm -rf runs/train/demo
	$(BIN)/alphabench train nano-awm training.steps=8 training.validate_every=4 \
		training.validate_views=[train] --out runs/train/demo

# One thread for each process: more threads than cores wait for each other.
test: $(BIN)/pytest
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2

lint: $(BIN)/pytest
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/docs.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:
	rm -rf $(VENV) build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis
