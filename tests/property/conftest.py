"""Settings of the property tests: the same examples in every run, and no deadlines, as tests assert no times."""

from hypothesis import settings

settings.register_profile("pdscaler", deadline=None, derandomize=True, max_examples=150)
settings.load_profile("pdscaler")
