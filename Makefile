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
CLIPS_PER_EMOTION ?= 4

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED)  ## make .venv and install the tested versions into it

$(INSTALLED): $(wildcard requirements*.txt) constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is older than 3.11; give PYTHON=python3.11" >&2; exit 2; }
	@started=$$(date +%s); set -x; $(PYTHON) -m venv .venv && \
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c constraints.txt && \
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --editable . && \
	echo $$(($$(date +%s) - started)) > $@

# -- demo: each step is a file, so that a second run starts nothing twice -------------------------
DEMO := demo
SAMPLE := $(DEMO)/sample/.done
FEATURES := $(DEMO)/features/.done
LOGS := $(DEMO)/logs
SINGLE := $(LOGS)/speech/demo/result.json $(LOGS)/face/demo/result.json $(LOGS)/text/demo/result.json
FUSED := $(LOGS)/multimodal/demo
TRAIN := $(PY) train.py --features_dir $(DEMO)/features --logs_dir $(LOGS) \
  --exp_name demo --resume True --num_workers 0 --batch_size 16
SPEECH := --speech_model efficientnet_lite0
FACE := --face_model attention_lstm --features face:lite0
MINILM := sentence-transformers/all-MiniLM-L6-v2
ANSWER := $(PY) predict.py --weights $(FUSED)

demo: $(INSTALLED)  ## install, make a sample corpus, preprocess, train, report: 2 to 3 minutes on 2 cores
	@started=$$(date +%s); $(MAKE) --no-print-directory -j 2 $(DEMO)/report/report.html $(DEMO)/timeline.csv; \
	$(PY) -m emotion.training.table $(LOGS); \
	echo "report:   file://$(CURDIR)/$(DEMO)/report/report.html"; \
	echo "timeline: file://$(CURDIR)/$(DEMO)/timeline_recording.png"; \
	echo "all of it GENERATED: one portrait, a synthetic voice, no knowledge of people"; \
	echo "installation: $$(cat $(INSTALLED)) s; demo: $$(($$(date +%s) - started)) s"

$(SAMPLE):
	$(PY) -m emotion.sample --out $(DEMO)/sample --clips_per_emotion $(CLIPS_PER_EMOTION) --seed 0
	@touch $@

$(DEMO)/lite0.onnx:
	$(PY) -m emotion.frozen.lite_onnx $@

$(FEATURES): $(SAMPLE) $(DEMO)/lite0.onnx
	$(PY) preprocess.py --corpus table --data_dir $(DEMO)/sample --features_dir $(DEMO)/features \
	  --vggface_weights none --face_stride 16 --text_encoder $(MINILM) --face_encoder $(DEMO)/lite0.onnx
	@touch $@

$(LOGS)/speech/demo/result.json: $(FEATURES)
	OMP_NUM_THREADS=1 $(TRAIN) --mode speech $(SPEECH) --n_epoch 5 --learning_rate 1e-3 --mixup_prob 0

$(LOGS)/face/demo/result.json: $(FEATURES)
	OMP_NUM_THREADS=1 $(TRAIN) --mode face $(FACE) --n_epoch 12 --learning_rate 2e-3

$(LOGS)/text/demo/result.json: $(FEATURES)
	OMP_NUM_THREADS=1 $(TRAIN) --mode text --n_epoch 12 --learning_rate 2e-3

$(FUSED)/result.json: $(SINGLE)
	$(TRAIN) --mode multimodal $(SPEECH) $(FACE) --n_epoch 4 --lam 0 --freeze_backbone True \
	  --speech_load_weights $(LOGS)/speech/demo --face_load_weights $(LOGS)/face/demo \
	  --text_load_weights $(LOGS)/text/demo

$(DEMO)/report/report.html: $(FUSED)/result.json
	$(ANSWER) --features_dir $(DEMO)/features --split test --report $(DEMO)/report --output $(DEMO)/test.csv

$(DEMO)/sample/recording.mp4: $(SAMPLE)
	$(PY) -m emotion.sample.recording $(DEMO)/sample

$(DEMO)/timeline.csv: $(FUSED)/result.json $(DEMO)/sample/recording.mp4
	$(ANSWER) --input $(DEMO)/sample/recording.mp4 --timeline True --window 2 --hop 1 --num_workers 1 --output $@

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
