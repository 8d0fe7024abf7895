"""Python environments that are made from a file and kept: of a project's runs, or of a model."""
