"""What a project's own tests call."""
