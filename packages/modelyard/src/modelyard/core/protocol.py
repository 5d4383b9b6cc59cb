"""The version of the form in which one version of the library calls another."""

PROTOCOL = 1  # of the commands `predict`, `train` and `smoke`
