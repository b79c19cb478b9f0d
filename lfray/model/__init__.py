"""The base model and how it is adapted."""
