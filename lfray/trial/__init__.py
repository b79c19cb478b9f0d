"""One trial end to end: here, and only here, data, model, engine, tasks and evaluation meet."""

import os

# Read by the libraries when they are imported, so set before any of them is: progress bars and notices of transformers, datasets
# and the hub would tear the live table. Their errors still raise; a value that the user has set stays.
for _name, _value in {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}.items():
    os.environ.setdefault(_name, _value)
