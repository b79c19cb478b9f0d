#!/bin/sh
# OPT-1.3B on this machine's GPUs, and the tests that need one. Arguments go to `python -m benchmarks.gpu` (--help, --tiny).
# Python: the active virtual environment's, else .venv's beside this folder, else python3. PYTHON=... overrides.
set -eu
cd "$(dirname "$0")/.."
if [ -n "${PYTHON:-}" ]; then :
elif [ -n "${VIRTUAL_ENV:-}" ] && [ -x "$VIRTUAL_ENV/bin/python" ]; then PYTHON=$VIRTUAL_ENV/bin/python
elif [ -x .venv/bin/python ]; then PYTHON=.venv/bin/python
else PYTHON=python3
fi
exec "$PYTHON" -m benchmarks.gpu "$@"
