"""A project of the tests."""
