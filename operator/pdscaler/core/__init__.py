"""The pure core: from what arrives and what is asked for to a decision with its reasons.

May import only numpy, scipy, units and errors: no input or output, no logging, no clock. Time and the random generator
are arguments; "no data" is a value with a reason.

================  =====================================================================================================
values            ``workload``, ``slo``, ``profile``, ``spec``, ``pools``: what goes in; ``decision``: what comes out
sizing            ``curves`` read a profile; ``paper`` has the formulas, ``model`` applies them to one pool; ``choice``
                  searches the pairs; ``sizing`` puts them together, ``explain`` says it in words
one evaluation    ``plan`` is the entry; ``health``, ``freeze``, ``situation``, ``behavior``, ``moves`` and ``order``
                  are its steps; ``reasons`` says them in words
``emulation``     the event simulation of a deployment
================  =====================================================================================================
"""
