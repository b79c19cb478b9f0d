"""`check_sweep`: everything about a sweep that can be known without torch, Ray or a network, in well under a second."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lfray.errors import Problem, SpecError, did_you_mean
from lfray.spec.axis_checks import axis_problems, axis_warnings
from lfray.spec.data_checks import data_problems
from lfray.spec.method_checks import method_problems
from lfray.spec.model_checks import model_problems, model_warnings
from lfray.spec.objective_checks import objective_problems, objective_warnings
from lfray.spec.resource_checks import resource_problems, resource_warnings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lfray.spec.load import LoadedSweep


def check_sweep(loaded: LoadedSweep, *, environ: Mapping[str, str] | None = None) -> list[str]:
    """Check what one file, its data files' first lines and its base's configuration can tell.

    What needs all rows or the base's weights is checked when the sweep is planned.

    Args:
        loaded: The sweep file, read.
        environ: Where the hub's cache is looked up; by default the process' environment.

    Returns:
        Warnings, in the order of the file: what is allowed and probably not meant.

    Raises:
        SpecError: The sweep cannot run as written; every problem found, in the order of the file.
    """
    environ = os.environ if environ is None else environ
    problems = [
        *data_problems(loaded),
        *model_problems(loaded, environ),
        *method_problems(loaded),
        *axis_problems(loaded),
        *objective_problems(loaded),
        *resource_problems(loaded),
        *_tracking_problems(loaded),
    ]
    if problems:
        raise SpecError(str(loaded.path), problems)
    warnings = [
        *axis_warnings(loaded),
        *objective_warnings(loaded),
        *model_warnings(loaded, environ),
        *resource_warnings(loaded),
    ]
    return [warning.text(str(loaded.path)) for warning in sorted(warnings, key=lambda warning: warning.line or 0)]


def _tracking_problems(loaded: LoadedSweep) -> Iterator[Problem]:
    uri = loaded.spec.tracking.uri
    if uri not in ("auto", "none") and "://" not in uri and not uri.startswith("databricks"):
        rule = "must be auto, none or the address of a tracking server or store"
        remedy = did_you_mean(uri, ["auto", "none"]) if len(uri) < 6 else "For example sqlite:///mlflow.db or http://host:5000"
        yield loaded.problem(("tracking", "uri"), rule, remedy=remedy)
