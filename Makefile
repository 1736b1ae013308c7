BIN    := .venv/bin
APP    := $(BIN)/python -m app
VERSION = $(shell sed -n 's/^VERSION = "\(.*\)"/\1/p' app/__init__.py)
CONTAINERS = $(shell command -v docker podman | head -1)
PYTEST := $(BIN)/python -m pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder -rfEs
COMPILE = $(BIN)/uv pip compile --quiet --universal --generate-hashes \
          --no-strip-extras --no-header --no-emit-index-url

# The suite starts hundreds of processes; without bytecode each would compile the whole of app/.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help runtime tools setup run test test-all check image image-test chart docs docs-serve format bench bench-profile bench-peers history \
        failover postgres-versions upgrade-test generated \
        clean lock reference vendor screenshots \
        migrate migrate-status migrate-rollback migrate-verify migration provision seed db-stop \
        token script doctor backup restore clients providers

help:
	@awk 'BEGIN {FS = ":.*## "} \
	     /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	     /^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Use
run: ## set up everything, and serve on 127.0.0.1:8080 (HOST, PORT)
	@sh app/install.sh run
	@exec $(APP) serve

token: runtime ## create a token: args="ci --scope read --environment local"
	@$(APP) token create $(args)

doctor: runtime ## check this installation (args=--json)
	@$(APP) doctor $(args)

script: runtime ## run a script of app/scripts: name=configuration_report
	@$(BIN)/python -m app.scripts $(name) $(args)

##@ Database
migrate: runtime ## apply the pending migrations
	@$(APP) database migrate

migrate-status: runtime ## list the migrations, with the pending ones
	@$(APP) database status

migrate-rollback: runtime ## roll back the latest migration (steps=N, args=--force)
	@$(APP) database rollback --steps $(or $(steps),1) $(args)

migrate-verify: runtime ## fail if the migration files and the database differ
	@$(APP) database verify

migration: runtime ## write the files of a new migration: name=AddOwnerToFlags
	@$(APP) database new $(name)

provision: runtime ## create roles, database and schema by DATABASE_ADMIN_URL
	@$(APP) database provision $(args)

seed: runtime ## add test data to environments without changes
	@$(APP) database seed

db-stop: runtime ## stop the embedded PostgreSQL of DATA_DIR
	@$(APP) database stop

##@ Backups
backup: runtime ## create an encrypted backup in BACKUP_DIR
	@$(APP) backup create $(args)

restore: runtime ## restore a backup: args="NAME --identity FILE"
	@$(APP) backup restore $(args)

##@ Work
setup: tools ## create the virtual environment

test: tools ## run the tests that are not slow (args="-k name" for a part)
	@$(PYTEST) -m "not slow" $(args)

test-all: tools ## run all tests, with all random examples, as CI does
	@FLAGSTONE_FULL_EXAMPLES=1 $(PYTEST) $(args)

check: tools ## format, lint, types, layers, migrations
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m tests.checks.words
	@$(BIN)/python -m tests.checks.private
	@$(BIN)/python -m tests.checks.console
	@$(BIN)/djlint --lint --quiet app/console/templates
	@$(BIN)/hadolint deploy/Dockerfile
	@$(BIN)/squawk --pg-version 13 --assume-in-transaction \
	     --exclude require-lock-timeout,require-statement-timeout \
	     --exclude-path '*.rollback.sql' migrations/*.sql

image: ## build the container image flagstone (needs docker or podman; args="--build-arg …")
	@$(or $(CONTAINERS),$(error docker or podman is missing)) build \
	    --file deploy/Dockerfile --tag flagstone --build-arg VERSION=$(VERSION) \
	    --build-arg REVISION=$$(git rev-parse HEAD) $(args) .

image-test: image tools ## build the image, and test it as a container
	@FLAGSTONE_IMAGE=flagstone FLAGSTONE_CONTAINERS=$(CONTAINERS) $(BIN)/python -m pytest -q tests/process/deploy/test_container.py

chart: tools ## check the Helm chart with Helm's library, in .chart (550 MB)
	@$(BIN)/python -m venv .chart
	@.chart/bin/python -m pip install --quiet --require-hashes --requirement tests/chart.lock
	@$(BIN)/python -m pytest -rfEs tests/process/deploy/test_chart.py $(args)

docs: tools ## build the documentation into .site; a warning is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file docs/site/mkdocs.yml

docs-serve: tools ## serve the documentation on 127.0.0.1:8000
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --config-file docs/site/mkdocs.yml

format: tools ## format the code, and fix what ruff can fix
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: tools ## measure the speed (args="evaluation ofrep" for a part)
	@$(BIN)/python -m tests.benchmarks $(args)

bench-profile: tools ## show where the service spends time: case=one|bulk|put
	@$(BIN)/python -m tests.benchmarks.profiles $(case)

bench-peers: tools ## measure npm's unleash-server beside the service (needs npm)
	@$(BIN)/python -m tests.benchmarks peers $(args)

lock: tools ## pin the dependencies of pyproject.toml with hashes
	@$(COMPILE) pyproject.toml --upgrade --output-file requirements.lock
	@$(COMPILE) pyproject.toml --upgrade --constraint requirements.lock --extra dev --output-file tests/requirements.lock
	@$(COMPILE) --group pyproject.toml:build --upgrade --constraint tests/requirements.lock --output-file deploy/build.lock
	@$(COMPILE) --group pyproject.toml:extras --upgrade --constraint tests/requirements.lock --output-file deploy/extras.lock
	@$(COMPILE) --group pyproject.toml:telemetry --upgrade --constraint tests/requirements.lock --output-file deploy/telemetry.lock
	@$(COMPILE) --group pyproject.toml:chart --upgrade --output-file tests/chart.lock

vendor: tools ## fetch the third-party files of the console (needs npm)
	@$(BIN)/python -m tests.vendored

screenshots: tools ## take the pictures of the console that docs/ shows
	@$(BIN)/python -m pytest -q --numprocesses=2 -o python_files=screenshots.py tests/console/screenshots.py

reference: tools ## generate .env.example and parts of docs/ from the code
	@$(BIN)/python -m app.settings.reference
	@$(BIN)/python -m app.cli.reference
	@$(BIN)/python -m app.server.reference

clients: ## install Node's OpenFeature clients, for the suite
	@npm ci --prefix tests/process/clients --silent

providers: ## install an identity provider, for the suite (needs npm)
	@npm ci --prefix tests/providers --engine-strict --ignore-scripts --silent

history: tools ## check the promises under faults: args="--seconds 60"
	@$(BIN)/python -m tests.process.history $(args)

failover: tools ## fail PostgreSQL over under load, with Patroni: args="--rounds 1"
	@$(BIN)/python -m tests.failover $(args)

postgres-versions: tools ## run the database tests with PostgreSQL 13 to 18 (args="13 18")
	@$(BIN)/python -m tests.versions $(args)

upgrade-test: tools ## roll forward and back under traffic (seconds=60)
	@$(BIN)/python -m tests.versions.upgrade --seconds $(or $(seconds),600)

generated: tools ## send generated requests to the API (examples=500)
	@FLAGSTONE_EXAMPLES=$(or $(examples),200) $(BIN)/python -m pytest --timeout=0 tests/api/http/test_generated_requests.py

clean: ## remove the virtual environment and the caches; keep the data
	rm -rf .venv .chart .mypy_cache .pytest_cache .ruff_cache .hypothesis .history .peers .patroni .postgres .import_linter_cache .site .browser .coverage*
	find app tests -name __pycache__ -type d -prune -exec rm -rf {} +

runtime:
	@sh app/install.sh

tools:
	@sh app/install.sh tools
