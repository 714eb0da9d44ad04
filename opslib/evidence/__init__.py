"""papermill engine and storage, sealing, the archive, and the runs of the command line."""
