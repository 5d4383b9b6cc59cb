"""One model, from table to service: `python -m` this package lists the verbs."""
