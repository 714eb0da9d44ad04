-- Leave the prepared cluster with its statistics, and without a trace of its making in pg_stat_statements.
VACUUM (FREEZE, ANALYZE);
CHECKPOINT;
SELECT pg_stat_statements_reset();
