# Two commands on a fresh machine: `make demo` and `make test`. Everything else is for developers.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2

.PHONY: demo test test-vllm lint docs setup clean

demo:
	@$(PYTHON) scripts/setup.py $(VENV) train
	$(BIN)/empg-gym train configs/alfworld-tiny.toml --out runs/demo --resume

setup:
	@$(PYTHON) scripts/setup.py $(VENV) test

test: setup
	OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup
	$(BIN)/mkdocs build --strict

clean:
	rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache
