"""All targets, in the order in which they are told of."""

from fuzz import files, operations, prometheus, resources

TARGETS = (*resources.TARGETS, *files.TARGETS, *prometheus.TARGETS, *operations.TARGETS)
