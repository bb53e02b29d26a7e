"""Settings for property-based tests: many examples with OSTIARY_PROVE=1, and no deadline per example."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "ostiary",
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
    max_examples=2_000 if os.environ.get("OSTIARY_PROVE") == "1" else 100,
)
settings.load_profile("ostiary")
