"""Where runs are logged for people to look at. Records in storage stay the truth; a tracker is a copy that catches up.

Importing this folder sets how MLflow behaves in this process, before MLflow itself is imported: no telemetry, no progress
bars, no lines of its own on the terminal, and few attempts of its own at a dead server (`spool` has its own). What the user's
environment already says is kept.
"""

from __future__ import annotations

import os

for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # 7 by default, with a doubling pause: four minutes before a wrong address is reported (mlflow 3.17).
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}.items():
    os.environ.setdefault(_name, _value)
