from __future__ import annotations

from lfray.metric import REASONS, Better, Metric, Scope


def test_a_metric_is_measured_over_rows_unless_it_says_otherwise() -> None:
    metric = Metric("m", "1", Better.HIGHER, "a thing")
    assert (metric.scope, metric.hardware_dependent, metric.count, metric.label_free_of_group) == (Scope.ALL, False, False, False)


def test_a_reason_is_a_code_with_words() -> None:
    assert all(code.replace("_", "").isalnum() and code.islower() and words.strip() for code, words in REASONS.items())
