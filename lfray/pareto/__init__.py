"""From records to a front: geometry, objectives, candidates, queries. Needs numpy and pandas only."""
