"""The training jobs of the source documents, one a module; importable, and run by `fastnn.cli`."""
