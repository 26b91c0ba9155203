"""The command line: ``pdscaler``, and ``kubectl pd`` through ``kubectl-pd``. May import every other layer.

``main`` holds the table of commands and turns every error into one line; a command imports what it needs when it is
used, so that ``plan`` starts without a cluster's libraries. ``output`` is the form of results, ``workload`` the options
that describe a load, ``cluster`` what the commands that ask a cluster share.
"""
