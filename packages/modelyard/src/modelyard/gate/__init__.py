"""The gate: judges a candidate against the champion on the same rows, by the base branch's rules."""
