PYTHON ?= python3
VENV ?= .venv
# Where other libraries are compared with: environments of their own, so that what they bring cannot change what a change is checked with.
ORACLE_VENV ?= .oracle
ORACLE_OFFLINE_VENV ?= .oracle-offline
# vLLM's build for a processor pins what ours leaves open, so that it has an environment of its own, too.
VLLM_VENV ?= .vllm
# Where the CPU build of torch comes from, beside the package index: PyPI's own Linux build brings several GB of CUDA libraries.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
ORACLE_INSTALL := $(ORACLE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
VLLM_INSTALL := $(VLLM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps
OFFLINE_INSTALL := $(ORACLE_OFFLINE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
CORE := $(VENV)/.core
DEV := $(VENV)/.dev

.DEFAULT_GOAL := help
.PHONY: help demo test slow check format lint types contracts tidy board gpu vllm oracle

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(CORE) ## train GSPO on the tiny GSM8K: CPU, no network after the installation
	$(BIN)/bench run --algo gspo --task gsm8k

test: $(DEV) ## every test that needs no GPU, no network and no more than seconds, on every core
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto

slow: $(DEV) ## the tests that take longer or need a package index
	$(BIN)/pytest -q -m "slow and not gpu and not oracle and not vllm"

# `make check test` runs the tests once: make builds a target only once per call.
check: format lint types contracts test ## all that a change must pass

format: $(DEV)
	$(BIN)/ruff format --check .

lint: $(DEV)
	$(BIN)/ruff check .

types: $(DEV)
	$(BIN)/mypy

contracts: $(DEV)
	$(BIN)/lint-imports --no-cache

tidy: $(DEV) ## let ruff mend format and lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A test holds README and pictures equal to results/board. To add runs: `bench pack --results results results/board`, then this.
board: $(DEV) ## the README's leaderboard and pictures, from the runs in results/board
	$(BIN)/bench leaderboard --results results/board --readme README.md
	$(BIN)/bench leaderboard --results results/board --write results/board >/dev/null
	$(BIN)/bench plot learning_curves --results results/board --table gsm8k-tiny --out docs/pictures/learning_curves.svg
	$(BIN)/bench plot aggregates --results results/board --out docs/pictures/aggregates.svg

# The measurements end by themselves after so many minutes, with what they have by then.
MINUTES ?= 9

# Uses the machine's own Python with its CUDA build of torch, straight from the checkout: no virtual environment, nothing installed. The
# project's pytest settings and conftest are left out, for they want a newer pytest and hypothesis.
gpu: ## GPU tests and measurements, with PYTHON as it is
	PYTHONPATH=. $(PYTHON) -m pytest -q -m gpu -c /dev/null --rootdir=. --noconftest --import-mode=importlib -p no:cacheprovider tests/test_gpu.py
	PYTHONPATH=. $(PYTHON) benchmarks/gpu.py --minutes $(MINUTES)

# One thread: with more, those of torch and of vLLM wait for each other in turns. A process of its own: an engine changes what is the process's.
vllm: $(VLLM_VENV)/.ready ## the vllm sampler with vLLM itself, on a processor, in an environment of its own (3 GB)
	OMP_NUM_THREADS=1 $(VLLM_VENV)/bin/python -m pytest -q -m vllm tests/test_vllm.py

oracle: $(ORACLE_VENV)/.ready $(ORACLE_OFFLINE_VENV)/.ready ## compare every rule with other libraries, in environments of their own (4 GB)
	$(ORACLE_VENV)/bin/bench check --against verl
	$(ORACLE_VENV)/bin/bench check --against trl
	$(ORACLE_VENV)/bin/bench check --against sb3
	$(ORACLE_OFFLINE_VENV)/bin/bench check --against d3rlpy
	$(ORACLE_VENV)/bin/pytest -q -m oracle
	$(ORACLE_OFFLINE_VENV)/bin/pytest -q -m oracle

# torch comes first and alone, so that only this one package is looked up in TORCH_INDEX. pip prefers 2.13.0+cpu to 2.13.0; where the index
# cannot be reached, the build that the other indices offer is taken.
$(CORE): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --no-deps --retries 1 --extra-index-url $(TORCH_INDEX) torch
	$(INSTALL) -e .
	@touch $@

$(DEV): $(CORE)
	$(INSTALL) -e ".[dev,full,lora,optim,math,rg,box2d,mujoco,offline,track]"
	@touch $@

# verl's metadata asks for an older transformers than ours; what it needs of the rest is in the extra.
$(ORACLE_VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(ORACLE_VENV)
	$(ORACLE_INSTALL) --no-deps --retries 1 --extra-index-url $(TORCH_INDEX) torch
	$(ORACLE_INSTALL) -e ".[oracle]" pytest hypothesis
	$(ORACLE_INSTALL) --no-deps verl==0.9.1
	@touch $@

# d3rlpy's metadata asks for an older gymnasium than ours, and gym's for nothing that is missing; what they need of the rest is in the extra.
$(ORACLE_OFFLINE_VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(ORACLE_OFFLINE_VENV)
	$(OFFLINE_INSTALL) --no-deps --retries 1 --extra-index-url $(TORCH_INDEX) torch
	$(OFFLINE_INSTALL) -e ".[oracle-offline]" pytest hypothesis
	$(OFFLINE_INSTALL) --no-deps d3rlpy==2.8.1 gym==0.26.2
	@touch $@

# No requirement is looked at: vLLM's name libraries that are built for CUDA, and break it where there is none.
$(VLLM_VENV)/.ready: constraints-vllm.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_INSTALL) -c constraints-vllm.txt --retries 1 --extra-index-url $(TORCH_INDEX) torch
	$(VLLM_INSTALL) -r constraints-vllm.txt
	$(VLLM_INSTALL) -e .
	@touch $@
