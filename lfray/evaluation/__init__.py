"""From the predictions table to measures: what a trial is worth to each group, with support and reason.

Reads one `record.Predictions` and returns `record.Measure` rows; never a second record (only `bias_gap` compares two tables,
and its caller says which). NumPy and SciPy alone, float64 arithmetic, rows taken in the order of their ids, so that the same
rows give the same bits in whatever order they come. What is undefined is NaN with a reason, never 0: a group without positives
has no true-positive rate, and a difference built on that cell has no value either.

    settings        the choices that change a number
    cells           the sets of rows that each get a value of their own; the checks a table must pass
    intervals       Wilson, t over seeds, and what a gap reads when all groups are truly equal
    rates           accuracy, selection, true- and false-positive rate, F1, ... of one set of rows
    disparity       summaries over the groups of one attribute
    calibration     both expected calibration errors, corrected for size; Brier score
    margins         how far from the boundary the rows lie
    classification  all of the above for one split
    bias_gap        accuracy of the full fine-tuning trial minus this trial's, group by group
"""
