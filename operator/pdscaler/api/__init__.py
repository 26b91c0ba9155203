"""The custom resource and the operator's configuration as pydantic models. May import core, units, errors, pydantic, yaml.

One module per block of the resource (``slo``, ``profile``, ``pool``, ``metrics``, ``spec``, ``status``); ``parse`` reads a
document, ``convert`` turns it into the core's values, ``crd`` generates the CustomResourceDefinition from the same models.
"""
