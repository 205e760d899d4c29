"""Networks in Paddle: encoder, pooling, heads; and pretrained weights (``pretrained``, numpy)."""
