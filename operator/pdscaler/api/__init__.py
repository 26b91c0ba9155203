"""The custom resource and the operator's configuration as pydantic models.

One module per block of the resource (``slo``, ``profile``, ``pool``, ``metrics``, ``spec``, ``status``); ``parse``
reads a document, ``convert`` turns it into the core's values, ``crd`` generates the CustomResourceDefinition from
the same models. May import core, units, errors, pydantic and yaml.
"""
