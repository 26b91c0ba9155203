"""Reads Prometheus: presets, grouped queries, one snapshot for many PDDeployments. May not import kopf or kubernetes.

Only :mod:`pdscaler.telemetry.reader` imports prometheus_api_client.
"""
