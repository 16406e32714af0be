"""What is answered over plain HTTP: the page, health, statistics, metrics. Asks the engine, keeps no state."""
