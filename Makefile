# Needs Python 3.11 or later and make; everything else is installed into .venv.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help install demo test lint format clean-demo

PYTHON ?= python3
PY := .venv/bin/python
INSTALLED := .venv/.installed
CLIPS_PER_EMOTION ?= 14

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED)  ## make .venv and install the tested versions into it

$(INSTALLED): requirements.txt requirements-dev.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is older than 3.11; give PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
	@touch $@

# -- demo: each step is a file, so that a second run starts nothing twice -------------------------
CORPUS := demo/qia2020/.done
FEATURES := demo/features/.done
RUN := $(PY) train.py --features_dir demo/features --logs_dir demo/logs --exp_name demo --resume True \
  --num_workers 1 --pretrained false --batch_size 16

demo: demo/logs/speech/demo/result.json  ## install, make a sample corpus, preprocess, train, show a table
	@$(PY) -m src.training.table demo/logs

$(CORPUS): | $(INSTALLED)
	$(PY) -m src.corpora.sample --out demo/qia2020 --clips_per_emotion $(CLIPS_PER_EMOTION) --seed 0
	@touch $@

$(FEATURES): $(CORPUS)
	$(PY) preprocess.py --data_dir demo/qia2020 --features_dir demo/features
	@touch $@

demo/logs/speech/demo/result.json: $(FEATURES)
	$(RUN) --mode speech --n_epoch 30

clean-demo:  ## forget the demo
	rm -rf demo

# -- tests ----------------------------------------------------------------------------------------
test: lint  ## lint, then all tests with coverage
	$(PY) -m pytest --cov --cov-report=term

lint: $(INSTALLED)  ## ruff
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: $(INSTALLED)  ## let ruff format the code
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .
