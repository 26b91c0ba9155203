"""The operator: a kopf index and event, one evaluation loop, and what is made of its decisions. Never imports cli.

The only package that imports kopf. The flow of one evaluation is docs/architecture.md's first section.
"""
