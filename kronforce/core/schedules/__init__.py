"""When a job fires: one file per kind of schedule, and what to do about missed instants."""
