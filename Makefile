# Two commands on a fresh machine:
#   make demo    .venv, install, the whole way on the project's own motion; FILM=my.mp4: and a film
#   make test    .venv, install, all tests
PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed

.PHONY: demo test lint install clean

install: $(INSTALLED)

# The stamp is newer than the files that say what to install, or the install is done again.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $(INSTALLED)

demo: $(INSTALLED)
	$(VENV)/bin/diffpose demo $(if $(FILM),film='$(FILM)')

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# Two processes; tests that share stores run in one (tests/conftest.py).
test: $(INSTALLED)
	$(VENV)/bin/python -m pytest -n 2 --dist loadgroup

clean:
	rm -rf $(VENV) demo build *.egg-info
