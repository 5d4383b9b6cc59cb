"""Ships a model: images, environments on a container engine, promotion, and the records of who runs what."""
