# bootwright: `make demo` shows it, `make test` proves it. Both set up everything they need.
SHELL := /bin/bash
PY := .venv/bin/python
PYTEST := $(PY) -m pytest
AS_ROOT := $(shell [ "$$(id -u)" -eq 0 ] || echo sudo -E)
# A machine of the lab has one core: two labs, each in a network of its own, take half the time of one.
TWO_LABS := --dist loadfile --tx "2*popen//python=$(CURDIR)/tests/lab/alone"
CODE := agent coordinator units pki tests

.DEFAULT_GOAL := help
.PHONY: help setup setup-fast setup-demo demo down images test nightly test-fast lint format types imports lab wheel bench bench-peer bench-cold sim golden lock clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## packages and .venv; everything below calls it
	@tests/setup.sh test

setup-fast:
	@tests/setup.sh fast

setup-demo:
	@tests/setup.sh demo

demo: setup-demo ## a cluster spec becomes a control-plane node and two workers in the lab (DOWN=1: tear it down; IMAGE=packer|baked)
	@$(AS_ROOT) $(PY) -m tests.lab.demo $(if $(DOWN),--down) $(if $(IMAGE),--image $(IMAGE))

down: ## end the lab that `make demo` left up
	@$(AS_ROOT) $(PY) -m tests.lab down

test: setup lint ## everything: lint, types, imports, all tests, the lab, the wheel
	$(AS_ROOT) $(PYTEST) -n 2 --dist loadfile -m "not lab and not nightly"
	@$(MAKE) --no-print-directory images
	$(AS_ROOT) $(PYTEST) $(TWO_LABS) -m "lab and not nightly" tests/lab
	@$(MAKE) --no-print-directory wheel

nightly: setup images ## the lab's longest tests: etcd through every loss, renewals through the years, 20 seeds of formation
	@$(AS_ROOT) $(PY) -m tests.lab.stock --prepared debian-12
	$(AS_ROOT) BOOTWRIGHT_LAB_SEEDS=20 BOOTWRIGHT_ETCD_SEEDS=20 $(PYTEST) -m "nightly" tests/lab
	$(AS_ROOT) BOOTWRIGHT_LAB_SEEDS=20 BOOTWRIGHT_ETCD_SEEDS=20 $(PYTEST) tests/lab/test_etcd_formation.py tests/etcd_machines

images: ## what the lab's machines boot; the lab's own networks have no way to a package mirror
	@echo "==> baking the lab's images (minutes the first time, seconds after)" >&2
	@$(AS_ROOT) $(PY) -m tests.lab.image
	@$(AS_ROOT) $(PY) -m tests.lab.stock
	@$(AS_ROOT) $(PY) -m tests.lab.stock --prepared
	@$(AS_ROOT) $(PY) -m tests.lab.chroot

test-fast: setup-fast ## the tests that need neither root nor machines, in under a minute
	$(PYTEST) -n 2 -q -m "not lab and not root and not slow" tests/pki tests/units tests/agent tests/coordinator

lint: setup-fast ## ruff, mypy strict, import contracts
	.venv/bin/ruff check $(CODE)
	.venv/bin/ruff format --check $(CODE)
	.venv/bin/mypy
	.venv/bin/lint-imports

format: ## let ruff format and fix
	.venv/bin/ruff format $(CODE)
	.venv/bin/ruff check --fix $(CODE)

wheel: setup-fast ## build the wheel, install it alone, and test that
	tests/wheel.sh

bench: setup ## speed and memory, printed as a table (WRITE=1: and kept in docs/benchmarks.md)
	$(AS_ROOT) $(PY) -m tests.bench $(if $(WRITE),--write)
	$(PY) -m tests.bench.etcd
	$(AS_ROOT) $(PY) -m tests.bench.etcd_recovery $(if $(WRITE),--write)

bench-peer: setup ## side by side with kubeadm: KUBEADM=/path/to/kubeadm make bench-peer
	$(AS_ROOT) $(PY) -m tests.bench.peer --kubeadm "$(KUBEADM)" $(if $(WRITE),--write)

bench-cold: setup ## boots with dropped caches in the lab, with and without byte code and reading ahead
	@$(AS_ROOT) $(PY) -m tests.lab.image
	$(AS_ROOT) $(PY) -m tests.bench.cold $(if $(WRITE),--write)

sim: setup-fast ## rollouts over simulated fleets of 10 to 100 000 machines (WRITE=1: kept in docs/benchmarks.md)
	$(PY) -m tests.sim $(if $(WRITE),--write)

golden: ## rewrite the golden files; the diff is the review
	$(PY) -m tests.units.golden
	$(PY) -m tests.coordinator.iam_golden
	BOOTWRIGHT_GOLDEN=1 $(PYTEST) -q -k golden tests/coordinator/test_userdata.py

lock: ## lock the dependencies anew, with hashes
	pip install -q uv
	uv pip compile -q --universal --generate-hashes --python-version 3.11 pyproject.toml --extra agent -o requirements/agent.txt
	uv pip compile -q --universal --generate-hashes --python-version 3.11 pyproject.toml --extra agent --extra coordinator --group dev -o requirements/dev.txt

clean: ## forget .venv and caches of the tools (the lab's images stay in /var/cache/bootwright)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
