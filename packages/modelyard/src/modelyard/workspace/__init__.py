"""The verbs for the project itself: adopting data, finding what to do next, remotes, updates, protection."""
