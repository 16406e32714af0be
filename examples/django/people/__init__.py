"""A list of people with their last seen times and live dots."""
