"""Tools for every part of the server: time, limits, logs, metrics. They contain no presence rules."""
