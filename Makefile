# make demo   a virtual environment, the embedded model drawing, a real score, a leaderboard
# make test   a virtual environment with the development tools, and the whole test suite

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint clean

$(BIN)/alphabench: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $(BIN)/alphabench

$(BIN)/pytest: $(BIN)/alphabench
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,train,data]'
	touch $(BIN)/pytest

demo: $(BIN)/alphabench
	$(BIN)/alphabench run geneval:mini --ckpt nano
	$(BIN)/alphabench run geneval:mini --ckpt nano --think
	$(BIN)/alphabench leaderboard runs

test: $(BIN)/pytest
	$(BIN)/pytest

lint: $(BIN)/pytest
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
