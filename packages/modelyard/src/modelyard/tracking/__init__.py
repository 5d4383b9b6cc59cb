"""Records what the pipeline made in MLflow, and mirrors in MLflow's registry what git says of deployments."""
