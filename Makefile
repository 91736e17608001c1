# Needs Python 3.11 or later and make; everything else is installed into .venv.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help install demo test benchmark gpu torture lint format clean-demo

PYTHON ?= python3
PY := .venv/bin/python
export PYTHONPATH := src
INSTALLED := .venv/.installed
CLIPS_PER_EMOTION ?= 14

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED)  ## make .venv and install the tested versions into it

$(INSTALLED): $(wildcard requirements*.txt) constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is older than 3.11; give PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
	@touch $@

# -- demo: each step is a file, so that a second run starts nothing twice -------------------------
CORPUS := demo/qia2020/.done
FEATURES := demo/features/.done
TRAIN := $(PY) train.py --features_dir demo/features --logs_dir demo/logs --resume True \
  --num_workers 1 --pretrained false --batch_size 16
LOGS := demo/logs
SINGLE := $(LOGS)/speech/demo/result.json $(LOGS)/face/resnet3d/result.json $(LOGS)/text/demo/result.json
FACE := --face_model resnet3d --face_size 32

demo: $(LOGS)/multimodal/demo/result.json  ## install, make a sample corpus, preprocess, train, show a table
	@if [ -d demo/features/train/video_embedding ]; then \
	  $(TRAIN) --mode face --exp_name attention_lstm --face_model attention_lstm --n_epoch 15; fi
	@$(PY) -m emotion.training.table $(LOGS)

$(CORPUS): | $(INSTALLED)
	$(PY) -m emotion.sample --out demo/qia2020 --clips_per_emotion $(CLIPS_PER_EMOTION) --seed 0
	@touch $@

$(FEATURES): $(CORPUS)
	$(PY) preprocess.py --data_dir demo/qia2020 --features_dir demo/features
	@touch $@

$(LOGS)/speech/demo/result.json: $(FEATURES)
	$(TRAIN) --mode speech --exp_name demo --n_epoch 24

$(LOGS)/face/resnet3d/result.json: $(FEATURES)
	$(TRAIN) --mode face --exp_name resnet3d $(FACE) --n_epoch 8 --learning_rate 2e-3

$(LOGS)/text/demo/result.json: $(FEATURES)
	$(TRAIN) --mode text --exp_name demo --n_epoch 15

$(LOGS)/multimodal/demo/result.json: $(SINGLE)
	$(TRAIN) --mode multimodal --exp_name demo $(FACE) --n_epoch 10 --lam 0 --freeze_backbone True \
	  --speech_load_weights $(LOGS)/speech/demo --face_load_weights $(LOGS)/face/resnet3d \
	  --text_load_weights $(LOGS)/text/demo

clean-demo:  ## forget the demo
	rm -rf demo

# -- tests ----------------------------------------------------------------------------------------
test: lint  ## lint, then all tests with coverage
	$(PY) -m pytest -n auto --dist loadfile --cov --cov-report=term

benchmark: $(INSTALLED)  ## preprocessing and training against what bounds them (half an hour)
	$(PY) benchmarks/preprocessing.py --json preprocessing.json
	$(PY) benchmarks/training.py --threads 1 --json training.json
	$(PY) benchmarks/training.py --threads 1 --modes "speech B0" --variants channels_first --json layout.json
	$(PY) benchmarks/training.py --first_step 44370

DEVICE ?= cuda
OUT ?= benchmarks/results

gpu: $(INSTALLED)  ## everything promised of CUDA, 8 minutes; DEVICE=cpu is a dry run, OUT=DIR takes the results
	$(PY) benchmarks/gpu.py --device $(DEVICE) --out $(OUT)

torture: $(INSTALLED)  ## faults injected on purpose: kills, broken files (minutes); ends with a table
	$(PY) -m pytest -m "torture or not torture" tests/faults

audit: .audit/bin/pip-audit  ## known vulnerabilities of the tested versions, by pip-audit (network)
	$< --no-deps --disable-pip -r constraints.txt

.audit/bin/pip-audit:
	$(PYTHON) -m venv .audit
	.audit/bin/pip install --quiet --disable-pip-version-check pip-audit

lint: $(INSTALLED)  ## ruff
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: $(INSTALLED)  ## let ruff format the code
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .
