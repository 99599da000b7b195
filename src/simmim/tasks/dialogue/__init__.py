"""The task `dialogue`: reply in a conversation, also about documents."""
