"""The parent of measurements: chooses cells, starts one fresh child for each, watches it, keeps the record.

    suites -> cells -> runner -> process ==> vramplan_bench.child (torch)
                          |         |  <== messages (protocol)
                     recording <- sampler (nvml)

Nothing in here imports torch: the parent holds no memory of the device and survives whatever a child does.
"""
