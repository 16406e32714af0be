"""The rules of presence, pure: no input, output, clock, randomness or logging. Time is an argument."""
