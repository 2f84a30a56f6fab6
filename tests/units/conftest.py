"""Hypothesis without a clock: the machine may be busy, and a slow example is no failure."""

from hypothesis import HealthCheck, settings

settings.register_profile("without-clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("without-clock")
