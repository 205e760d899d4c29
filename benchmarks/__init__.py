"""In-process comparisons: engines, batching policies, the service's own cost."""
