"""The version of the form in which one version of the library calls another."""

PROTOCOL = 1  # of the commands `predict`, `train` and `smoke`
GATE_RULES_VARIABLE = "MODELYARD_GATE_RULES_FROM"  # set while an older version of this code judges a newer branch
