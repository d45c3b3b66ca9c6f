"""Jobs and examples of the source documents, one a module: to import, and run by `fastnn.cli`."""
