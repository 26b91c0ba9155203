"""The report of a replay: one HTML page that needs nothing else. May import numpy, core, units and simulator.

:mod:`.panels` says what the charts show, :mod:`.scales` where values lie, :mod:`.charts` draws them as SVG,
:mod:`.page` writes the page around them, :mod:`.markup` escapes whatever names and reasons hold. There is no plotting
library: the page follows the reader's light or dark scheme and any width, and the charts are a few paths.
"""

from pdscaler.simulator.report.page import InputFile, Provenance, render_report

__all__ = ["InputFile", "Provenance", "render_report"]
