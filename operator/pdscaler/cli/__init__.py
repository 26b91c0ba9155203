"""The command line: ``pdscaler``, and ``kubectl pd`` through ``kubectl-pd``. May import every other layer."""
