"""The library's own measurements: accuracy, bandwidth, counters, and a model of the speed."""
