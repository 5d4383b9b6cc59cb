"""The stages of the pipeline (validate, split, train, evaluate), and the model that they make."""
