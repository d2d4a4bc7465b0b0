"""The first of everything that waits, however much waits: the oldest is one of them.

Within one kind of waiting work (what it waits for, and its priority) keys grow
with time and an index has them in order. So the first of each kind is found by
leaping along the index from one kind to the next, and no row of a long queue is
read but its first. These are conditions over `executions`, for a WHERE.
"""

from __future__ import annotations

import sqlalchemy as sa

# Kinds that are looked at: far more than there are, and bounded. Of agents that work waits for,
# of limits (job and slot) that runs wait for, and of priorities within each.
ROUTES = 1_000
SLOTS = 1_000
PRIORITIES = 50

# What waits for an agent, by `executions_ready` (route, priority descending, key).
FIRST_READY = sa.text(
    f"""executions.key IN (
    WITH RECURSIVE route(number, n) AS (
        SELECT min(route), 1 FROM executions WHERE phase = 1
        UNION ALL
        SELECT (SELECT min(e.route) FROM executions e
                WHERE e.phase = 1 AND e.route > route.number), n + 1
        FROM route WHERE number IS NOT NULL AND n < {ROUTES}
    ), kind(route, priority, n) AS (
        SELECT number, (SELECT max(e.priority) FROM executions e
                        WHERE e.phase = 1 AND e.route = route.number), 1
        FROM route WHERE number IS NOT NULL
        UNION ALL
        SELECT route, (SELECT max(e.priority) FROM executions e
                       WHERE e.phase = 1 AND e.route = kind.route AND e.priority < kind.priority),
               n + 1
        FROM kind WHERE priority IS NOT NULL AND n < {PRIORITIES}
    )
    SELECT (SELECT min(e.key) FROM executions e
            WHERE e.phase = 1 AND e.route = kind.route AND e.priority = kind.priority)
    FROM kind WHERE priority IS NOT NULL
)"""
)

# What waits for its job's limit, by `runs_waiting` (job, slot, priority descending, key).
FIRST_LIMITED = sa.text(
    f"""executions.phase = 2 AND executions.run_key IN (
    WITH RECURSIVE slot(job_key, slot_key, n) AS (
        SELECT (SELECT job_key FROM runs WHERE admission = 2 ORDER BY job_key, slot_key LIMIT 1),
               (SELECT slot_key FROM runs WHERE admission = 2 ORDER BY job_key, slot_key LIMIT 1),
               1
        UNION ALL
        SELECT (SELECT r.job_key FROM runs r
                WHERE r.admission = 2 AND (r.job_key, r.slot_key) > (slot.job_key, slot.slot_key)
                ORDER BY r.job_key, r.slot_key LIMIT 1),
               (SELECT r.slot_key FROM runs r
                WHERE r.admission = 2 AND (r.job_key, r.slot_key) > (slot.job_key, slot.slot_key)
                ORDER BY r.job_key, r.slot_key LIMIT 1),
               n + 1
        FROM slot WHERE job_key IS NOT NULL AND n < {SLOTS}
    ), kind(job_key, slot_key, priority, n) AS (
        SELECT job_key, slot_key,
               (SELECT max(r.priority) FROM runs r
                WHERE r.admission = 2 AND r.job_key = slot.job_key
                  AND r.slot_key = slot.slot_key), 1
        FROM slot WHERE job_key IS NOT NULL
        UNION ALL
        SELECT job_key, slot_key,
               (SELECT max(r.priority) FROM runs r
                WHERE r.admission = 2 AND r.job_key = kind.job_key
                  AND r.slot_key = kind.slot_key AND r.priority < kind.priority), n + 1
        FROM kind WHERE priority IS NOT NULL AND n < {PRIORITIES}
    )
    SELECT (SELECT min(r.key) FROM runs r
            WHERE r.admission = 2 AND r.job_key = kind.job_key AND r.slot_key = kind.slot_key
              AND r.priority = kind.priority)
    FROM kind WHERE priority IS NOT NULL
)"""
)
