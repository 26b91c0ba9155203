"""The Kubernetes API: watches, scales, status, events. May import api, core, units and errors.

The only package that imports kubernetes.
"""
