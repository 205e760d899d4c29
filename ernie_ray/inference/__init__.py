"""Run an exported model: engines, predictor, and the batcher that shares it between requests."""
