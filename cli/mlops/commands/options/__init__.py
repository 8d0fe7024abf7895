"""The options of the commands that have many, each declared once, by their panel in `--help`."""
