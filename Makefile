# Names for the scripts in tools/.  `make help` prints them.
PYTHON_IN_VENV = .venv/bin/python
.DEFAULT_GOAL = help
.PHONY: help run test dev bench soak docs lint format ctest clean

help:    ## this list
	@sed -n 's/^\([a-z]*\): *[^#]*## /\1\t/p' Makefile

run:     ## install into .venv, put load on the echo and the HTTP server, check every byte
	@sh tools/venv.sh build
	@$(PYTHON_IN_VENV) -m pip install --quiet --no-build-isolation .
	@$(PYTHON_IN_VENV) -P tools/demo.py
	@$(PYTHON_IN_VENV) -P tools/demo_http.py

test:    ## the bar for every commit: lint, C tests plain and under ASan+UBSan, pytest
	@sh tools/test.sh

dev:     ## editable install in .venv; `make dev` again rebuilds
	@sh tools/venv.sh dev
	@$(PYTHON_IN_VENV) -m pip install --quiet --no-build-isolation --editable .
	@sh tools/ctest.sh --build-only dev && ln -sf build/dev/compile_commands.json .

bench:   ## short form of all benchmarks, results in benchmarks/results/
	@sh tools/venv.sh bench
	@$(PYTHON_IN_VENV) -m pip install --quiet --no-build-isolation .
	@$(PYTHON_IN_VENV) -P benchmarks/run.py

soak:    ## the slow lanes and CPython's own tests, in their long form
	@sh tools/venv.sh dev
	@sh tests/slow/run.sh long
	@sh tests/conformance/run.sh long

docs:    ## the pages of docs/, as HTML in build/docs
	@sh tools/docs.sh

lint:    ## house rules, formatting, types
	@sh tools/venv.sh dev && sh tools/lint.sh

format:  ## rewrite C and Python in the house format
	@sh tools/venv.sh dev && sh tools/lint.sh --fix

clean:   ## remove build products, keep .venv
	@rm -rf build dist compile_commands.json
