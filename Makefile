# Each target works alone on a fresh machine that has Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
STRIPE_CLI := 1.52.0
STRIPE_NODE := 23.1.0
SYNC_ENGINE := 0.48.5
DJ_STRIPE := 2.11.0
TERSER := 5.51.4
CLIENTS := .interop
NPM_QUIET := --silent --no-package-lock --no-audit --no-fund
READY := .venv/.ready
# One process more than cores: tests wait for browsers and servers a third of their time.
WORKERS = $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
LISTS := $(addprefix tests/,core/test_isolation.py core/test_limits.py core/test_stripe_writes.py core/test_settings.py \
    test_documents.py test_layout.py test_security_document.py test_words.py infra/test_sql_texts.py infra/test_schema.py \
    safety/test_data_inventory.py \
    safety/test_erased_for_good.py::test_every_column_that_could_identify_somebody_has_its_end staff/test_permissions.py web/test_csrf.py web/test_owner_matrix.py \
    web/test_stylesheets.py web/test_translations.py accounting/test_no_person.py)
# Images and machines that set it would have every test's file rewritten again in each worker.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check lists audit sbom fmt migrate bench storm interop engines pictures routes widget wheel lock help

help: ## Say what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY) ## Run everything on this machine, with a year of history to click through
	@$(BIN)/payments demo

test: $(READY) node_modules/.bin/stripe ## Run the tests, in an order of chance whose seed is printed
	$(BIN)/pytest -n $(WORKERS) --dist worksteal --durations 15

check: $(READY) ## Lint, format, types, who may import whom: seconds, once mypy has its cache
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/audit

lists: $(READY) ## Lists, words and routes against the code: before a commit that adds or renames
	$(BIN)/pytest -p no:randomly $(LISTS)

audit: $(READY) ## Look every locked dependency up in the public advisories
	$(BIN)/python .ci/audit

sbom: audit ## Write the locked dependencies to sbom.json (CycloneDX)
	.audit/bin/pip-audit --requirement requirements.lock --require-hashes --disable-pip \
	    --progress-spinner off --format cyclonedx-json --output sbom.json

fmt: $(READY) ## Format
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

migrate: $(READY) ## Bring PAYMENTS_DATABASE_URL to the newest schema
	$(BIN)/payments migrate

bench: $(READY) ## Measure, side by side in one run
	$(BIN)/python -m tests.bench

storm: $(READY) ## Long randomised runs
	$(BIN)/pytest -m storm

interop: $(READY) node_modules/.bin/stripe ## Run other people's clients of Stripe with the sandbox
	@if command -v npm >/dev/null; then \
	    npm install $(NPM_QUIET) --prefix $(CLIENTS) stripe@$(STRIPE_NODE) @supabase/stripe-sync-engine@$(SYNC_ENGINE) || true; \
	else echo "npm is not here: stripe-node and stripe-sync-engine will not be run."; fi
	@test -x $(CLIENTS)/djstripe/bin/python || $(PYTHON) -m venv $(CLIENTS)/djstripe
	@$(CLIENTS)/djstripe/bin/python -m pip install --quiet --disable-pip-version-check dj-stripe==$(DJ_STRIPE) \
	    || { rm -rf $(CLIENTS)/djstripe; echo "dj-stripe could not be fetched and will not be run."; }
	$(BIN)/pytest -m interop

engines: $(READY) ## Drive readers' journeys in Chromium, Firefox and WebKit, where they are installed
	$(BIN)/pytest -m engines

pictures: $(READY) ## Take a picture of each page and mail of a demo, for docs/pictures.md
	$(BIN)/python -m tests.pictures

routes: $(READY) ## Write the table of the sandbox's routes and parameters into docs
	$(BIN)/python -m payments.sandbox.route_table > docs/sandbox-routes.md

widget: node_modules/terser/package.json ## Build the widget's file from its source (needs npm)
	node .ci/widget.mjs

node_modules/terser/package.json:
	npm install $(NPM_QUIET) --no-save terser@$(TERSER)

lock: ## Renew both lock files (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-annotate --no-header --upgrade --extra embedded --group dev -o requirements.lock pyproject.toml
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-annotate --no-header -c requirements.lock -o requirements-production.lock pyproject.toml

wheel: $(READY) ## Build the wheel to install, into dist/
	$(BIN)/python -m hatchling build -t wheel

# Stripe's own client, to prove the stand-in. Where npm is missing the test says it did not run.
node_modules/.bin/stripe:
	@if command -v npm >/dev/null; then \
	    npm install --silent --no-save --no-package-lock --no-audit --no-fund @stripe/cli@$(STRIPE_CLI) || true; \
	else echo "npm is not here: Stripe's own client will not be run."; fi
