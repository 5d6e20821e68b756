"""How properties are checked: without a time limit for one example, because a busy machine is no counterexample."""

from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
