from hypothesis import HealthCheck, settings

# As for `core`, whose reasons are beside it: whichever is loaded last counts for a whole process.
settings.register_profile(
    "egress",
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile("egress")
