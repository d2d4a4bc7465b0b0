from hypothesis import HealthCheck, settings

# Two busy cores make single examples slow now and then: that is no failure. Nothing is written
# to the source tree; what was found once becomes an @example.
settings.register_profile(
    "redaction",
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile("redaction")
