"""The bottom room: the record schema, the journal, redaction and rendering; knows nothing else."""
