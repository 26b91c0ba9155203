"""A real Kubernetes control plane and Prometheus on loopback, for the demo and the tests. No Docker, no root.

Imports the standard library, PyYAML, cryptography and, for its errors, ``pdscaler.errors``; only the ``demo_*``
modules and ``commands`` know the operator.
"""
