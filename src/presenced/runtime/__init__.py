"""What every part of the server uses: time, limits, logs, metrics. No presence rules."""
