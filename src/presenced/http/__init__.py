"""What is answered over plain HTTP: the page, health, statistics, metrics. Asks the node, keeps no state."""
