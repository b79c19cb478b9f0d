"""Many trials: what the machines hold, Ray Tune, and the loop that turns a plan into records."""
