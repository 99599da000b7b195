"""Studies of a small chat model that reads documents far longer than its window."""
