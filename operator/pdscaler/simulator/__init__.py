"""Emulated engines, traces and synthetic workloads. May import core, forecast, api, units and errors only.

==================  =========================================================================================
``traces.py``       recorded requests: the formats, scaling the rate, statistics
``rows.py``         one line of a trace file to one request, with errors that name file and line
``workload.py``     synthetic requests in phases
``replay.py``         the closed loop: a trace is simulated, a policy decides on the way
``scrapes.py``        what the metrics showed at each scrape: all that a policy may know
``observation.py``    what a policy sees at an evaluation: windows over the scrapes, and the pods
``policies/``         the policies that can be replayed, by name
``ledger.py``         what was ordered, in GPU-hours
``result.py``         what a replay came to
``load.py``         what an emulator is to serve: requests, and the segments they belong to
``exposition.py``   the Prometheus metrics of an emulated engine and of the front door
``histograms.py``   the histogram that the expositions are made of, and the bucket bounds of vLLM and llm-d
``emulator.py``     the event simulation on the wall clock
``statistics.py``   what happened in the last seconds, and the summary
``records.py``      one line of CSV for each finished request
``summary.py``      what an emulation came to, for people
``http.py``         the emulator's HTTP interface
==================  =========================================================================================

It knows neither Kubernetes nor Prometheus: which replicas are ready is told to it by an asynchronous callable.
"""
