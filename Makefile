# Every target installs what it needs into .venv. A fresh machine has Python 3.11, make and a C compiler.
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.installed
# pip brings uv, which installs the rest in a quarter of pip's time; where it cannot, pip does that, too.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
# Hundreds of processes of a test run import the package.
unexport PYTHONDONTWRITEBYTECODE
SOURCES := ernie_ray serve_apps loadtests benchmarks cluster tests

.PHONY: setup fmt check test unit integration e2e gpu-check tour soak bench quality compare proto lock

setup: $(READY)  ## install the locked dependencies into .venv

$(READY): requirements/dev.lock requirements/uv.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements/dev.lock \
		|| $(PIP) --require-hashes -r requirements/dev.lock
	$(PIP) --no-deps --no-build-isolation -e .
	touch $(READY)

fmt: $(READY)  ## format the code
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

check: $(READY)  ## format, lint, types, layers, spelling, cluster files
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python -m cluster validate

test: $(READY)  ## unit, integration and end-to-end tests
	$(BIN)/python -m pytest -m "not soak"

unit integration e2e: $(READY)  ## one kind of test
	$(BIN)/python -m pytest -m "not soak" tests/$@

gpu-check: $(READY)  ## all that needs a CUDA device, in one table; skipped with its reason without
	$(BIN)/python -m pytest -m gpu -q -p tests.gpu_table

tour: $(READY)  ## the main job, small: train, distil, serve, ask, load
	$(BIN)/ernie-ray tour

soak: $(READY)  ## tests over 60 seconds
	$(BIN)/python -m pytest -m soak

bench: $(READY)  ## measurements, some on real data sets (ERNIE_RAY_DATA); tables go to docs/results
	$(BIN)/python -m benchmarks.engines
	$(BIN)/python -m benchmarks.batching_policies
	$(BIN)/python -m benchmarks.bulk_throughput
	$(BIN)/python -m benchmarks.step_overhead
	$(BIN)/python -m benchmarks.cpu_training
	$(BIN)/python -m benchmarks.labelling
	$(BIN)/python -m benchmarks.student_speed
	$(BIN)/python -m benchmarks.tiny_speed
	$(BIN)/python -m benchmarks.tiny_teacher

quality: $(READY)  ## train on real data sets (ERNIE_RAY_DATA), some beside PyTorch: fine-tuned, distilled; hours
	$(BIN)/python -m benchmarks.quality
	$(BIN)/python -m benchmarks.torch_quality
	$(BIN)/python -m benchmarks.slim_quality
	$(BIN)/python -m benchmarks.slim_ablation
	$(BIN)/python -m benchmarks.tiny_quality

compare: $(READY)  ## our service beside Infinity on all-MiniLM-L6-v2: report, data and table
	$(BIN)/python -m loadtests compare --targets ours,infinity --scenario peers --out loadtests-report

proto: $(READY)  ## make the gRPC code from its definition
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpc_python_out=. \
		ernie_ray/serving/proto/text_service.proto

lock: $(READY)  ## write the lock again from pyproject.toml
	$(BIN)/uv pip compile --quiet --generate-hashes --no-annotate --no-header --python-version 3.11 \
		--extra cpu --extra loadtests --extra dev pyproject.toml -o requirements/dev.lock
	$(BIN)/uv pip compile --quiet --generate-hashes --no-annotate --no-header --python-version 3.11 \
		--extra cpu pyproject.toml -o requirements/cpu.lock
	$(BIN)/uv pip compile --quiet --generate-hashes --no-annotate --no-header --python-version 3.11 \
		--extra gpu pyproject.toml -o requirements/gpu.lock
	echo uv | $(BIN)/uv pip compile --quiet --generate-hashes --no-annotate --no-header --python-version 3.11 \
		- -o requirements/uv.txt
