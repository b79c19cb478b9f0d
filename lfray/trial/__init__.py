"""One trial end to end: here, and only here, data, model, engine, tasks and evaluation meet."""

import os

# Read by the libraries when they are imported, so set before any of them is: progress bars and notices of transformers, datasets
# and the hub would tear the live table. Their errors still raise; a value that the user has set stays.
for _name, _value in {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    # oneDNN keeps 1,024 compiled products, one a shape: on an encoder with bucketed lengths that is 0.1 GiB more in a warm worker than in a
    # cold one. 128 cost no time there (8.7 CPU seconds a trial either way).
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128",
}.items():
    os.environ.setdefault(_name, _value)
