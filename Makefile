BIN    := .venv/bin
APP    := $(BIN)/python -m app
COMPILE = $(BIN)/uv pip compile pyproject.toml --quiet --universal --generate-hashes \
          --no-strip-extras --no-header --no-emit-index-url

# The suite starts hundreds of processes; without bytecode each would compile the whole of app/.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help runtime tools setup run test check docs docs-serve format bench history generated \
        clean lock reference \
        migrate migrate-status migrate-rollback migrate-verify migration provision seed db-stop \
        token script doctor backup restore clients

help:
	@awk 'BEGIN {FS = ":.*## "} \
	     /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	     /^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Use
run: ## set everything up and serve on 127.0.0.1:8080 (HOST, PORT, DATA_DIR move it)
	@sh app/install.sh run
	@exec $(APP) serve

token: runtime ## make a token: make token args="ci --scope read --environment local"
	@$(APP) token create $(args)

doctor: runtime ## look at every promise of this installation (args=--json for machines)
	@$(APP) doctor $(args)

script: runtime ## run one of app/scripts: make script name=configuration_report (without: list them)
	@$(BIN)/python -m app.scripts $(name) $(args)

##@ Database
migrate: runtime ## apply the pending migrations
	@$(APP) database migrate

migrate-status: runtime ## show each migration, and what is pending
	@$(APP) database status

migrate-rollback: runtime ## take back the latest migration (steps=N for more, args=--force after an edit)
	@$(APP) database rollback --steps $(or $(steps),1) $(args)

migrate-verify: runtime ## fail unless all migrations are applied as they are written
	@$(APP) database verify

migration: runtime ## write the files of a new migration: make migration name=AddOwnerToFlags
	@$(APP) database new $(name)

provision: runtime ## make roles, database and schema on your own server, as DATABASE_ADMIN_URL
	@$(APP) database provision $(args)

seed: runtime ## add test data where nothing was ever changed
	@$(APP) database seed

db-stop: runtime ## stop the embedded PostgreSQL of DATA_DIR
	@$(APP) database stop

##@ Backups
backup: runtime ## make an encrypted backup in BACKUP_DIR
	@$(APP) backup create $(args)

restore: runtime ## put one back: make restore args="NAME --identity FILE"; latest if none is named
	@$(APP) backup restore $(args)

##@ Work
setup: tools ## make the virtual environment

test: tools ## run the whole suite (args="-k name" for a part)
	@$(BIN)/python -m pytest --numprocesses=4 --dist=loadfile --no-loadscope-reorder -rfEs $(args)

check: tools ## format, lint, types, layers, migrations
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m tests.checks.words
	@$(BIN)/python -m tests.checks.private
	@$(BIN)/squawk --pg-version 13 --assume-in-transaction \
	     --exclude require-lock-timeout,require-statement-timeout \
	     --exclude-path '*.rollback.sql' migrations/*.sql

docs: tools ## build the documentation site into .site, with warnings as errors
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file docs/site/mkdocs.yml

docs-serve: tools ## serve the documentation site on 127.0.0.1:8000
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --config-file docs/site/mkdocs.yml

format: tools ## format the code and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: tools ## measure, beside the targets (args="evaluation ofrep streams" for a part)
	@$(BIN)/python -m tests.benchmarks $(args)

lock: tools ## pin the dependencies of pyproject.toml with hashes
	@$(COMPILE) --upgrade --output-file requirements.lock
	@$(COMPILE) --upgrade --constraint requirements.lock --extra dev --output-file requirements-dev.lock

reference: tools ## write .env.example and the generated parts of docs/ from the code
	@$(BIN)/python -m app.settings.reference
	@$(BIN)/python -m app.cli.reference
	@$(BIN)/python -m app.server.reference

clients: ## install Node's OpenFeature clients with npm, which the suite then tests too
	@npm ci --prefix tests/process/clients --silent

history: tools ## check every promise under faults: make history args="--seconds 60 --runs 20"
	@$(BIN)/python -m tests.process.history $(args)

generated: tools ## send many requests generated from the API: make generated examples=500
	@FLAGSTONE_EXAMPLES=$(or $(examples),200) $(BIN)/python -m pytest --timeout=0 tests/api/http/test_generated_requests.py

clean: ## remove the virtual environment and the caches; the data stays
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .history .import_linter_cache .site .coverage*
	find app tests -name __pycache__ -type d -prune -exec rm -rf {} +

runtime:
	@sh app/install.sh

tools:
	@sh app/install.sh tools
