"""A model at work: compiled and proved equal to its pipeline, then asked for rows of a request or of a file."""
