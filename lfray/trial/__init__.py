"""One trial end to end: here, and only here, data, model, engine, tasks and evaluation meet."""
