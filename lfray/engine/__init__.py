"""From batches to weights: one readable loop, steppers behind one contract, checkpoints, meters. Knows no group and no fairness."""
