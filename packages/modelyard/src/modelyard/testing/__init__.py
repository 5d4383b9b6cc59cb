"""What a project's own tests are built on: rows made from the schema, and checks of data, features and model."""
