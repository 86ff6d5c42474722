# `make` or `make help` lists the targets. PYTHON and VENV choose the interpreter and the virtual environment.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo train-demo test lint docs clean

help:  ## this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

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

demo: $(BIN)/alphabench  ## GenEval's six tasks with the embedded model, and a leaderboard
	$(BIN)/alphabench run geneval:mini --ckpt nano
	$(BIN)/alphabench run geneval:mini --ckpt nano --think
	$(BIN)/alphabench leaderboard runs

# The beginning of nano-awm, the recipe that rises soonest: a few minutes of two cores.
train-demo: $(VENV)/train.stamp  ## five minutes of training that model on two cores
	rm -rf runs/train/demo
	$(BIN)/alphabench train nano-awm training.steps=8 training.validate_every=4 \
		training.validate_views=[train] --out runs/train/demo

# One thread for each process: more threads than cores wait for each other.
test: $(BIN)/pytest  ## the test suite (development tools are installed first)
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2

lint: $(BIN)/pytest  ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/docs.stamp  ## the documentation site in site/; a warning, such as a dead link, is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis
