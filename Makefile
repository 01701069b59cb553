# The front door. `make help` lists what there is; every target installs what it needs into .venv.

RECIPE    ?= recipes/digits.yaml
DATA      ?=
MODELS    ?= models
MODEL     ?= $(basename $(notdir $(RECIPE)))
ENGINE    ?= auto
GRPC_PORT ?= 8500
REST_PORT ?= 8501
IMAGE     ?=
SET       ?=
BENCH     ?= performance
VERSION   ?=
PROFILE   ?=
PYTHON    ?= python3

VENV := .venv
BIN  := $(VENV)/bin
RUN  := $(VENV)/.installed
DEV  := $(VENV)/.installed-dev
# A program whose many dependencies would clash with ours.
POLICY := .venv-policy/.installed

# Recipes read these from the environment, so that no value is ever taken for shell syntax.
export RECIPE DATA MODELS MODEL ENGINE GRPC_PORT REST_PORT IMAGE SET BENCH VERSION PROFILE

EXPORT  = $(BIN)/vitrine-export
TRAINED = --recipe "$$RECIPE" --name "$$MODEL"
# SET holds words without blanks; the shell splits it and does nothing else with it (set -f: no globbing).
CHANGED = $(TRAINED) $${DATA:+--data "$$DATA"} $${SET:+--set $$SET}
SERVER  = --models "$$MODELS" --model "$$MODEL" --engine "$$ENGINE" --grpc-port "$$GRPC_PORT" --rest-port "$$REST_PORT"
LOCK    = $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-header
LOCKED  = $(LOCK) -c requirements/run.txt
ASK     = --model "$$MODEL" --grpc "localhost:$$GRPC_PORT"
# In the cluster of the kubeconfig; with PROFILE on the server that `make up` started; with ARGS="--config DIR" on another.
ROLLOUT = $(if $(PROFILE),MODELS="$$(cd "$$MODELS" && pwd)" docker compose run --rm rollout,$(BIN)/vitrine-serving)

.DEFAULT_GOAL := help
# A recipe's steps build on each other, whatever -j says.
.NOTPARALLEL:
.PHONY: help demo data features search train export tensorboard serve predict status load images up down logs rollout canary promote rollback rollout-status bench test test-containers test-k8s lint format lock protos clean install

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'
	@echo
	@echo "  variables: RECIPE=$$RECIPE DATA=$$DATA MODELS=$$MODELS MODEL=$$MODEL ENGINE=$$ENGINE"
	@echo "             GRPC_PORT=$$GRPC_PORT REST_PORT=$$REST_PORT IMAGE=$$IMAGE SET=$$SET BENCH=$$BENCH VERSION=$$VERSION PROFILE=$$PROFILE PYTHON=$(PYTHON)"

demo: train export ## train, export, serve and ask, from nothing to a first classification
	@$(BIN)/python -m vitrine_serving.demo $(SERVER)

data: $(RUN) ## find, check and split the pictures of RECIPE, or DATA; download them where the recipe says from where
	@set -f; $(EXPORT) data $(CHANGED)

features: $(RUN) ## compute the backbone's features of all pictures once, for any number of trainings
	@set -f; $(EXPORT) features $(CHANGED)

search: $(RUN) ## try RECIPE's search space; going on where it was stopped
	@set -f; $(EXPORT) search $(CHANGED)

train: $(RUN) ## train RECIPE on its pictures, or on DATA; search first where the recipe says so
	@set -f; $(EXPORT) train $(CHANGED)

export: $(RUN) ## export, bless and publish what was trained, as MODEL's next version; train first if nothing was
	@test -f "runs/$$MODEL/model.keras" || $(MAKE) --no-print-directory train
	@$(EXPORT) export $(TRAINED)
	@$(EXPORT) bless $(TRAINED)
	@$(EXPORT) publish $(TRAINED) --models "$$MODELS"

tensorboard: $(RUN) ## curves, pictures and hyperparameters of all trainings, in a browser
	@$(BIN)/tensorboard --logdir logs --host localhost $(ARGS)

serve: $(RUN) ## serve MODEL in the foreground, by gRPC and REST
	@$(BIN)/vitrine-serving up $(SERVER)

predict: $(RUN) ## classify IMAGE=some.png on the running server
	@test -n "$$IMAGE" || { echo 'make predict: IMAGE is missing; try make predict IMAGE=some.png' >&2; exit 2; }
	@$(BIN)/vitrine-client predict $(ASK) "$$IMAGE"

status: $(RUN) ## show the versions of MODEL on the running server
	@$(BIN)/vitrine-client status $(ASK)

# One after the other: train and serving have their largest layer in common.
images: ## build the container images: client, serving, ui, train
	@COMPOSE_PARALLEL_LIMIT=1 docker compose --profile embedded --profile train build

up: ## containers, in the background: PROFILE=cpu, gpu or embedded, and any of monitoring, load, train
	@$(PYTHON) docker/up.py

down: ## stop and remove the containers; models, runs and what was measured stay
	@docker compose --profile '*' down --remove-orphans

logs: ## follow what the containers say
	@docker compose --profile '*' logs --follow --tail 100 $(ARGS)

rollout: ## bring VERSION to a fleet in Kubernetes: canary, judge, promote or roll back; PROFILE=cpu: to one container
canary: ## start VERSION beside stable, with a share of the traffic
rollout canary: $(RUN)
	@test -n "$$VERSION" || { echo 'make $@: VERSION is missing; try make $@ VERSION=2' >&2; exit 2; }
	@$(ROLLOUT) $@ "$$VERSION" $(ARGS)

promote: ## have the canary's version become stable
rollback: ## end the rollout under way, or undo the last promotion
promote rollback: $(RUN)
	@$(ROLLOUT) $@ $(ARGS)

rollout-status: $(RUN) ## versions, servers, share of the traffic and health of a fleet; ARGS=--watch
	@$(ROLLOUT) status $(ARGS)

load: $(RUN) ## load on the running server, from a web page on port 8089, or ARGS="--headless -u 16 -t 1m"
	@$(BIN)/python -m vitrine_client.load --model "$$MODEL" --models "$$MODELS" --grpc "localhost:$$GRPC_PORT" --rest "localhost:$$REST_PORT" $(ARGS)

bench: $(RUN) ## measure side by side, as ratios: BENCH=performance, embedded, client, downscale, input_pipeline, features or results
	@$(BIN)/python -m "benchmarks.$$BENCH" $(if $(filter performance,$(BENCH)),--write docs/performance.md) $(ARGS)

# Files of tests side by side: most of them wait for a process of their own. In their order, for few tests may be long.
test: $(DEV) $(POLICY) ## run all tests that need neither Docker nor Kubernetes
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore tests/containers --ignore tests/kubernetes $(ARGS)

test-containers: $(DEV) ## run the tests that need Docker: images, compose, a server that hangs
	@$(BIN)/python -m pytest tests/containers $(ARGS)

test-k8s: $(DEV) ## run the tests that need a cluster, in the kubeconfig's: rollouts under load, faults, scaling
	@$(BIN)/python -m pytest tests/kubernetes $(ARGS)

lint: $(DEV) ## ruff, mypy, hadolint, yamllint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/hadolint Dockerfile.* tests/containers/standins/*/Dockerfile
	@$(BIN)/yamllint --strict .

format: $(DEV) ## let ruff put the code in order
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: $(DEV) ## resolve requirements/*.in anew into locked, hashed files
	$(LOCK) requirements/run.in -o requirements/run.txt
	$(LOCKED) requirements/dev.in -o requirements/dev.txt
	$(LOCKED) requirements/build.in -o requirements/build.txt
	$(LOCKED) requirements/client.in -o requirements/client.txt
	$(LOCKED) --override requirements/cpu-overrides.in requirements/serving.in -o requirements/serving.txt
	$(LOCKED) --override requirements/cpu-overrides.in requirements/train-cpu.in -o requirements/train-cpu.txt
	$(LOCKED) requirements/train-gpu.in -o requirements/train-gpu.txt
	$(LOCK) requirements/policy.in -o requirements/policy.txt
	$(LOCK) requirements/peers-bentoml.in -o requirements/peers-bentoml.txt
	$(LOCK) requirements/peers-litserve.in -o requirements/peers-litserve.txt
	$(LOCK) requirements/peers-ray.in -o requirements/peers-ray.txt
	$(LOCK) requirements/peers-mlserver.in -o requirements/peers-mlserver.txt

protos: ## generate the client's wire messages from their .proto files
	clients/generate_protos.sh

install: $(RUN) ## install into .venv, nothing else

clean: ## remove runs, logs and caches; .venv, models and pictures stay
	rm -rf runs logs cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; ok = (3, 10) <= sys.version_info < (3, 14); sys.exit(not ok and "Vitrine needs Python 3.10 to 3.13, this is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV)

$(RUN): requirements/run.txt clients/pyproject.toml serving/pyproject.toml export/pyproject.toml | $(VENV)/bin/python
	@echo 'installing into $(VENV), once: TensorFlow alone is 600 MB' >&2
	@$(BIN)/python -m pip install $(if $(wildcard $(RUN)),--quiet) --disable-pip-version-check --require-hashes -r requirements/run.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e clients -e serving -e export
	@touch $@

$(DEV): requirements/dev.txt $(RUN)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

$(POLICY): requirements/policy.txt $(DEV)
	@$(BIN)/uv venv --quiet --clear .venv-policy
	@$(BIN)/uv pip install --quiet --python .venv-policy/bin/python --require-hashes -r requirements/policy.txt
	@touch $@
