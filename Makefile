# Thin: each target calls a real command. PYTHON chooses the interpreter that ./.venv is made with.
PYTHON ?= python3

.PHONY: run test bench lint lock clean

run: ## install from the lock files and start the datalab on http://127.0.0.1:$PORT (8000)
	@$(PYTHON) tools/bootstrap.py runtime
	@exec .venv/bin/sardonyx run

test: ## every tier of tests that this machine can run; with CI=true all of them
	@$(PYTHON) tools/bootstrap.py dev
	@exec .venv/bin/python tools/run_tests.py

bench: ## launch and credential times, into bench-results/
	@$(PYTHON) tools/bootstrap.py dev
	@exec .venv/bin/python tests/bench/run.py

lint: ## ruff and mypy --strict
	@$(PYTHON) tools/bootstrap.py dev
	@exec .venv/bin/python tools/run_tests.py static

lock: ## compile the lock files again from their .in files (UPGRADE=1: newest versions)
	@$(PYTHON) tools/bootstrap.py dev
	@exec .venv/bin/python tools/lock.py

clean: ## remove what was installed and built here; .sardonyx (people's data) stays
	rm -rf .venv node_modules hub/sardonyx_hub/pages/static/ui build dist .mypy_cache .ruff_cache .pytest_cache test-results
