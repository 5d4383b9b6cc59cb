"""GitHub: comments, statuses, issues, pull requests and releases, with the standard library alone."""
