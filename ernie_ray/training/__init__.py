"""Training on one worker: batch plan, loop, losses, optimizer, checkpoints.

Knows Paddle. Knows nothing of Ray: workers, restarts and storage are the backend's and the jobs'.
"""
