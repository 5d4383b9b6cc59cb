"""Runs a repository's GitHub Actions workflows on this machine, without GitHub."""
