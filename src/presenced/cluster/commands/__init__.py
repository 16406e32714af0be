"""Commands that one node gives and all nodes carry out: kicks, erasures, revocations and tickets."""
