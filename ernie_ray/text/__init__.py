"""Rows, tokenizers and features: text in, padded integer arrays out (numpy only)."""
