# make demo, test, bench and races: all make .venv and install the package into it when something changed.
PYTHON ?= python3
VENV := .venv

# What [build-system] of pyproject.toml asks for: building without isolation keeps the compiled
# modules that have not changed.
BUILD_NEEDS := "setuptools>=77" "Cython>=3.1" "numpy>=2.0"
SOURCES := $(shell find sgdest -type f \( -name '*.py*' -o -name '*.pxd' -o -name '*.h' \) \
	-not -name '*.pyc') pyproject.toml setup.py MANIFEST.in

# An environment belongs to one Python and one place; another one, or a broken one, is made anew.
WANTED := $(CURDIR) $(shell $(PYTHON) -c 'import sys; print(sys.version, sys.prefix)')
FOUND := $(shell $(VENV)/bin/python -c pass 2>/dev/null && cat $(VENV)/made-for 2>/dev/null)

.PHONY: bench races demo test install clean anew

demo: $(VENV)/installed
	$(VENV)/bin/python docs/examples/demo.py

test: $(VENV)/installed
	$(VENV)/bin/pytest $(PYTEST_FLAGS)

# Against the peers that are installed: torch too, after .venv/bin/pip install torch.
bench: $(VENV)/installed
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(VENV)/bin/python docs/benchmarks/goals.py $(BENCH_FLAGS)

# To the optimum, against the best solver of each peer that is installed (.venv/bin/pip install celer
# skglm snapml liblinear-official torch); RACE_FLAGS="--data FOLDER" races on the shared data sets.
THREADS ?= 1
races: $(VENV)/installed
	OMP_NUM_THREADS=$(THREADS) OPENBLAS_NUM_THREADS=$(THREADS) \
		$(VENV)/bin/python docs/benchmarks/races.py $(RACE_FLAGS)

install: $(VENV)/installed

$(VENV)/installed: $(VENV)/made-for $(SOURCES)
	if [ -d build ]; then find build -name '*.py' -delete; fi
	$(VENV)/bin/python -m pip install --quiet --no-build-isolation '.[test,plot]'
	touch $@

ifneq ($(FOUND),$(WANTED))
$(VENV)/made-for: anew
endif

# Some systems ship venv without ensurepip; their own pip can fill the environment.
$(VENV)/made-for:
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV) || { $(PYTHON) -m venv --clear --without-pip $(VENV) && \
		$(PYTHON) -m pip --python $(VENV)/bin/python install --quiet pip; }
	$(VENV)/bin/python -m pip install --quiet --upgrade pip $(BUILD_NEEDS)
	echo '$(WANTED)' > $@

clean:
	rm -rf $(VENV) build dist sgdest.egg-info demo_output .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f sgdest/_core/*.c sgdest/_core/*.so
