"""What every other district builds on: parameters, files, git and DVC, the console, and the errors."""
