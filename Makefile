# Everything a newcomer needs. `make` alone lists it.
PY := .venv/bin/python
SETUP := python3 -m tools.setup

.PHONY: help run down service service-off back purge restore image test test-fast test-parts test-browser test-e2e test-long e2e bench lint docs audit texts lock format
help:            ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14
run:             ## install what is missing, start everything, print URL and login
	@$(SETUP) run
down:            ## stop what `make run` started, and nothing else (data stays)
	@$(SETUP) down
service:         ## systemd keeps both processes from now on (as root)
	@$(SETUP) service
service-off:     ## take the units out again
	@$(SETUP) service-off
back:            ## after an upgrade: take the databases back to the code of before
	@$(SETUP) back
purge:           ## down, then remove this instance's volumes and data (asks first)
	@$(SETUP) purge
restore:         ## put back everything from IW_RESTORE=<repository>, onto an empty data folder
	@$(SETUP) restore $(if $(AT),--at $(AT))
image:           ## build the container images
	@$(SETUP) image
test:            ## all tests: fast, real parts, pages in a browser, end to end
	@$(SETUP) test
test-fast:       ## tests that need nothing but Python and git
	@$(SETUP) test fast
test-parts:      ## tests on real Docker, Pulumi, PowerDNS, Caddy, Prometheus, PostgreSQL
	@$(SETUP) test parts
test-browser:    ## the web app's pages in a real browser (no Docker)
	@$(SETUP) test browser
test-e2e:        ## a whole platform, from the outside
	@$(SETUP) test e2e
test-long:       ## what takes minutes: before an issue is closed
	@$(SETUP) test-long
e2e:             ## hire Pulse and verify the full flow in a real browser (screenshots: .build/e2e)
	@$(SETUP) e2e
bench:           ## measure, and write docs/benchmarks.md
	@$(SETUP) bench
lint:            ## ruff, mypy, and the rooms' laws
	@$(SETUP) lint
docs:            ## a site of docs/, in .build/docs
	@$(SETUP) docs
audit:           ## what tools find in the code and its history; bills of materials
	@$(SETUP) audit
texts:           ## collect all texts for translation (webapp/translations)
	@$(SETUP) texts
lock:            ## write the locks of requirements anew (UPGRADE=1: what is newest)
	@$(SETUP) lock $(if $(UPGRADE),--upgrade)
format:          ## put imports in order and mend what ruff can
	@$(PY) -m ruff check --fix .
