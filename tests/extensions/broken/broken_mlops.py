"""What can be wrong with an extension."""

REWARD = 7
CODEC = object()
